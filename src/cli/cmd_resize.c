/*
 * cmd_resize: rawcow resize. Options as qemu-img's.
 */
#include "cli/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "cli/args.h"
#include "core/admin/resize.h"

struct resize_args {
	const char *image, *size;
	enum image_backing backing;
	bool shrink, quiet, help;
};

static void usage(void)
{
	fputs("rawcow resize [OPTION...] IMAGE [+|-]SIZE\n"
	      "Give the disk in IMAGE another size; + and - count from the size "
	      "that it has.\nIMAGE must not be mounted or in use. What is new "
	      "reads as zero.\n\n"
	      "  --shrink              allow the disk to get smaller: what lies "
	      "behind the\n"
	      "                        new end is lost\n"
	      "  --preallocation=off   accepted; nothing else is\n"
	      "  -o backing=dir|none|any   which backing files may be opened\n"
	      "  -q, --quiet           print nothing\n"
	      "  -f, --format=qcow2    accepted, since there is no other\n"
	      "  -h, --help            this text\n", stdout);
}

static int set_backing(void *ctx, const char *key, const char *value,
		       struct err *err)
{
	static const char *const words[] = { "dir", "none", "any", NULL };
	struct resize_args *a = ctx;
	int r;

	if (strcmp(key, "backing"))
		return err_set(err, -EINVAL, "-o: only backing is known here");
	r = args_word("backing", value, words, err);
	if (r >= 0)
		a->backing = (enum image_backing)r;
	return r < 0 ? r : 0;
}

static int set_option(struct resize_args *a, int opt, struct err *err)
{
	switch (opt) {
	case ARGS_LONG:
		a->shrink = true;
		return 0;
	case ARGS_LONG + 1:
		if (strcmp(optarg, "off"))
			return err_set(err, -ENOTSUP,
				       "resize preallocates nothing: --preallocation=off is all there is; 'rawcow create' can preallocate");
		return 0;
	case 'o':
		return args_list(optarg, set_backing, a, err);
	case 'q':
		a->quiet = true;
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

static int parse(struct resize_args *a, int argc, char **argv, struct err *err)
{
	static const struct option longs[] = {
		{ "shrink", no_argument, NULL, ARGS_LONG },
		{ "preallocation", required_argument, NULL, ARGS_LONG + 1 },
		{ "quiet", no_argument, NULL, 'q' },
		{ "format", required_argument, NULL, 'f' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 }
	};
	int opt;

	/* "-1G" is a size, not an option */
	if (argc > 1 && strcmp(argv[argc - 1], "-h") &&
	    strcmp(argv[argc - 1], "--help"))
		a->size = argv[--argc];
	while ((opt = args_next(argc, argv, ":o:qf:h", longs, err)) != -1) {
		int r = set_option(a, opt, err);

		if (r < 0 || a->help)
			return r;
	}
	if (!a->size || argc - optind != 1)
		return err_set(err, -EINVAL, "resize takes an image and a size; "
			       "see rawcow resize -h");
	a->image = argv[optind];
	return 0;
}

static int new_size(const struct resize_args *a, uint64_t now, uint64_t *size,
		    struct err *err)
{
	char sign = a->size[0];
	uint64_t by;
	int r;

	if (sign != '+' && sign != '-')
		return args_size("the size", a->size, size, err);
	r = args_size("the size", a->size + 1, &by, err);
	if (r < 0)
		return r;
	if (sign == '-' ? by > now : num_add_overflow(now, by, size))
		return err_set(err, -ERANGE, "%s is too much for a disk of %llu"
			       " bytes", a->size, (unsigned long long)now);
	if (sign == '-')
		*size = now - by;
	return 0;
}

int cmd_resize(int argc, char **argv)
{
	struct resize_args a = { 0 };
	struct image_opts opts = { 0 };
	struct image *img;
	struct err err = { "" };
	uint64_t size;
	int closed;
	int ret;

	if (parse(&a, argc, argv, &err) < 0)
		return cmd_fail(NULL, &err);
	if (a.help) {
		usage();
		return fflush(stdout) ? 1 : 0;
	}
	opts.backing = a.backing;
	if (image_open(&img, a.image, &opts, &err) < 0)
		return cmd_fail(NULL, &err);
	ret = new_size(&a, image_size(img), &size, &err);
	if (ret == 0 && image_readonly_reason(img))
		ret = err_set(&err, -EROFS, "the image is not changed: %s",
			      image_readonly_reason(img));
	if (ret == 0)
		ret = resize_image(img, size, a.shrink, &err);
	closed = image_close(img);
	if (ret == 0 && closed < 0)
		ret = err_set_sys(&err, closed, "cannot write to the image");
	if (ret < 0)
		return cmd_fail(a.image, &err);
	if (!a.quiet)
		puts("Image resized.");
	return fflush(stdout) ? 1 : 0;
}
