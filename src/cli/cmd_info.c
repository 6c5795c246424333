/*
 * cmd_info: rawcow info. Opens IMAGE and, unless --backing-chain asks for it,
 * nothing that IMAGE names. Text and JSON keys as qemu-img's.
 */
#include "cli/cmd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/size.h"
#include "cli/args.h"
#include "cli/json.h"
#include "cli/luksinfo.h"
#include "cli/snaptext.h"
#include "core/format/qcow2.h"
#include "core/image/info.h"

struct info_args {
	const char *image;
	bool json, shared, chain;
};

/* One file of the chain. */
struct layer {
	char *path;
	bool raw;
	struct host_stat st;
	struct info info; /* unless raw */
};

/* --- JSON ------------------------------------------------------------------ */

static const char *compression_name(unsigned type)
{
	return type == QCOW2_COMPRESSION_ZSTD ? "zstd" : "zlib";
}

static struct json_object *bitmap_list(const struct info *info)
{
	struct json_object *a = json_object_new_array();

	for (size_t i = 0; i < info->bitmaps.n; i++) {
		const struct bitmap *b = &info->bitmaps.b[i];
		struct json_object *o = json_object_new_object();
		struct json_object *flags = json_object_new_array();

		if (b->e.flags & BITMAPDIR_IN_USE)
			json_object_array_add(flags,
					      json_object_new_string("in-use"));
		if (b->e.flags & BITMAPDIR_AUTO)
			json_object_array_add(flags,
					      json_object_new_string("auto"));
		json_object_object_add(o, "flags", flags);
		json_put_text(o, "name", bitmaplist_name(b));
		json_put_int(o, "granularity", 1ULL << b->e.granularity_bits);
		json_object_array_add(a, o);
	}
	return a;
}

static struct json_object *specific(const struct info *i)
{
	const struct header *h = &i->header;
	struct json_object *o = json_object_new_object();
	struct json_object *d = json_object_new_object();

	json_put_text(d, "compat", h->version == 2 ? "0.10" : "1.1");
	if (i->data_file)
		json_put_text(d, "data-file", i->data_file);
	json_put_text(d, "compression-type", compression_name(h->compression));
	if (h->version > 2)
		json_put_bool(d, "lazy-refcounts",
			      h->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS);
	if (i->bitmaps.n)
		json_object_object_add(d, "bitmaps", bitmap_list(i));
	if (i->data_file)
		json_put_bool(d, "data-file-raw",
			      h->autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW);
	json_put_int(d, "refcount-bits", i->geom.refcount_bits);
	if (h->crypt_method)
		json_object_object_add(d, "encrypt", luksinfo_json(i));
	if (h->version > 2) {
		json_put_bool(d, "corrupt",
			      h->incompatible & QCOW2_INCOMPAT_CORRUPT);
		json_put_bool(d, "extended-l2",
			      h->incompatible & QCOW2_INCOMPAT_EXTL2);
	}
	json_put_text(o, "type", "qcow2");
	json_object_object_add(o, "data", d);
	return o;
}

static void put_backing(struct json_object *o, const struct layer *l)
{
	autofree char *full = cmd_beside(l->path, l->info.backing_name);

	if (full && !cmd_is_url(l->info.backing_name))
		json_put_text(o, "full-backing-filename", full);
	json_put_text(o, "backing-filename", l->info.backing_name);
	if (l->info.backing_format)
		json_put_text(o, "backing-filename-format",
			      l->info.backing_format);
}

static struct json_object *layer_json(const struct layer *l)
{
	struct json_object *o = json_object_new_object();
	const struct header *h = &l->info.header;

	if (!l->raw && h->nb_snapshots)
		json_object_object_add(o, "snapshots",
				       snaptext_json(&l->info));
	json_put_int(o, "virtual-size", l->raw ? l->st.size :
						 l->info.geom.size);
	json_put_text(o, "filename", l->path);
	if (!l->raw)
		json_put_int(o, "cluster-size", l->info.geom.cluster_size);
	json_put_text(o, "format", l->raw ? "raw" : "qcow2");
	json_put_int(o, "actual-size", l->st.blocks * 512);
	if (!l->raw && h->crypt_method)
		json_put_bool(o, "encrypted", true);
	if (!l->raw)
		json_object_object_add(o, "format-specific",
				       specific(&l->info));
	if (!l->raw && l->info.backing_name)
		put_backing(o, l);
	json_put_bool(o, "dirty-flag",
		      !l->raw && (h->incompatible & QCOW2_INCOMPAT_DIRTY));
	return o;
}

/* --- human ----------------------------------------------------------------- */

