/*
 * cmd_amend: rawcow amend. Options as qemu-img's.
 */
#include "cli/cmd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/num.h"
#include "cli/progress.h"
#include "core/admin/amend.h"
#include "core/admin/repair.h"

struct amend_args {
	const char *image;
	enum image_backing backing;
	struct amend_opts opts;
	bool progress, quiet, any;
};

static int take_compat(void *into, const char *name, const char *value,
		       struct err *err)
{
	static const char *const words[] = { "0.10", "1.1", "v2", "v3", NULL };
	struct amend_args *a = into;
	int i = args_word(name, value, words, err);

	if (i < 0)
		return i;
	a->opts.version = 2 + (unsigned)i % 2;
	a->any = true;
	return 0;
}

static int take_refcount_bits(void *into, const char *name, const char *value,
			      struct err *err)
{
	struct amend_args *a = into;
	uint64_t v;
	int r = args_size(&v, name, value, err);

	if (r < 0)
		return r;
	if (!num_is_pow2(v) || v > 64)
		return err_set(err, -EINVAL, "refcount_bits %" PRIu64
			       " is not a power of two from 1 to 64", v);
	a->opts.refcount_bits = (unsigned)v;
	a->any = true;
	return 0;
}

static int take_lazy(void *into, const char *name, const char *value,
		     struct err *err)
{
	struct amend_args *a = into;
	bool on;
	int r = args_on_off(&on, name, value, err);

	if (r < 0)
		return r;
	a->opts.lazy_refcounts = on ? AMEND_ON : AMEND_OFF;
	a->any = true;
	return 0;
}

static int take_fixed(void *into, const char *name, const char *value,
		      struct err *err)
{
	(void)into;
	(void)value;
	return err_set(err, -ENOTSUP,
		       "%s of an image cannot be changed; 'qemu-img convert' can make another image with it",
		       name);
}

static int take_elsewhere(void *into, const char *name, const char *value,
			  struct err *err)
{
	(void)into;
	(void)value;
	return err_set(err, -EINVAL, "%s is changed by 'rawcow %s'", name,
		       *name == 's' ? "resize" : "rebase -u");
}

static int check_args(void *into, struct err *err)
{
	const struct amend_args *a = into;

	return a->any ? 0 :
			err_set(err, -EINVAL,
				"-o is missing: say what to change; see rawcow amend -h");
}

#define AT(f) offsetof(struct amend_args, f)
#define FIXED(name) { 0, name, NULL, take_fixed, 0, NULL }

static const struct args_opt keys[] = {
	{ 0, "compat", "0.10|1.1|v2|v3", take_compat, 0, NULL },
	{ 0, "refcount_bits", "1..64", take_refcount_bits, 0, NULL },
	{ 0, "lazy_refcounts", "on|off", take_lazy, 0, NULL },
	{ 0, "backing", "dir|none|any", args_backing, AT(backing), NULL },
	{ 0, "size", NULL, take_elsewhere, 0, NULL },
	{ 0, "backing_file", NULL, take_elsewhere, 0, NULL },
	{ 0, "backing_fmt", NULL, take_elsewhere, 0, NULL },
	FIXED("cluster_size"),
	FIXED("preallocation"),
	FIXED("compression_type"),
	FIXED("extended_l2"),
	FIXED("data_file"),
	FIXED("data_file_raw"),
	ARGS_END
};

static const struct args_opt options[] = {
	ARGS_KEYS,
	ARGS_PROGRESS(AT(progress)),
	ARGS_QUIET(AT(quiet)),
	ARGS_FORMAT,
	ARGS_END
};

static const struct args_spec spec = {
	.usage = "amend -o KEY=VALUE,... IMAGE",
	.what = "Change the version of IMAGE, the width of its refcounts, or "
		"whether QEMU may\ndefer them. Disk and snapshots stay; IMAGE "
		"must not be in use.",
	.opts = options,
	.keys = keys,
	.min_words = 1,
	.max_words = 1,
	.wants = "one image",
	.words = { AT(image) },
	.check = check_args,
};

static int amend(struct image *img, struct amend_args *a, struct err *err)
{
	struct progress p;
	int closed, r;

	if (image_readonly_reason(img)) {
		r = err_set(err, -EROFS, "the image is not changed: %s",
			    image_readonly_reason(img));
	} else {
		progress_begin(&p, a->progress && !a->quiet);
		a->opts.progress = progress_update;
		a->opts.progress_arg = &p;
		r = amend_image(img, &a->opts, err);
		progress_end(&p);
	}
	closed = image_close(img);
	if (r == 0 && closed < 0)
		r = err_set_sys(err, closed, "cannot write to the image");
	return r;
}

int cmd_amend(int argc, char **argv)
{
	struct amend_args a = { 0 };
	struct image_opts opts = { .recover = repair_recover };
	struct image *img;
	struct err err = { "" };
	int status;

	if (!cmd_parse(&spec, &a, argc, argv, &status))
		return status;
	opts.backing = a.backing;
	/* only zero clusters that go away depend on what is behind */
	opts.no_backing = a.opts.version != 2;
	if (image_open(&img, a.image, &opts, &err) < 0)
		return cmd_fail(NULL, &err);
	return amend(img, &a, &err) < 0 ? cmd_fail(a.image, &err) : 0;
}
