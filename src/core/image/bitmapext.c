#include "core/image/bitmapext.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/seed.h"
#include "core/format/qcow2.h"
#include "core/image/open.h"
#include "core/meta/atonce.h"

#define HEAD_LEN 8 /* type and length of an extension */
#define WHOLE_LEN (HEAD_LEN + BITMAPDIR_EXT_LEN)

/* The header cluster: as it is on disk, and as it shall be. */
struct work {
	struct meta *m;
	size_t len; /* bytes of a cluster, at least of a sector */
	uint8_t *now, *next;
	struct headerext_list ext; /* of now */
	size_t at;		   /* of the extension's head, 0: none */
	struct err *err;
};

static bool differs(const struct work *w, size_t sec)
{
	return memcmp(w->now + sec, w->next + sec, QCOW2_SECTOR) != 0;
}

/* Does all that differs lie in one sector? Which; sector 0 if nothing does. */
static bool one_sector(const struct work *w, size_t *sec)
{
	unsigned n = 0;

	*sec = 0;
	for (size_t s = 0; s < w->len; s += QCOW2_SECTOR)
		if (differs(w, s)) {
			*sec = s;
			n++;
		}
	return n <= 1;
}

/* Write sector SEC as it shall be. */
static int put_sector(struct work *w, size_t sec, bool sync)
{
	int r = atonce_head_sector(w->m, w->next + sec, sec, sync);

	if (r == 0)
		memcpy(w->now + sec, w->next + sec, QCOW2_SECTOR);
	return r;
}

/* Write what differs in [FROM, TO), in any order, and sync it. */
static int put_range(struct work *w, size_t from, size_t to)
{
	size_t last = SIZE_MAX;
	int r = 0;

	from = (size_t)num_round_down(from, QCOW2_SECTOR);
	for (size_t s = from; s < to; s += QCOW2_SECTOR)
		if (differs(w, s))
			last = s;
	for (size_t s = from; s < to && r == 0; s += QCOW2_SECTOR)
		if (differs(w, s))
			r = put_sector(w, s,
				       s == last &&
					       !SEED_BUG(SEED_BITMAP_EXT_EARLY));
	return r;
}

/* The autoclear bit, alone. */
static int put_valid(struct work *w, bool valid)
{
	uint64_t bits = w->m->header.autoclear ^ QCOW2_AUTOCLEAR_BITMAPS;

	if (valid == !(bits & QCOW2_AUTOCLEAR_BITMAPS))
		return 0;
	be64_store(w->now + 88, bits);
	be64_store(w->next + 88, bits);
	return valid ? atonce_features(w->m, 0, 0, QCOW2_AUTOCLEAR_BITMAPS) :
		       atonce_features(w->m, 0, QCOW2_AUTOCLEAR_BITMAPS, 0);
}

/* --- changing one that is there ------------------------------------------------ */

static int replace(struct work *w, const struct bitmapdir *d)
{
	size_t data = w->at + HEAD_LEN, sec;
	int r;

	bitmapdir_encode_ext(d, w->next + data);
	if (one_sector(w, &sec) &&
	    (w->m->header.autoclear & QCOW2_AUTOCLEAR_BITMAPS))
		return put_sector(w, sec, true);
	/* [R7] two sectors: nobody may believe them meanwhile */
	r = SEED_BUG(SEED_BITMAP_EXT_TORN) ? 0 : put_valid(w, false);
	if (r == 0)
		r = put_range(w, data, data + BITMAPDIR_EXT_LEN);
	return r < 0 ? r : put_valid(w, true);
}

/* --- adding one ------------------------------------------------------------------ */

static int no_room(struct work *w)
{
	return err_set(w->err, -ENOSPC,
		       "the header cluster of %zu bytes has no room for the bitmaps extension; a larger cluster_size or a shorter backing file name gives some",
		       w->len);
}

/* The name of the backing file ends where? 0: there is none. */
static size_t name_end(const struct work *w)
{
	const struct header *h = &w->m->header;

	return h->backing_offset ? h->backing_offset + h->backing_size : 0;
}

/* Leave the feature name table out, if the header has but one sector: it is a
 * comfort only. */
static void drop_names(struct work *w)
{
	const struct headerext *x = headerext_find(&w->ext,
						   QCOW2_EXT_FEATURE_NAMES);
	size_t from, gap;

	if (!x || w->len > QCOW2_SECTOR)
		return;
	from = (size_t)(x->data - w->now) - HEAD_LEN;
	gap = HEAD_LEN + (size_t)num_round_up(x->len, 8);
	memmove(w->next + from, w->next + from + gap, w->ext.end - from - gap);
	memset(w->next + w->ext.end - gap, 0, gap);
	w->ext.end -= gap;
}

/* Copy the backing file's name to behind END, and have the header name the
 * copy. */
static int move_name(struct work *w, size_t end)
{
	struct header *h = &w->m->header;
	size_t old_end = name_end(w);
	size_t to = end;
	int r;

	if (!old_end || h->backing_offset >= end)
		return 0;
	/* with more than one sector the old one stays until the switch */
	if (w->len > QCOW2_SECTOR)
		to = (size_t)num_round_up(NUM_MAX(end, old_end), 8);
	if (to + h->backing_size > w->len)
		return no_room(w);
	memcpy(w->next + to, w->now + h->backing_offset, h->backing_size);
	if (w->len > QCOW2_SECTOR) {
		r = put_range(w, NUM_MAX(to, QCOW2_SECTOR), to + h->backing_size);
		if (r < 0)
			return r;
	}
	h->backing_offset = to;
	be64_store(w->next + 8, to);
	return w->len > QCOW2_SECTOR ? put_sector(w, 0, true) : 0;
}

