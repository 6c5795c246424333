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
#include "core/admin/repair.h"
#include "core/admin/snapshot.h"
#include "core/image/info.h"

struct snapshot_args {
	const char *image, *name;
	char what; /* l, c, a, d */
	bool json, shared, quiet;
};

static int take_what(struct snapshot_args *a, char what, const char *name,
		     struct err *err)
{
	if (a->what)
		return err_set(err, -EINVAL,
			       "give one of -l, -c, -a and -d at a time");
	a->what = what;
	a->name = name;
	return 0;
}

static int take_list(void *into, const char *name, const char *value,
		     struct err *err)
{
	(void)name;
	(void)value;
	return take_what(into, 'l', NULL, err);
}

static int take_create(void *into, const char *name, const char *value,
		       struct err *err)
{
	(void)name;
	return take_what(into, 'c', value, err);
}

static int take_apply(void *into, const char *name, const char *value,
		      struct err *err)
{
	(void)name;
	return take_what(into, 'a', value, err);
}

static int take_delete(void *into, const char *name, const char *value,
		       struct err *err)
{
	(void)name;
	return take_what(into, 'd', value, err);
}

static int check_args(void *into, struct err *err)
{
	struct snapshot_args *a = into;

	if (!a->what)
		a->what = 'l';
	if (a->shared && a->what != 'l')
		return err_set(err, -EINVAL, "-U works only with -l: two "
			       "writers would destroy the image");
	return 0;
}

#define AT(f) offsetof(struct snapshot_args, f)

static const struct args_opt options[] = {
	{ 'l', "list", NULL, take_list, 0, "list them (the default)" },
	{ 'c', "create", "NAME", take_create, 0, "keep the disk as it is now" },
	{ 'a', "apply", "NAME", take_apply, 0,
	  "make the disk what it was; what it is now is lost" },
	{ 'd', "delete", "NAME", take_delete, 0,
	  "delete a snapshot; NAME here and with -a may be\nan id" },
	ARGS_OUTPUT(AT(json)),
	{ 'U', "force-share", NULL, args_flag, AT(shared),
	  "with -l: IMAGE although another program writes it" },
	{ 'q', "quiet", NULL, args_flag, AT(quiet),
	  "accepted: nothing is printed but with -l" },
	ARGS_FORMAT,
	ARGS_END
};

static const struct args_spec spec = {
	.usage = "snapshot [OPTION...] IMAGE|MOUNTPOINT",
	.what = "List, make, apply or delete internal snapshots of IMAGE, which"
		" must not be in\nuse, or of the image mounted at MOUNTPOINT.",
	.opts = options,
	.min_words = 1,
	.max_words = 1,
	.wants = "one image",
	.words = { AT(image) },
	.check = check_args,
};

static void show(const struct snapshot_args *a, const struct snapshot *snap,
		 size_t n)
{
	if (a->json)
		json_print(snaptext_json(snap, n));
	else
		snaptext_print(snap, n);
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
		return mounted_fail(a->image, &err);
	ret = info_read(&info, file, &err);
	if (ret == 0)
		show(a, info.snapshots, info.header.nb_snapshots);
	info_fini(&info);
	hostfile_close(file);
	return ret < 0 ? cmd_fail(a->image, &err) : 0;
}

/* The image is mounted: its server knows them. */
static int list_mounted(const struct snapshot_args *a)
{
	struct snaplist found;
	struct err err = { "" };
	int ret = mounted_snapshots(a->image, &found, &err);

	if (ret == 0)
		show(a, found.snap, found.n);
	snaplist_fini(&found);
	return ret < 0 ? cmd_fail(a->image, &err) : 0;
}

/* The image is mounted: its server does it. */
static int change_mounted(const struct snapshot_args *a)
{
	struct ctl_order o = { .verb = a->what == 'c' ? CTL_SNAPSHOT_CREATE :
				       a->what == 'a' ? CTL_SNAPSHOT_APPLY :
							CTL_SNAPSHOT_DELETE };
	struct err err = { "" };
	int ret;

	if (strlen(a->name) >= sizeof(o.name))
		ret = err_set(&err, -EINVAL, "the name is too long");
	else {
		snprintf(o.name, sizeof(o.name), "%s", a->name);
		ret = mounted_order(a->image, &o, &err);
	}
	return ret < 0 ? cmd_fail(a->image, &err) : 0;
}

static int change(const struct snapshot_args *a)
{
	const struct image_opts opts = { .no_backing = true,
					 .no_key = true,
					 .recover = repair_recover };
	struct image *img;
	struct err err = { "" };
	int closed;
	int ret = image_open(&img, a->image, &opts, &err);

	if (ret < 0)
		return mounted_fail(a->image, &err);
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
	int status;

	if (!cmd_parse(&spec, &a, argc, argv, &status))
		return status;
	if (mounted_at(a.image))
		return a.what == 'l' ? list_mounted(&a) : change_mounted(&a);
	return a.what == 'l' ? list(&a) : change(&a);
}
