#include "core/admin/relayout.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/seed.h"
#include "core/format/headerext.h"
#include "core/format/qcow2.h"
#include "core/image/open.h"
#include "core/meta/atonce.h"

struct work {
	struct meta *m;
	size_t cap;		   /* bytes of the first cluster */
	uint8_t *old, *new;	   /* it, on disk and as it shall be */
	struct headerext_list ext; /* points into OLD */
	struct header header;	   /* of NEW */
	const char *backing, *format; /* of NEW; NULL: none */
	size_t end;		   /* of NEW's extensions */
	struct err *err;
};

enum names { NAMES_IN_ORDER, NAMES_LAST, NAMES_GONE };

/* --- the list of extensions ------------------------------------------------------- */

static int append(struct work *w, uint32_t type, const void *data, size_t len)
{
	return headerext_append(w->new, w->cap, &w->end, type, data,
				(uint32_t)len);
}

static int append_format(struct work *w)
{
	if (!w->backing || !w->format)
		return 0;
	return append(w, QCOW2_EXT_BACKING_FORMAT, w->format,
		      strlen(w->format));
}

/* NEW: the header, and its extensions; the rest is as in OLD. */
static int build(struct work *w, enum names names)
{
	const struct headerext *x;
	int r = 0;

	if (w->header.version < 3)
		names = NAMES_GONE;
	memcpy(w->new, w->old, w->cap);
	if (w->header.header_len > w->m->header.header_len)
		memset(w->new + w->m->header.header_len, 0,
		       w->header.header_len - w->m->header.header_len);
	w->end = w->header.header_len;
	if (!headerext_find(&w->ext, QCOW2_EXT_BACKING_FORMAT))
		r = append_format(w);
	for (unsigned i = 0; i < w->ext.n && r == 0; i++) {
		x = &w->ext.ext[i];
		if (x->type == QCOW2_EXT_BACKING_FORMAT)
			r = append_format(w);
		else if (x->type != QCOW2_EXT_FEATURE_NAMES ||
			 names == NAMES_IN_ORDER)
			r = append(w, x->type, x->data, x->len);
	}
	x = headerext_find(&w->ext, QCOW2_EXT_FEATURE_NAMES);
	if (r == 0 && x && names == NAMES_LAST)
		r = append(w, x->type, x->data, x->len);
	return r < 0 ? r : append(w, QCOW2_EXT_END, NULL, 0);
}

/* Is [FROM, TO) behind sector 0 a place that the name on disk does not use? */
static bool off_name(const struct work *w, size_t from, size_t to)
{
	const struct header *h = &w->m->header;
	size_t end = (size_t)h->backing_offset + h->backing_size;

	from = NUM_MAX(from, (size_t)QCOW2_SECTOR);
	return !h->backing_size || from >= to || from >= end ||
	       to <= h->backing_offset;
}

/* May NEW's extensions behind sector 0 be written while OLD's sector 0 is in
 * force? When they are there already, or OLD has none there. */
static bool tail_fits(const struct work *w)
{
	if (w->end <= QCOW2_SECTOR ||
	    !memcmp(w->new + QCOW2_SECTOR, w->old + QCOW2_SECTOR,
		    w->end - QCOW2_SECTOR))
		return true;
	return w->ext.end <= QCOW2_SECTOR &&
	       off_name(w, QCOW2_SECTOR, w->end);
}

static int no_room(struct work *w)
{
	return err_set(w->err, -ENOSPC,
		       "no room for that in the header cluster of %zu bytes beside its extensions; a shorter name may fit",
		       w->cap);
}

/* --- the disk ------------------------------------------------------------------------ */

static int put_sector0(struct work *w, const struct header *h,
		       const uint8_t *sector)
{
	int r = atonce_replace_header(w->m, h, sector);

	return r < 0 ? err_set_sys(w->err, r, "cannot write the header") : 0;
}

/* The sectors behind the first that differ; stable on return [R1]. */
static int put_rest(struct work *w)
{
	bool any = false;
	int r = 0;

	for (size_t at = QCOW2_SECTOR; at < w->cap && r == 0;
	     at += QCOW2_SECTOR) {
		if (!memcmp(w->new + at, w->old + at, QCOW2_SECTOR))
			continue;
		any = true;
		r = meta_write(w->m, w->new + at, QCOW2_SECTOR, at,
			       ROLE_HEADER);
	}
	if (r == 0 && any && !SEED_BUG(SEED_NAME_UNSYNCED)) {
		atomic_store(&w->m->data_unsynced, true);
		r = writeback_all(w->m);
	}
	return r < 0 ? err_set_sys(w->err, r, "cannot write the header") : 0;
}

/* Bring OLD's extensions into sector 0, all but the names of features, so that
 * later sectors are free. */
static int compact(struct work *w)
{
	const struct header *h = &w->m->header;
	size_t end = h->header_len;
	int r = 0;

	memcpy(w->new, w->old, w->cap);
	for (unsigned i = 0; i < w->ext.n && r == 0; i++)
		if (w->ext.ext[i].type != QCOW2_EXT_FEATURE_NAMES)
			r = headerext_append(w->new, QCOW2_SECTOR, &end,
					     w->ext.ext[i].type,
					     w->ext.ext[i].data,
					     w->ext.ext[i].len);
	if (r == 0)
		r = headerext_append(w->new, QCOW2_SECTOR, &end, QCOW2_EXT_END,
				     NULL, 0);
	return r < 0 ? no_room(w) : put_sector0(w, h, w->new);
}

