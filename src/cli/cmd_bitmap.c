/*
 * cmd_bitmap: rawcow bitmap. Options as qemu-img's; several are carried out in
 * the order in which they stand.
 */
#include "cli/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cli/json.h"
#include "cli/mounted.h"
#include "core/admin/bitmap.h"
#include "core/admin/repair.h"

#define MAX_ACTIONS 16

struct action {
	enum ctl_verb verb;
	const char *from; /* CTL_BITMAP_MERGE */
};

struct bitmap_args {
	const char *image, *name, *source;
	uint64_t granularity; /* bytes; 0: the default */
	struct action action[MAX_ACTIONS];
	size_t n;
	bool list, json, shared, quiet;
};

/* --- options ---------------------------------------------------------------- */

static int take_action(void *into, const char *name, const char *value,
		       struct err *err)
{
	static const char *const words[] = { "add", "remove", "clear", "enable",
					     "disable", "merge", NULL };
	struct bitmap_args *a = into;
	int verb = args_word("bitmap", name + strspn(name, "-"), words, err);

	if (verb < 0)
		return verb;
	if (a->n == MAX_ACTIONS)
		return err_set(err, -EINVAL, "at most %d things can be done at "
			       "a time", MAX_ACTIONS);
	a->action[a->n++] = (struct action){
		(enum ctl_verb)((int)CTL_BITMAP_ADD + verb), value
	};
	return 0;
}

static bool has(const struct bitmap_args *a, enum ctl_verb verb)
{
	for (size_t i = 0; i < a->n; i++)
		if (a->action[i].verb == verb)
			return true;
	return false;
}

static int check_args(void *into, struct err *err)
{
	struct bitmap_args *a = into;

	if (a->list ? a->n > 0 || a->name : !a->n && a->name)
		return err_set(err, -EINVAL, "either --list with an image, or "
			       "something to do with an image and a bitmap");
	if (a->n && !a->name)
		return err_set(err, -EINVAL, "which bitmap? Name it behind the "
			       "image");
	if (a->granularity && !has(a, CTL_BITMAP_ADD))
		return err_set(err, -EINVAL, "-g works only with --add");
	if (a->source && !has(a, CTL_BITMAP_MERGE))
		return err_set(err, -EINVAL, "-b works only with --merge");
	if (a->shared && a->n)
		return err_set(err, -EINVAL, "-U works only with --list: two "
			       "writers would destroy the image");
	return 0;
}

#define AT(f) offsetof(struct bitmap_args, f)

static const struct args_opt options[] = {
	{ 0, "list", NULL, args_flag, AT(list), "list them (the default)" },
	{ 0, "add", NULL, take_action, 0,
	  "make a new one, empty, that notes changes" },
	{ 0, "remove", NULL, take_action, 0,
	  "remove it; all that can be done to one that is\nmarked as in use" },
	{ 0, "clear", NULL, take_action, 0, "nothing is dirty any more" },
	{ 0, "enable", NULL, take_action, 0, "note changes from now on" },
	{ 0, "disable", NULL, take_action, 0, "note no more changes" },
	{ 0, "merge", "SOURCE", take_action, 0,
	  "make dirty what is dirty in the bitmap SOURCE" },
	{ 'g', "granularity", "SIZE", args_size, AT(granularity),
	  "with --add: bytes that one bit stands for, a power\n"
	  "of two from 512; the cluster size is usual, from 4k\nto 64k" },
	{ 'b', "source-file", "FILE", args_text, AT(source),
	  "with --merge: SOURCE is a bitmap of this image" },
	ARGS_OUTPUT(AT(json)),
	{ 'U', "force-share", NULL, args_flag, AT(shared),
	  "with --list: IMAGE although another program writes it" },
	{ 'q', "quiet", NULL, args_flag, AT(quiet),
	  "accepted: nothing is printed but with --list" },
	{ 'F', "source-format", "qcow2", args_format, 0,
	  "accepted, as -f" },
	ARGS_FORMAT,
	ARGS_END
};

static const struct args_spec spec = {
	.usage = "bitmap [OPTION...] IMAGE|MOUNTPOINT [NAME]",
	.what = "List or change the persistent bitmaps of IMAGE, which must not"
		" be in use, or of\nthe image mounted at MOUNTPOINT.",
	.opts = options,
	.min_words = 1,
	.max_words = 2,
	.wants = "an image and a bitmap",
	.words = { AT(image), AT(name) },
	.check = check_args,
};

/* --- list -------------------------------------------------------------------- */

static int add_json(void *list, const struct image_bitmap *b)
{
	struct json_object *o = json_object_new_object();
	struct json_object *flags = json_object_new_array();

	if (b->in_use)
		json_object_array_add(flags, json_object_new_string("in-use"));
	if (b->enabled)
		json_object_array_add(flags, json_object_new_string("auto"));
	json_object_object_add(o, "flags", flags);
	json_put_text(o, "name", b->name);
	json_put_int(o, "granularity", b->granularity);
	json_object_array_add(list, o);
	return 0;
}

static void print_title(bool *done)
{
	if (!*done)
		printf("%-12s%-16s%s\n", "Granularity", "State", "Name");
	*done = true;
}

