/* rawcow [mount] IMAGE MOUNTPOINT, and mount.rawcow for mount(8). */
#include <errno.h>
#include <stdio.h>

#include "cli/cmd.h"
#include "fuse/opts.h"
#include "fuse/session.h"

/* What mount(8) expects of its helpers. */
enum { MOUNT_USAGE = 1, MOUNT_FAILURE = 32 };

static const struct textfile_maker texts[] = {
	{ "info.json", cmd_info_text },
	{ "stats.json", cmd_status_text },
	{ NULL, NULL },
};

static int run(struct opts *opts)
{
	switch (opts->action) {
	case OPTS_HELP:
		fputs(opts_help, stdout);
		return 0;
	case OPTS_VERSION:
		puts("rawcow " PACKAGE_VERSION);
		return 0;
	case OPTS_NOTHING:
		return 0;
	case OPTS_MOUNT:
		break;
	}
	opts->img.offer_ro = true;
	return (int)session_run(opts, texts);
}

int cmd_mount(int argc, char **argv)
{
	struct err err = { "" };
	struct opts opts;
	int rc = opts_parse(&opts, argc, argv, &err);
	int status = SESSION_FAILED;

	if (rc)
		fprintf(stderr, "rawcow: %s\n", err.text);
	else
		status = run(&opts);
	if (opts.helper && status == SESSION_FAILED)
		status = rc == -EINVAL ? MOUNT_USAGE : MOUNT_FAILURE;
	opts_fini(&opts);
	return status;
}
