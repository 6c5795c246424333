/*
 * cmd_commit: rawcow commit. Options as qemu-img's.
 */
#include "cli/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "cli/mounted.h"
#include "cli/progress.h"
#include "core/admin/merge.h"
#include "core/image/keys.h"
#include "core/admin/repair.h"

struct commit_args {
	const char *image, *base;
	char *data_file; /* owned */
	enum image_backing backing;
	bool keep, progress, quiet;
	struct keys keys;
};

#define AT(f) offsetof(struct commit_args, f)

static const struct args_opt keys[] = {
	{ 0, "backing", "dir|none|any", args_backing, AT(backing), NULL },
	{ 0, "data_file", "PATH", args_string, AT(data_file), NULL },
	ARGS_END
};

static const struct args_opt options[] = {
	{ 'b', "base", "FILE", args_text, AT(base),
	  "commit into this file of the chain and leave IMAGE\n"
	  "as it is; files between the two become useless" },
	{ 'd', "keep", NULL, args_flag, AT(keep),
	  "do not empty IMAGE afterwards" },
	ARGS_KEYS,
	ARGS_KEY_SOURCES(AT(keys)),
	{ 0, "backing-key-file", "FILE", args_text, AT(keys.backing_file),
	  "the passphrase of the files behind, if another" },
	ARGS_PROGRESS(AT(progress)),
	ARGS_QUIET(AT(quiet)),
	ARGS_FORMAT,
	ARGS_END
};

static const struct args_spec spec = {
	.usage = "commit [OPTION...] IMAGE",
	.what = "Write what IMAGE holds into its backing file, which grows if "
		"IMAGE is larger,\nand empty IMAGE. Neither may be in use.",
	.opts = options,
	.keys = keys,
	.min_words = 1,
	.max_words = 1,
	.wants = "one image",
	.words = { AT(image) },
};

/* The file that -b names: from here, or as backing files are named. */
static int stat_base(const struct commit_args *a, struct stat *st,
		     struct err *err)
{
	autofree char *beside = cmd_beside(a->image, a->base);
	char shown[256];

	if (stat(a->base, st) == 0 || (beside && stat(beside, st) == 0))
		return 0;
	return err_set_sys(err, -errno, "cannot find the base '%s'",
			   err_escape(shown, sizeof(shown), a->base,
				      strlen(a->base)));
}

/* How deep the base lies: a look at the chain, before it is opened to write. */
static int find_depth(const struct commit_args *a, unsigned *depth,
		      struct err *err)
{
	struct image_opts opts = { .readonly = true,
				   .backing = a->backing,
				   .data_file = a->data_file,
				   .no_key = true };
	struct image *img;
	struct stat st;
	int r;

	*depth = 1;
	if (!a->base)
		return 0;
	r = stat_base(a, &st, err);
	if (r < 0) {
		err_wrap(err, "%s", a->image);
		return r;
	}
	r = image_open(&img, a->image, &opts, err);
	if (r < 0)
		return r;
	*depth = merge_depth(img, st.st_dev, st.st_ino);
	image_close(img);
	return *depth ? 0 :
			err_set(err, -EINVAL,
				"%s: the base is not among its backing files",
				a->image);
}

static int commit(struct image *img, const struct commit_args *a,
		  unsigned depth, struct err *err)
{
	struct merge_opts opts = { .depth = depth,
				   .keep = a->keep || a->base,
				   .progress = progress_update };
	struct progress p;
	int closed, r;

	progress_begin(&p, a->progress && !a->quiet);
	opts.progress_arg = &p;
	r = merge_image(img, &opts, err);
	progress_end(&p);
	closed = image_close(img);
	if (r == 0 && closed < 0)
		r = err_set_sys(err, closed, "cannot write to the image");
	return r;
}

static int run(struct commit_args *a)
{
	struct image_opts opts = { .recover = repair_recover,
				   .backing = a->backing,
				   .data_file = a->data_file };
	struct image *img;
	struct err err = { "" };
	int r = find_depth(a, &opts.write_depth, &err);

	if (r == 0)
		r = keys_load(&a->keys, a->image, &opts, &err);
	if (r == 0)
		r = image_open(&img, a->image, &opts, &err);
	keys_fini(&a->keys);
	if (r < 0)
		return mounted_fail(a->image, &err);
	if (commit(img, a, opts.write_depth, &err) < 0)
		return cmd_fail(a->image, &err);
	if (!a->quiet)
		puts("Image committed.");
	return 0;
}

int cmd_commit(int argc, char **argv)
{
	struct commit_args a = { .keys = KEYS_INIT };
	int status;

	if (cmd_parse(&spec, &a, argc, argv, &status))
		status = run(&a);
	free(a.data_file);
	return status;
}