static int print_one(void *titled, const struct image_bitmap *b)
{
	size_t size = strlen(b->name) * 4 + 8;
	autofree char *safe = malloc(size);

	if (!safe)
		return -ENOMEM;
	print_title(titled);
	printf("%-12llu%-16s%s\n", (unsigned long long)b->granularity,
	       b->in_use ? "in use" :
	       b->invalid ? "unknown" :
	       b->enabled ? "notes changes" : "disabled",
	       err_escape(safe, size, b->name, strlen(b->name)));
	return 0;
}

static int each_in_file(const struct bitmap_args *a,
			int (*fn)(void *arg, const struct image_bitmap *b),
			void *arg, struct err *err)
{
	const struct image_opts opts = { .readonly = true,
					 .no_backing = true,
					 .no_key = true,
					 .force_share = a->shared };
	char name[1024];
	struct image *img;
	int ret = image_open(&img, a->image, &opts, err);

	if (ret < 0)
		return ret;
	ret = image_bitmap_list(img, fn, arg, err);
	if (ret < 0)
		err_wrap(err, "%s", err_escape(name, sizeof(name), a->image,
					       strlen(a->image)));
	image_close(img);
	return ret;
}

static int list(const struct bitmap_args *a, bool mounted)
{
	struct json_object *array = a->json ? json_object_new_array() : NULL;
	int (*fn)(void *arg, const struct image_bitmap *b) =
		a->json ? add_json : print_one;
	bool titled = false;
	void *arg = a->json ? (void *)array : &titled;
	struct err err = { "" };
	int ret = mounted ? mounted_bitmaps(a->image, fn, arg, &err) :
			    each_in_file(a, fn, arg, &err);

	if (ret < 0) {
		json_object_put(array);
		return mounted ? cmd_fail(a->image, &err) :
				 mounted_fail(a->image, &err);
	}
	if (a->json)
		json_print(array);
	else
		print_title(&titled);
	return 0;
}

/* --- changes ----------------------------------------------------------------- */

static int do_mounted(const struct bitmap_args *a, const struct action *act,
		      struct err *err)
{
	struct ctl_order o = { .verb = act->verb, .number = a->granularity };
	const char *from = act->from && act->verb == CTL_BITMAP_MERGE ?
				   act->from : "";

	if (a->source)
		return err_set(err, -ENOTSUP, "-b works only on an image that "
			       "is not mounted");
	if (strlen(a->name) >= sizeof(o.name) || strlen(from) >= sizeof(o.other))
		return err_set(err, -EINVAL, "the name is too long");
	snprintf(o.name, sizeof(o.name), "%s", a->name);
	snprintf(o.other, sizeof(o.other), "%s", from);
	return mounted_order(a->image, &o, err);
}

static int merge(const struct bitmap_args *a, struct image *img,
		 const char *from, struct err *err)
{
	const struct image_opts opts = { .readonly = true,
					 .no_backing = true,
					 .no_key = true };
	struct image *source;
	int ret;

	if (!a->source)
		return bitmap_merge(img, a->name, img, from, err);
	ret = image_open(&source, a->source, &opts, err);
	if (ret < 0)
		return ret;
	ret = bitmap_merge(img, a->name, source, from, err);
	image_close(source);
	return ret;
}

static int do_action(const struct bitmap_args *a, struct image *img,
		     const struct action *act, struct err *err)
{
	switch ((int)act->verb) {
	case CTL_BITMAP_ADD:
		return bitmap_add(img, a->name, a->granularity, err);
	case CTL_BITMAP_REMOVE:
		return bitmap_remove(img, a->name, err);
	case CTL_BITMAP_CLEAR:
		return bitmap_clear(img, a->name, err);
	case CTL_BITMAP_ENABLE:
		return bitmap_enable(img, a->name, err);
	case CTL_BITMAP_DISABLE:
		return bitmap_disable(img, a->name, err);
	default:
		return merge(a, img, act->from, err);
	}
}

static int change(const struct bitmap_args *a)
{
	const struct image_opts opts = { .no_backing = true,
					 .no_key = true,
					 .recover = repair_recover,
					 .defer_bitmaps = true };
	struct image *img;
	struct err err = { "" };
	int ret = image_open(&img, a->image, &opts, &err);
	int closed;

	if (ret < 0)
		return mounted_fail(a->image, &err);
	for (size_t i = 0; i < a->n && ret == 0; i++)
		ret = do_action(a, img, &a->action[i], &err);
	closed = image_close(img);
	if (ret == 0 && closed < 0)
		ret = err_set_sys(&err, closed, "cannot write to the image");
	return ret < 0 ? cmd_fail(a->image, &err) : 0;
}

static int change_mounted(const struct bitmap_args *a)
{
	struct err err = { "" };
	int ret = 0;

	for (size_t i = 0; i < a->n && ret == 0; i++)
		ret = do_mounted(a, &a->action[i], &err);
	return ret < 0 ? cmd_fail(a->image, &err) : 0;
}

int cmd_bitmap(int argc, char **argv)
{
	struct bitmap_args a = { 0 };
	bool mounted;
	int status;

	if (!cmd_parse(&spec, &a, argc, argv, &status))
		return status;
	mounted = mounted_at(a.image);
	if (!a.n)
		return list(&a, mounted);
	return mounted ? change_mounted(&a) : change(&a);
}
