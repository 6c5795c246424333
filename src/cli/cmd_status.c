/*
 * cmd_status: rawcow status. How a mount goes; also the source of stats.json in
 * its folder .rawcow/.
 */
#include "cli/cmd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "cli/json.h"
#include "cli/mounted.h"

/* As of rawcow umount: what was written is not all in the image. */
enum { STATUS_NOT_SAVED = 74 };

struct status_args {
	const char *mountpoint;
	bool json;
};

static const char *state_name(uint32_t state)
{
	switch (state) {
	case CTL_STATE_OK:
		return "ok";
	case CTL_STATE_READONLY:
		return "read-only";
	case CTL_STATE_FAILED:
		return "failed";
	case CTL_STATE_CORRUPT:
		return "corrupt";
	default:
		return "unknown";
	}
}

static struct json_object *to_json(const struct ctl_status *st)
{
	struct json_object *o = json_object_new_object();

	json_put_text(o, "image", st->image);
	json_put_text(o, "state", state_name(st->state));
	if (st->reason[0])
		json_put_text(o, "reason", st->reason);
	json_put_int(o, "pid", (uint64_t)st->pid);
	json_put_int(o, "virtual-size", st->size);
	json_put_int(o, "commits", st->commits);
	json_put_int(o, "syncs", st->syncs);
	json_put_int(o, "dirty-bytes", st->dirty_bytes);
	json_put_int(o, "writers", st->writers);
	return o;
}

int cmd_status_text(struct image *img, const struct ctl_status *st, FILE *out)
{
	(void)img;
	return json_write(to_json(st), out) ? -EIO : 0;
}

static void print(const struct ctl_status *st)
{
	char size[SIZE_TEXT_MAX], dirty[SIZE_TEXT_MAX];
	char name[4 * CTL_IMAGE_MAX];

	printf("image: %s\n", err_escape(name, sizeof(name), st->image,
					 strlen(st->image)));
	printf("state: %s%s%s\n", state_name(st->state),
	       st->reason[0] ? ": " : "", st->reason);
	printf("process: %" PRId32 "\n", st->pid);
	printf("virtual size: %s (%" PRIu64 " bytes)\n",
	       size_format(size, st->size), st->size);
	printf("commits: %" PRIu64 " with %" PRIu64 " syncs\n", st->commits,
	       st->syncs);
	printf("tables not written yet: %s\n",
	       size_format(dirty, st->dirty_bytes));
	printf("open to write: %" PRIu32 " times\n", st->writers);
}

#define AT(f) offsetof(struct status_args, f)

static const struct args_opt options[] = {
	ARGS_OUTPUT(AT(json)),
	ARGS_END
};

static const struct args_spec spec = {
	.usage = "status [OPTION...] MOUNTPOINT",
	.what = "Say how the mount at MOUNTPOINT goes: its image, its state, and"
		" how much was\nwritten. The exit status is 74 when a sync has "
		"failed, so that nothing is\nwritten any more.",
	.opts = options,
	.min_words = 1,
	.max_words = 1,
	.wants = "one mount point",
	.words = { AT(mountpoint) },
};

static int show(const struct status_args *a, struct ctl_status *st)
{
	bool bad = st->state == CTL_STATE_FAILED ||
		   st->state == CTL_STATE_CORRUPT;

	/* from another process, perhaps of another version */
	st->image[CTL_IMAGE_MAX - 1] = '\0';
	st->reason[CTL_TEXT_MAX - 1] = '\0';
	if (a->json)
		json_print(to_json(st));
	else
		print(st);
	return bad ? STATUS_NOT_SAVED : 0;
}

int cmd_status(int argc, char **argv)
{
	struct status_args a = { 0 };
	struct ctl_status st = { 0 };
	struct err err = { "" };
	int ret;

	if (!cmd_parse(&spec, &a, argc, argv, &ret))
		return ret;
	if (!mounted_at(a.mountpoint)) {
		ret = err_set(&err, -EINVAL, "no mount of rawcow is there");
		mounted_hint(a.mountpoint, &err);
	} else {
		ret = mounted_status(a.mountpoint, &st, &err);
	}
	return ret < 0 ? cmd_fail(a.mountpoint, &err) : show(&a, &st);
}