/* NEW's extensions; OLD's have been moved when that was needed. */
static int choose_list(struct work *w, struct headerext_list *moved,
		       uint8_t *copy)
{
	int r = build(w, NAMES_IN_ORDER);

	if (r == 0 && tail_fits(w))
		return 0;
	/* the list's data stays where it was read */
	memcpy(copy, w->old, w->cap);
	if (w->ext.end > QCOW2_SECTOR) {
		r = compact(w);
		if (r < 0)
			return r;
		memcpy(w->old, w->m->header_sector, QCOW2_SECTOR);
		r = headerext_decode(moved, &w->m->header, copy, w->cap,
				     w->err);
		if (r < 0)
			return r;
		w->ext = *moved;
		w->ext.end = QCOW2_SECTOR; /* of what is on disk: at most */
	}
	r = build(w, NAMES_LAST);
	if (r == 0 && tail_fits(w))
		return 0;
	r = build(w, NAMES_GONE);
	return r < 0 || !tail_fits(w) ? no_room(w) : 0;
}

/* Put the name behind the extensions, NEW's and those on disk, and not over the
 * name on disk, unless all of it is in sector 0. */
static int place_name(struct work *w)
{
	const char *name = w->backing;
	size_t len = name ? strlen(name) : 0;
	size_t at = w->end;

	w->header.backing_size = (uint32_t)len;
	w->header.backing_offset = 0;
	if (w->end < QCOW2_SECTOR)
		memset(w->new + w->end, 0, QCOW2_SECTOR - w->end);
	if (!len)
		return 0;
	if (SEED_BUG(SEED_NAME_IN_PLACE) && w->m->header.backing_offset) {
		at = (size_t)w->m->header.backing_offset;
	} else if (at + len > QCOW2_SECTOR) {
		if (w->ext.end > QCOW2_SECTOR)
			at = NUM_MAX(at, w->ext.end);
		if (!off_name(w, at, at + len))
			at = (size_t)w->m->header.backing_offset +
			     w->m->header.backing_size;
	}
	if (at + len > w->cap)
		return no_room(w);
	memcpy(w->new + at, name, len);
	w->header.backing_offset = at;
	return 0;
}

static int change(struct work *w, uint8_t *copy)
{
	struct headerext_list moved;
	int r = choose_list(w, &moved, copy);

	if (r == 0)
		r = place_name(w);
	if (r == -ENOSPC && build(w, NAMES_GONE) == 0 && tail_fits(w))
		r = place_name(w);
	if (r == 0)
		r = put_rest(w);
	return r < 0 ? r : put_sector0(w, &w->header, w->new);
}

/* Name and format as they are on disk, with a NUL behind each. */
static void keep_backing(struct work *w, char *name, char *format)
{
	const struct header *h = &w->m->header;
	const struct headerext *x =
		headerext_find(&w->ext, QCOW2_EXT_BACKING_FORMAT);

	if (!h->backing_size)
		return;
	memcpy(name, w->old + h->backing_offset, h->backing_size);
	w->backing = name;
	if (x)
		memcpy(format, x->data, x->len);
	w->format = x ? format : NULL;
}

static int check(const struct work *w, const struct relayout *to)
{
	if (!to->refuse_bitmaps ||
	    !headerext_find(&w->ext, QCOW2_EXT_BITMAPS))
		return 0;
	return err_set(w->err, -ENOTSUP,
		       "it has persistent bitmaps, which need version 3; remove them first");
}

/* The first cluster as it is. */
static int load(struct work *w, const struct relayout *to)
{
	int r = hostfile_pread(w->m->file, w->old, w->cap, 0, NULL);

	if (r < 0)
		return err_set_sys(w->err, r, "cannot read the header");
	r = headerext_decode(&w->ext, &w->m->header, w->old, w->cap, w->err);
	return r < 0 ? r : check(w, to);
}

int relayout_check(struct image *img, const struct relayout *to,
		   struct err *err)
{
	size_t cap = (size_t)img->geom.cluster_size;
	autofree uint8_t *buf = mem_array(1, cap);
	struct work w = { .m = &img->meta, .cap = cap, .old = buf, .err = err };

	return buf ? load(&w, to) :
		     err_set_sys(err, -ENOMEM, "cannot change the header");
}

int relayout_header(struct image *img, const struct relayout *to,
		    struct err *err)
{
	size_t cap = (size_t)img->geom.cluster_size;
	autofree uint8_t *buf = mem_array(3, cap);
	struct work w = { .m = &img->meta, .cap = cap, .old = buf,
			  .new = buf + cap, .header = to->header,
			  .backing = to->backing, .format = to->format,
			  .err = err };
	char name[QCOW2_MAX_BACKING_NAME + 1] = "";
	char format[QCOW2_MAX_BACKING_FORMAT + 1] = "";
	int r;

	if (!buf)
		return err_set_sys(err, -ENOMEM, "cannot change the header");
	r = load(&w, to);
	if (r < 0)
		return r;
	if (to->keep_backing)
		keep_backing(&w, name, format);
	r = change(&w, buf + 2 * cap);
	if (r < 0)
		return r;
	img->header = w.m->header;
	img->geom.version = img->header.version;
	return 0;
}
