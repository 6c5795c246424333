/*
 * cmd_map: rawcow map. Keys, table and the meaning of both as qemu-img's. One
 * extent is held at a time, however many the image has.
 */
#include "cli/cmd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "cli/args.h"
#include "cli/json.h"
#include "cli/mounted.h"
#include "core/image/image.h"

struct map_args {
	const char *image;
	const char *bitmap; /* show what it says instead; or NULL */
	uint64_t start, max; /* guest bytes */
	struct image_opts opts;
	char *data_file; /* owned */
	bool json;
};

/* One line of the output. */
struct entry {
	uint64_t start;
	struct image_extent x; /* x.len 0: none yet */
};

struct output {
	struct image *img;
	bool json, began;
};

/* --- output ---------------------------------------------------------------- */

static bool is_data(const struct image_extent *x)
{
	return x->kind == IMAGE_EXTENT_DATA ||
	       x->kind == IMAGE_EXTENT_COMPRESSED;
}

static bool is_zero(const struct image_extent *x)
{
	return !is_data(x) || x->host_hole;
}

static int print_json(struct output *out, const struct entry *e)
{
	struct json_object *o = json_object_new_object();
	const struct image_extent *x = &e->x;

	json_put_int(o, "start", e->start);
	json_put_int(o, "length", x->len);
	json_put_int(o, "depth", x->depth);
	json_put_bool(o, "present", x->kind != IMAGE_EXTENT_HOLE);
	json_put_bool(o, "zero", is_zero(x));
	json_put_bool(o, "data", is_data(x));
	json_put_bool(o, "compressed", x->kind == IMAGE_EXTENT_COMPRESSED);
	if (x->has_hoff)
		json_put_int(o, "offset", x->hoff);
	fputs(out->began ? ",\n" : "", stdout);
	fputs(json_object_to_json_string_ext(o, JSON_C_TO_STRING_SPACED),
	      stdout);
	json_object_put(o);
	return 0;
}

static int print_human(struct output *out, const struct entry *e,
		       struct err *err)
{
	const char *name = image_name_at(out->img, e->x.depth);
	size_t size = strlen(name) * 4 + 8;
	autofree char *shown = NULL;

	if (is_data(&e->x) && !e->x.has_hoff)
		return err_set(err, -ENOTSUP, "the disk has compressed or "
			       "encrypted data at offset %" PRIu64 ", which "
			       "this table cannot show; use --output=json", e->start);
	if (is_zero(&e->x))
		return 0;
	shown = malloc(size);
	if (!shown)
		return err_set(err, -ENOMEM, "no memory for a name");
	printf("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64 "%s\n", e->start,
	       e->x.len, e->x.hoff,
	       err_escape(shown, size, name, strlen(name)));
	return 0;
}

static int print_entry(struct output *out, const struct entry *e,
		       struct err *err)
{
	int ret;

	if (!e->x.len)
		return 0;
	ret = out->json ? print_json(out, e) : print_human(out, e, err);
	out->began = true;
	return ret;
}

/* --- walking --------------------------------------------------------------- */

static bool continues(const struct image_extent *a,
		      const struct image_extent *b)
{
	return a->kind == b->kind && a->depth == b->depth &&
	       a->host_hole == b->host_hole && a->has_hoff == b->has_hoff &&
	       (!a->has_hoff || a->hoff + a->len == b->hoff);
}

/* Take X, which starts where PENDING ends: print PENDING unless they are one.
 */
static int add(struct output *out, struct entry *pending,
	       const struct image_extent *x, struct err *err)
{
	int ret;

	if (pending->x.len && continues(&pending->x, x)) {
		pending->x.len += x->len;
		return 0;
	}
	ret = print_entry(out, pending, err);
	if (!ret && ferror(stdout))
		ret = -EPIPE; /* a map can be long: no more of it */
	pending->start += pending->x.len;
	pending->x = *x;
	return ret;
}

/* Add X, in pieces if the host file is data here and a hole there. */
static int add_pieces(struct output *out, struct entry *pending,
		      struct image_extent x, struct err *err)
{
	while (x.len) {
		struct image_extent piece = x;
		int ret = image_map_host(out->img, &piece);

		if (ret)
			return err_set_sys(err, ret, "cannot find the holes of "
					   "the file");
		ret = add(out, pending, &piece, err);
		if (ret)
			return ret;
		x.len -= piece.len;
		x.hoff += piece.len;
	}
	return 0;
}

static int walk(struct output *out, uint64_t from, uint64_t end,
		struct err *err)
{
	struct entry pending = { .start = from };

	while (from < end) {
		struct image_extent x;
		int ret = image_map(out->img, from, end - from, &x);

		if (ret) {
			/* all that is known, before the reason for no more */
			(void)print_entry(out, &pending, NULL);
			return err_set_sys(err, ret, "cannot read the tables "
					   "for offset %" PRIu64, from);
		}
		ret = add_pieces(out, &pending, x, err);
		if (ret)
			return ret;
		from += x.len;
	}
	return print_entry(out, &pending, err);
}