/* LABEL and a name that came from outside. */
static void print_name(const char *label, const char *name)
{
	size_t size = strlen(name) * 4 + 8;
	autofree char *buf = malloc(size);

	if (buf)
		printf("%s: %s\n", label,
		       err_escape(buf, size, name, strlen(name)));
}

static void print_bitmaps(const struct info *info)
{
	if (info->bitmaps.n)
		puts("    bitmaps:");
	for (size_t i = 0; i < info->bitmaps.n; i++) {
		const struct bitmap *b = &info->bitmaps.b[i];
		int flag = 0;

		printf("        [%zu]:\n            flags:\n", i);
		if (b->e.flags & BITMAPDIR_IN_USE)
			printf("                [%d]: in-use\n", flag++);
		if (b->e.flags & BITMAPDIR_AUTO)
			printf("                [%d]: auto\n", flag++);
		print_name("            name", bitmaplist_name(b));
		printf("            granularity: %llu\n",
		       1ULL << b->e.granularity_bits);
	}
}

static void print_specific(const struct info *i)
{
	const struct header *h = &i->header;

	puts("Format specific information:");
	printf("    compat: %s\n", h->version == 2 ? "0.10" : "1.1");
	printf("    compression type: %s\n", compression_name(h->compression));
	if (h->version > 2)
		printf("    lazy refcounts: %s\n",
		       h->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS ? "true" :
								     "false");
	print_bitmaps(i);
	printf("    refcount bits: %u\n", i->geom.refcount_bits);
	if (i->data_file) {
		print_name("    data file", i->data_file);
		printf("    data file raw: %s\n",
		       h->autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW ? "true" :
								      "false");
	}
	luksinfo_print(i);
	if (h->version > 2)
		printf("    corrupt: %s\n    extended l2: %s\n",
		       h->incompatible & QCOW2_INCOMPAT_CORRUPT ? "true" :
								  "false",
		       h->incompatible & QCOW2_INCOMPAT_EXTL2 ? "true" :
								"false");
	for (size_t n = 0; n < i->n_unknown_ext; n++)
		printf("    unknown header extension: 0x%08" PRIx32 "\n",
		       i->unknown_ext[n]);
}

static void print_backing(const struct layer *l)
{
	const char *name = l->info.backing_name;
	autofree char *full = cmd_beside(l->path, name);
	char buf[4096];

	printf("backing file: %s", err_escape(buf, sizeof(buf), name,
					      strlen(name)));
	if (full && strcmp(full, name) && !cmd_is_url(name))
		printf(" (actual path: %s)",
		       err_escape(buf, sizeof(buf), full, strlen(full)));
	putchar('\n');
	if (l->info.backing_format)
		print_name("backing file format", l->info.backing_format);
}

static void print_qcow2(const struct layer *l)
{
	const struct header *h = &l->info.header;

	if (h->crypt_method)
		puts("encrypted: yes");
	printf("cluster_size: %" PRIu64 "\n", l->info.geom.cluster_size);
	if (h->incompatible & QCOW2_INCOMPAT_DIRTY)
		puts("cleanly shut down: no");
	if (l->info.backing_name)
		print_backing(l);
	snaptext_print(&l->info);
	print_specific(&l->info);
}

static void print_layer(const struct layer *l)
{
	uint64_t size = l->raw ? l->st.size : l->info.geom.size;
	char text[SIZE_TEXT_MAX];

	print_name("image", l->path);
	printf("file format: %s\n", l->raw ? "raw" : "qcow2");
	printf("virtual size: %s (%" PRIu64 " bytes)\n",
	       size_format(text, size), size);
	printf("disk size: %s\n", size_format(text, l->st.blocks * 512));
	if (!l->raw)
		print_qcow2(l);
}

/* --- reading --------------------------------------------------------------- */

static void layer_fini(struct layer *l)
{
	free(l->path);
	if (!l->raw)
		info_fini(&l->info);
}

int cmd_info_text(struct image *img, const struct ctl_status *st, FILE *out)
{
	struct layer l = { .path = strdup(image_file(img)->name) };
	struct err err = { "" };
	int ret = l.path ? hostfile_stat(image_file(img), &l.st) : -ENOMEM;

	(void)st;
	if (!ret)
		ret = info_of(&l.info, img, &err);
	if (!ret && json_write(layer_json(&l), out))
		ret = -EIO;
	layer_fini(&l);
	if (ret)
		log_limited(LOG_LEVEL_ERROR, "info.json: %s",
			    *err.text ? err.text : strerror(-ret));
	return ret;
}

