/*
 * cmd_resize: rawcow resize. Options as qemu-img's.
 */
#include "cli/cmd.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "cli/args.h"
#include "cli/mounted.h"
#include "cli/progress.h"
#include "core/admin/prealloc.h"
#include "core/admin/repair.h"
#include "core/admin/resize.h"
#include "core/image/keys.h"

struct resize_args {
	const char *image;
	const char *size; /* "10G", "+10G" or "-10G" */
	const char *less; /* "-10G", until the others are known */
	uint64_t by;	  /* what it says, without the sign */
	enum image_backing backing;
	char *data_file; /* owned */
	enum create_prealloc prealloc;
	bool shrink, progress, quiet;
	struct keys keys;
};

static bool is_relative(const struct resize_args *a)
{
	return a->size[0] == '+' || a->size[0] == '-';
}

static int check_args(void *into, struct err *err)
{
	struct resize_args *a = into;

	if (!a->size == !a->less)
		return err_set(err, -EINVAL,
			       "resize takes an image and a size; see rawcow resize -h");
	if (a->less)
		a->size = a->less;
	return args_size(&a->by, "the size", a->size + is_relative(a), err);
}

#define AT(f) offsetof(struct resize_args, f)

static const struct args_opt keys[] = {
	{ 0, "backing", "dir|none|any", args_backing, AT(backing), NULL },
	{ 0, "data_file", "PATH", args_string, AT(data_file), NULL },
	ARGS_END
};

static const struct args_opt options[] = {
	{ 0, "shrink", NULL, args_flag, AT(shrink),
	  "allow the disk to get smaller: what lies behind\n"
	  "the new end is lost" },
	{ 0, "preallocation", "MODE", args_prealloc, AT(prealloc),
	  "when growing: off, metadata (map what is new),\n"
	  "falloc (and have room for it), full (and write it)" },
	ARGS_KEYS,
	ARGS_KEY_SOURCES(AT(keys)),
	ARGS_PROGRESS(AT(progress)),
	{ 'q', "quiet", NULL, args_flag, AT(quiet), "print nothing" },
	ARGS_FORMAT,
	ARGS_END
};

static const struct args_spec spec = {
	.usage = "resize [OPTION...] IMAGE [+|-]SIZE",
	.what = "Give the disk in IMAGE another size; + and - count from the "
		"size that it has.\nIMAGE must not be mounted or in use. What "
		"is new reads as zero.",
	.opts = options,
	.keys = keys,
	.min_words = 1,
	.max_words = 2,
	.wants = "an image and a size",
	.words = { AT(image), AT(size) },
	.check = check_args,
};

/* "-1G" is a size, not an option: it is taken away first. */
static bool parse(struct resize_args *a, int argc, char **argv, int *status)
{
	for (int i = 1; i < argc && !a->less; i++) {
		if (argv[i][0] != '-' || !isdigit((unsigned char)argv[i][1]))
			continue;
		a->less = argv[i];
		memmove(argv + i, argv + i + 1,
			(size_t)(argc-- - i) * sizeof(*argv));
	}
	return cmd_parse(&spec, a, argc, argv, status);
}

static int new_size(const struct resize_args *a, uint64_t now, uint64_t *size,
		    struct err *err)
{
	bool less = a->size[0] == '-';

	*size = a->by;
	if (!is_relative(a))
		return 0;
	if (less ? a->by > now : num_add_overflow(now, a->by, size))
		return err_set(err, -ERANGE, "%s is too much for a disk of %llu"
			       " bytes", a->size, (unsigned long long)now);
	if (less)
		*size = now - a->by;
	return 0;
}

/* Room for what a disk that had OLD bytes has got. */
static int preallocate(struct image *img, const struct resize_args *a,
		       uint64_t old, struct err *err)
{
	struct progress p;
	const struct prealloc_opts opts = { .mode = a->prealloc,
					    .progress = progress_update,
					    .progress_arg = &p };
	int r;

	progress_begin(&p, a->progress && !a->quiet);
	r = prealloc_range(img, old, image_size(img), &opts, err);
	progress_end(&p);
	if (r < 0)
		err_wrap(err, "the disk has its new size, but");
	return r;
}

static int resize(struct image *img, const struct resize_args *a,
		  struct err *err)
{
	uint64_t old = image_size(img), size;
	int r = new_size(a, old, &size, err);

	if (r == 0 && image_readonly_reason(img))
		r = err_set(err, -EROFS, "the image is not changed: %s",
			    image_readonly_reason(img));
	if (r == 0 && size < old && a->prealloc)
		r = err_set(err, -EINVAL,
			    "there is nothing to preallocate in a smaller disk");
	if (r == 0 && a->prealloc)
		r = prealloc_check(img, err);
	if (r == 0)
		r = resize_image(img, size, a->shrink, err);
	return r < 0 || !a->prealloc ? r : preallocate(img, a, old, err);
}

static int open_and_resize(struct resize_args *a)
{
	struct image_opts opts = { .backing = a->backing,
				   .data_file = a->data_file,
				   .recover = repair_recover };
	struct err err = { "" };
	struct image *img;
	int closed;
	int ret;

	ret = keys_load(&a->keys, a->image, &opts, &err);
	if (ret == 0)
		ret = image_open(&img, a->image, &opts, &err);
	keys_fini(&a->keys);
	if (ret < 0)
		return mounted_fail(a->image, &err);
	ret = resize(img, a, &err);
	closed = image_close(img);
	if (ret == 0 && closed < 0)
		ret = err_set_sys(&err, closed, "cannot write to the image");
	if (ret < 0)
		return cmd_fail(a->image, &err);
	if (!a->quiet)
		puts("Image resized.");
	return 0;
}

int cmd_resize(int argc, char **argv)
{
	struct resize_args a = { .keys = KEYS_INIT };
	int status;

	if (parse(&a, argc, argv, &status))
		status = open_and_resize(&a);
	free(a.data_file);
	return status;
}