/* --- a bitmap ---------------------------------------------------------------- */

struct bitmap_output {
	uint64_t from, end; /* the part of the disk that is asked for */
	bool json, began;
};

static int print_extent(void *arg, uint64_t start, uint64_t len, bool dirty)
{
	struct bitmap_output *out = arg;
	uint64_t end = NUM_MIN(start + len, out->end);

	start = NUM_MAX(start, out->from);
	if (start >= end)
		return 0;
	if (!out->json) {
		if (dirty)
			printf("%#-16" PRIx64 "%#" PRIx64 "\n", start,
			       end - start);
		return 0;
	}
	printf("%s{ \"start\": %" PRIu64 ", \"length\": %" PRIu64
	       ", \"dirty\": %s }", out->began ? ",\n" : "", start,
	       end - start, dirty ? "true" : "false");
	out->began = true;
	return 0;
}

static int run_bitmap(struct image *img, const struct map_args *a,
		      struct err *err)
{
	uint64_t left = image_size(img) - a->start;
	struct bitmap_output out = { .from = a->start, .json = a->json,
				     .end = a->start + NUM_MIN(a->max, left) };
	int ret;

	if (a->json)
		putchar('[');
	else
		printf("%-16s%s\n", "Offset", "Length");
	ret = image_bitmap_extents(img, a->bitmap, print_extent, &out, err);
	if (ret) {
		fflush(stdout); /* before the message */
		return ret;
	}
	if (a->json)
		puts("]");
	return 0;
}

static int run(struct image *img, const struct map_args *a, struct err *err)
{
	struct output out = { .img = img, .json = a->json };
	uint64_t size = image_size(img);
	int ret;

	if (a->start > size)
		return err_set(err, -EINVAL, "--start-offset %" PRIu64 " lies "
			       "beyond the end of the disk, %" PRIu64,
			       a->start, size);
	if (a->bitmap)
		return run_bitmap(img, a, err);
	if (a->json)
		putchar('[');
	else
		printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to",
		       "File");
	ret = walk(&out, a->start, a->start + NUM_MIN(a->max, size - a->start),
		   err);
	if (ret) {
		fflush(stdout); /* before the message */
		return ret;
	}
	if (a->json)
		puts("]");
	return 0;
}

/* --- options --------------------------------------------------------------- */

#define AT(f) offsetof(struct map_args, f)

static const struct args_opt keys[] = {
	{ 0, "backing", "dir|none|any", args_backing, AT(opts.backing), NULL },
	{ 0, "data_file", "PATH", args_string, AT(data_file), NULL },
	ARGS_END
};

static const struct args_opt options[] = {
	ARGS_OUTPUT(AT(json)),
	{ 's', "start-offset", "OFF", args_size, AT(start),
	  "begin there (bytes; 64k, 10G)" },
	{ 'l', "max-length", "LEN", args_size, AT(max),
	  "look at so much only" },
	{ 0, "bitmap", "NAME", args_text, AT(bitmap),
	  "what this persistent bitmap says is dirty, instead" },
	ARGS_KEYS,
	{ 'U', "force-share", NULL, args_flag, AT(opts.force_share),
	  "also while another program writes IMAGE" },
	ARGS_FORMAT,
	ARGS_END
};

static const struct args_spec spec = {
	.usage = "map [OPTION...] IMAGE",
	.what = "Say what the disk in IMAGE holds where, and in which file of "
		"its backing chain.",
	.opts = options,
	.keys = keys,
	.min_words = 1,
	.max_words = 1,
	.wants = "one image",
	.words = { AT(image) },
};

static int open_image(struct image **img, struct map_args *a, struct err *err)
{
	int ret;

	a->opts.data_file = a->data_file;
	ret = image_open(img, a->image, &a->opts, err);
	if (ret == -EAGAIN)
		err_append(err, ", or read it as it is with -U");
	return ret;
}

static int open_and_run(struct map_args *a)
{
	struct err err = { "" };
	struct image *img;
	int ret;

	if (a->bitmap)
		a->opts.no_backing = true;
	if (open_image(&img, a, &err) < 0)
		return mounted_fail(a->image, &err);
	ret = run(img, a, &err);
	image_close(img);
	/* main() tells of stdout */
	return ret && !ferror(stdout) ? cmd_fail(a->image, &err) : 0;
}

int cmd_map(int argc, char **argv)
{
	struct map_args a = { .max = UINT64_MAX, .opts.readonly = true,
			      .opts.no_key = true };
	int status;

	if (cmd_parse(&spec, &a, argc, argv, &status))
		status = open_and_run(&a);
	free(a.data_file);
	return status;
}
