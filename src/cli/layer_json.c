#include "cli/layer.h"

#include "base/mem.h"
#include "cli/cmd.h"
#include "cli/json.h"
#include "cli/luksinfo.h"
#include "cli/snaptext.h"
#include "core/format/qcow2.h"

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
	json_put_text(d, "compression-type", layer_compression(h->compression));
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

struct json_object *layer_json(const struct layer *l)
{
	struct json_object *o = json_object_new_object();
	const struct header *h = &l->info.header;

	if (!l->raw && h->nb_snapshots)
		json_object_object_add(o, "snapshots",
				       snaptext_json(l->info.snapshots,
						     h->nb_snapshots));
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