static int layer_read(struct layer *l, bool shared, struct err *err)
{
	struct hostfile *file;
	int ret = cmd_open(&file, l->path, shared ? HOSTLOCK_IMAGE_SHARED :
						    HOSTLOCK_IMAGE_RO, err);

	if (ret)
		return ret;
	ret = hostfile_stat(file, &l->st);
	if (ret)
		err_set_sys(err, ret, "cannot stat");
	if (!ret && !l->raw)
		ret = info_read(&l->info, file, err);
	if (ret) {
		char name[512];

		err_wrap(err, "%s", err_escape(name, sizeof(name), l->path,
					       strlen(l->path)));
	}
	hostfile_close(file);
	return ret;
}

/* Set NEXT to the file behind L. 0, 1 when there is none, -errno. */
static int chain_next(const struct layer *l, struct layer *next,
		      struct err *err)
{
	const char *name = l->raw ? NULL : l->info.backing_name;
	const char *format = l->info.backing_format;
	char shown[512];

	*next = (struct layer){ 0 };
	if (!name)
		return 1;
	err_escape(shown, sizeof(shown), l->path, strlen(l->path));
	if (cmd_is_url(name))
		return err_set(err, -ENOTSUP, "%s: its backing file is no "
			       "plain path; leave out --backing-chain", shown);
	if (!format || (strcmp(format, "raw") && strcmp(format, "qcow2")))
		return err_set(err, -ENOTSUP, "%s: the format of its backing "
			       "file is not recorded, or is neither raw nor "
			       "qcow2; set it with qemu-img rebase -u", shown);
	next->raw = !strcmp(format, "raw");
	next->path = cmd_beside(l->path, name);
	return next->path ? 0 : err_set(err, -ENOMEM, "no memory for a name");
}

static bool seen_before(const struct layer *all, size_t n)
{
	for (size_t i = 0; i + 1 < n; i++)
		if (all[i].st.dev == all[n - 1].st.dev &&
		    all[i].st.ino == all[n - 1].st.ino)
			return true;
	return false;
}

/* Fill ALL (QCOW2_MAX_CHAIN of them) and *N; all of them need layer_fini(). */
static int read_all(const struct info_args *a, struct layer *all, size_t *n,
		    struct err *err)
{
	int ret;

	all[0].path = strdup(a->image);
	if (!all[0].path)
		return err_set(err, -ENOMEM, "no memory for a name");
	*n = 1;
	for (;;) {
		ret = layer_read(&all[*n - 1], a->shared, err);
		if (ret || !a->chain)
			return ret;
		if (seen_before(all, *n))
			return err_set(err, -ELOOP, "the backing chain comes "
				       "back to a file that is in it already");
		if (*n == QCOW2_MAX_CHAIN)
			return err_set(err, -ELOOP, "the backing chain has "
				       "more than %u files", QCOW2_MAX_CHAIN);
		ret = chain_next(&all[*n - 1], &all[*n], err);
		if (ret)
			return ret < 0 ? ret : 0;
		++*n;
	}
}

static int print_all(const struct info_args *a, const struct layer *all,
		     size_t n)
{
	struct json_object *array;

	if (a->json && !a->chain)
		return json_print(layer_json(&all[0]));
	if (a->json) {
		array = json_object_new_array();
		for (size_t i = 0; i < n; i++)
			json_object_array_add(array, layer_json(&all[i]));
		return json_print(array);
	}
	for (size_t i = 0; i < n; i++) {
		if (i)
			putchar('\n');
		print_layer(&all[i]);
	}
	return fflush(stdout);
}

#define AT(f) offsetof(struct info_args, f)

static const struct args_opt options[] = {
	ARGS_OUTPUT(AT(json)),
	{ 0, "backing-chain", NULL, args_flag, AT(chain),
	  "the backing files too" },
	{ 'U', "force-share", NULL, args_flag, AT(shared),
	  "also while another program writes IMAGE" },
	ARGS_FORMAT,
	ARGS_END
};

static const struct args_spec spec = {
	.usage = "info [OPTION...] IMAGE",
	.what = "Say what IMAGE is. Opens no other file, whatever IMAGE names.",
	.opts = options,
	.min_words = 1,
	.max_words = 1,
	.wants = "one image",
	.words = { AT(image) },
};

int cmd_info(int argc, char **argv)
{
	/* one more, for the name behind the last */
	autofree struct layer *all = mem_array(QCOW2_MAX_CHAIN + 1,
					       sizeof(*all));
	struct info_args a = { 0 };
	struct err err = { "" };
	size_t n = 0;
	int ret;

	if (!cmd_parse(&spec, &a, argc, argv, &ret))
		return ret;
	if (!all) {
		err_set(&err, -ENOMEM, "no memory for a chain");
		return cmd_fail(NULL, &err);
	}
	ret = read_all(&a, all, &n, &err);
	if (!ret)
		ret = print_all(&a, all, n) ? 1 : 0;
	else
		ret = cmd_fail(NULL, &err);
	for (size_t i = 0; i < n; i++)
		layer_fini(&all[i]);
	return ret;
}
