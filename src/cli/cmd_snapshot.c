/*
 * cmd_snapshot: rawcow snapshot. Letters as qemu-img's.
 */
#include "cli/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/mounted.h"
#include "cli/snaptext.h"
#include "core/admin/snapshot.h"

struct snapshot_args {
	const char *image, *name;
	char what; /* l, c, a, d */
	bool json, shared, help;
};

static void usage(void)
{
	fputs("rawcow snapshot [OPTION...] IMAGE|MOUNTPOINT\n"
	      "List, make, apply or delete internal snapshots of IMAGE, which "
	      "must not be in\nuse, or of the image mounted at MOUNTPOINT (not "
	      "-a).\n\n"
	      "  -l, --list            list them (the default)\n"
	      "  -c, --create NAME     keep the disk as it is now\n"
	      "  -a, --apply NAME      make the disk what it was; what it is now "
	      "is lost\n"
	      "  -d, --delete NAME     delete a snapshot; NAME here and with -a "
	      "may be an id\n"
	      "  --output=human|json   how to print (--json for short)\n"
	      "  -U, --force-share     with -l: IMAGE although another program "
	      "writes it\n"
	      "  -q, --quiet           accepted: nothing is printed but with -l\n"
	      "  -f, --format=qcow2    accepted, since there is no other\n"
	      "  -h, --help            this text\n", stdout);
}

static int set_what(struct snapshot_args *a, int what, const char *name,
		    struct err *err)
{
	if (a->what)
		return err_set(err, -EINVAL,
			       "give one of -l, -c, -a and -d at a time");
	a->what = (char)what;
	a->name = name;
	return 0;
}

static int set_option(struct snapshot_args *a, int opt, struct err *err)
{
	switch (opt) {
	case ARGS_LONG:
		return args_output(optarg, &a->json, err);
	case ARGS_LONG + 1:
		a->json = true;
		return 0;
	case 'l':
		return set_what(a, 'l', NULL, err);
	case 'c':
	case 'a':
	case 'd':
		return set_what(a, opt, optarg, err);
	case 'U':
		a->shared = true;
		return 0;
	case 'q':
		return 0;
	case 'f':
		return args_format(optarg, err);
	case 'h':
		a->help = true;
		return 0;
	default:
		return -EINVAL;
	}
}

static int parse(struct snapshot_args *a, int argc, char **argv,
		 struct err *err)
{
	static const struct option longs[] = {
		{ "output", required_argument, NULL, ARGS_LONG },
		{ "json", no_argument, NULL, ARGS_LONG + 1 },
		{ "list", no_argument, NULL, 'l' },
		{ "create", required_argument, NULL, 'c' },
		{ "apply", required_argument, NULL, 'a' },
		{ "delete", required_argument, NULL, 'd' },
		{ "force-share", no_argument, NULL, 'U' },
		{ "quiet", no_argument, NULL, 'q' },
		{ "format", required_argument, NULL, 'f' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 }
	};
	int opt;

	while ((opt = args_next(argc, argv, ":lc:a:d:Uqf:h", longs, err)) !=
	       -1) {
		int ret = set_option(a, opt, err);

		if (ret < 0 || a->help)
			return ret;
	}
	if (!a->what)
		a->what = 'l';
	if (a->shared && a->what != 'l')
		return err_set(err, -EINVAL, "-U works only with -l: two "
			       "writers would destroy the image");
	if (argc - optind != 1)
		return err_set(err, -EINVAL, "snapshot takes one image; see "
			       "rawcow snapshot -h");
	a->image = argv[optind];
	return 0;
}

static int list(const struct snapshot_args *a)
{
	struct hostfile *file;
	struct info info;
	struct err err = { "" };
	int ret = cmd_open(&file, a->image,
			   a->shared ? HOSTLOCK_IMAGE_SHARED :
				       HOSTLOCK_IMAGE_RO, &err);

	if (ret < 0)
		return cmd_fail(NULL, &err);
	ret = info_read(&info, file, &err);
	if (ret < 0) {
		hostfile_close(file);
		return cmd_fail(a->image, &err);
	}
	if (a->json)
		ret = json_print(snaptext_json(&info));
	else
		snaptext_print(&info);
	info_fini(&info);
	hostfile_close(file);
	return ret < 0 || fflush(stdout) ? 1 : 0;
}

/* The image is mounted: its server does it. */
static int change_mounted(const struct snapshot_args *a)
{
	struct ctl_order o = { .verb = a->what == 'c' ? CTL_SNAPSHOT_CREATE :
							CTL_SNAPSHOT_DELETE };
	struct err err = { "" };
	int ret;

	if (a->what == 'a')
		ret = err_set(&err, -EBUSY, "the disk cannot change under those"
			      " who use it: unmount it, and apply the snapshot "
			      "to the image");
	else if (strlen(a->name) >= sizeof(o.name))
		ret = err_set(&err, -EINVAL, "the name is too long");
	else {
		snprintf(o.name, sizeof(o.name), "%s", a->name);
		ret = mounted_order(a->image, &o, &err);
	}
	return ret < 0 ? cmd_fail(a->image, &err) : 0;
}

static int change(const struct snapshot_args *a)
{
	const struct image_opts opts = { .no_backing = true };
	struct image *img;
	struct err err = { "" };
	int closed;
	int ret = image_open(&img, a->image, &opts, &err);

	if (ret < 0)
		return cmd_fail(NULL, &err);
	if (image_readonly_reason(img))
		ret = err_set(&err, -EROFS, "the image is not changed: %s",
			      image_readonly_reason(img));
	else if (a->what == 'c')
		ret = snapshot_create(img, a->name, &err);
	else if (a->what == 'a')
		ret = snapshot_apply(img, a->name, &err);
	else
		ret = snapshot_delete(img, a->name, &err);
	closed = image_close(img);
	if (ret == 0 && closed < 0)
		ret = err_set_sys(&err, closed, "cannot write to the image");
	return ret < 0 ? cmd_fail(a->image, &err) : 0;
}

int cmd_snapshot(int argc, char **argv)
{
	struct snapshot_args a = { 0 };
	struct err err = { "" };
	char source[512];

	if (parse(&a, argc, argv, &err) < 0)
		return cmd_fail(NULL, &err);
	if (a.help) {
		usage();
		return fflush(stdout) ? 1 : 0;
	}
	if (!mounted_at(a.image, source, sizeof(source)))
		return a.what == 'l' ? list(&a) : change(&a);
	if (a.what != 'l')
		return change_mounted(&a);
	a.image = source;
	a.shared = true;
	return list(&a);
}