/* Give a list that the backing file's name ends an end marker, in the place of
 * that name: it is written with the sector that names another one. */
static int add_marker(struct work *w)
{
	size_t at = (size_t)num_round_up(w->ext.end, 8);

	if (at + HEAD_LEN > QCOW2_SECTOR)
		return name_end(w) && w->len > QCOW2_SECTOR ?
			       err_set(w->err, -EUCLEAN,
				       "the header extensions have no end marker, and the first sector has no room for one") :
			       no_room(w);
	memset(w->next + w->ext.end, 0, at + HEAD_LEN - w->ext.end);
	w->ext.end = at + HEAD_LEN;
	return 0;
}

/* The extension and a new marker behind it, in the place of the old marker. */
static int append(struct work *w, const struct bitmapdir *d)
{
	uint64_t before = w->m->header.backing_offset;
	uint8_t x[BITMAPDIR_EXT_LEN];
	size_t at, behind, end, stale = name_end(w);
	int r = w->ext.marked ? 0 : add_marker(w);

	if (r < 0)
		return r;
	if (w->ext.end + WHOLE_LEN +
		    (name_end(w) ? w->m->header.backing_size : 0) > w->len)
		drop_names(w);
	at = w->ext.end - HEAD_LEN;
	if (w->ext.end + WHOLE_LEN > w->len)
		return no_room(w);
	r = move_name(w, w->ext.end + WHOLE_LEN);
	if (r < 0) {
		if (!atomic_load(&w->m->failed))
			w->m->header.backing_offset = before;
		return r;
	}
	/* of a name that has moved nothing stays */
	end = at + WHOLE_LEN + HEAD_LEN;
	if (w->len > QCOW2_SECTOR && w->m->header.backing_offset >= stale)
		end = NUM_MAX(end, stale);
	bitmapdir_encode_ext(d, x);
	memset(w->next + at, 0, end - at);
	be32_store(w->next + at, QCOW2_EXT_BITMAPS);
	be32_store(w->next + at + 4, BITMAPDIR_EXT_LEN);
	memcpy(w->next + at + HEAD_LEN, x, sizeof(x));
	/* [R1] what stands behind the marker first, then the marker */
	behind = (size_t)num_round_down(at, QCOW2_SECTOR) + QCOW2_SECTOR;
	r = put_range(w, behind, end);
	if (r == 0 && behind == QCOW2_SECTOR)
		w->m->header.autoclear |= QCOW2_AUTOCLEAR_BITMAPS;
	if (r == 0)
		r = put_sector(w, behind - QCOW2_SECTOR, true);
	return r < 0 ? r : put_valid(w, true);
}

/* --- taking it away --------------------------------------------------------------- */

/* Void it; then take it out if that needs one write, or if it is the last one.
 * Else it stays, void. */
static int take_away(struct work *w)
{
	size_t gap = WHOLE_LEN, tail = w->ext.end - w->at - gap, sec;
	bool last = tail <= HEAD_LEN;
	int r;

	memmove(w->next + w->at, w->next + w->at + gap, tail);
	memset(w->next + w->at + tail, 0, gap);
	if (one_sector(w, &sec) && sec == 0) {
		w->m->header.autoclear &= ~QCOW2_AUTOCLEAR_BITMAPS;
		return put_sector(w, 0, true);
	}
	r = put_valid(w, false);
	if (r == 0 && (last || one_sector(w, &sec)))
		r = put_range(w, w->at, w->at + HEAD_LEN);
	if (r == 0 && last)
		r = put_range(w, w->at, w->ext.end);
	return r;
}

/* --- all ---------------------------------------------------------------------------- */

static int read_head(struct work *w)
{
	const struct headerext *x;
	size_t got;
	int r;

	w->now = mem_array(2, w->len);
	if (!w->now)
		return err_set(w->err, -ENOMEM, "no memory for the header");
	w->next = w->now + w->len;
	r = hostfile_pread(w->m->file, w->now, w->len, 0, &got);
	if (r < 0)
		return err_set_sys(w->err, r, "cannot read the header");
	r = headerext_decode(&w->ext, &w->m->header, w->now, got, w->err);
	if (r < 0)
		return r;
	x = headerext_find(&w->ext, QCOW2_EXT_BITMAPS);
	if (x && x->len != BITMAPDIR_EXT_LEN)
		return err_set(w->err, -EUCLEAN,
			       "the header has a bitmaps extension of a wrong length");
	w->at = x ? (size_t)(x->data - w->now) - HEAD_LEN : 0;
	memcpy(w->next, w->now, w->len);
	return 0;
}

int bitmapext_put(struct image *img, const struct bitmapdir *d,
		  struct err *err)
{
	struct work w = { .m = &img->meta, .len = (size_t)img->geom.cluster_size,
			  .err = err };
	int r;

	if (w.m->header.version < 3)
		return err_set(err, -ENOTSUP,
			       "images of version 2 (compat 0.10) cannot hold bitmaps");
	r = read_head(&w);
	if (r == 0 && d)
		r = w.at ? replace(&w, d) : append(&w, d);
	else if (r == 0 && w.at)
		r = take_away(&w);
	if (r == -EIO)
		err_set_sys(err, r, "cannot write the header");
	free(w.now);
	return r;
}
