/*
 * cmd_rebase: rawcow rebase. Options as qemu-img's.
 */
#include "cli/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/mounted.h"
#include "core/admin/rebase.h"
#include "core/admin/repair.h"

struct rebase_args {
	const char *image, *backing, *format;
	bool unsafe, quiet;
};

static int check_args(void *into, struct err *err)
{
	const struct rebase_args *a = into;

	if (!a->backing)
		return err_set(err, -EINVAL,
			       "-b is missing: name the new backing file, or -b \"\" for none");
	if (!a->unsafe)
		return err_set(err, -ENOTSUP,
			       "only the name can be changed, with -u, when the new file holds what the old one does; 'qemu-img rebase' can copy what differs");
	if (*a->backing && cmd_is_url(a->backing))
		return err_set(err, -EINVAL,
			       "the backing file must be a plain path; write ./NAME if there is a colon in it");
	return 0;
}

#define AT(f) offsetof(struct rebase_args, f)

static const struct args_opt options[] = {
	{ 'u', "unsafe", NULL, args_flag, AT(unsafe),
	  "change the name and nothing else; needed" },
	{ 'b', "backing", "FILE", args_text, AT(backing),
	  "the new backing file; \"\": none. A relative name\n"
	  "counts from IMAGE's folder" },
	{ 'F', "backing-format", "FMT", args_text, AT(format),
	  "its format: raw or qcow2, never guessed" },
	ARGS_QUIET(AT(quiet)),
	ARGS_FORMAT,
	ARGS_END
};

static const struct args_spec spec = {
	.usage = "rebase -u -b FILE -F FMT IMAGE",
	.what = "Record another backing file in IMAGE, as when it was moved or "
		"renamed. Neither\nthe old nor the new one is opened: it is up "
		"to you that they hold the same.",
	.opts = options,
	.min_words = 1,
	.max_words = 1,
	.wants = "one image",
	.words = { AT(image) },
	.check = check_args,
};

int cmd_rebase(int argc, char **argv)
{
	const struct image_opts opts = { .no_backing = true,
					 .no_key = true,
					 .recover = repair_recover };
	struct rebase_args a = { 0 };
	struct image *img;
	struct err err = { "" };
	int status;
	int closed;
	int r;

	if (!cmd_parse(&spec, &a, argc, argv, &status))
		return status;
	if (image_open(&img, a.image, &opts, &err) < 0)
		return mounted_fail(a.image, &err);
	if (image_readonly_reason(img))
		r = err_set(&err, -EROFS, "the image is not changed: %s",
			    image_readonly_reason(img));
	else
		r = rebase_image(img, *a.backing ? a.backing : NULL, a.format,
				 &err);
	closed = image_close(img);
	if (r == 0 && closed < 0)
		r = err_set_sys(&err, closed, "cannot write to the image");
	return r < 0 ? cmd_fail(a.image, &err) : 0;
}
