/*
 * checkaux: what hangs on the header besides the tables: snapshots, bitmaps
 * (specification: "Bitmaps extension", "Bitmaps") and the encryption header.
 */
#include "core/admin/checkwalk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/num.h"
#include "core/format/qcow2.h"
#include "core/image/bitmaplist.h"
#include "core/image/snaplist.h"

/* --- snapshots ------------------------------------------------------------- */

int checkaux_snapshots(struct checkwalk *w)
{
	struct snaplist list;
	struct err err = { "" };
	int ret;

	if (!w->h.nb_snapshots)
		return 0;
	ret = snaplist_read(&list, w->file, &w->h, &w->g, w->file_size, &err);
	if (ret == -EUCLEAN)
		checkwalk_report(w, PROBLEM_SNAPSHOT, w->h.snapshots_offset,
				 "%s", err.text);
	else if (ret && ret != -ENOMEM)
		checkwalk_report(w, PROBLEM_IO, w->h.snapshots_offset,
				 "cannot read the snapshot table");
	ret = ret == -ENOMEM ? ret :
			       checkwalk_mark(w, w->h.snapshots_offset,
					      list.bytes, CHECKROLE_SNAPTABLE,
					      1);
	for (size_t i = 0; i < list.n && !ret; i++)
		ret = checktab_l1(w, list.snap[i].l1_offset,
				  list.snap[i].l1_entries, false);
	snaplist_fini(&list);
	return ret;
}

/* --- bitmaps --------------------------------------------------------------- */

static int table_entry(struct checkwalk *w, uint64_t raw, uint64_t table_off)
{
	enum bitmapdir_kind kind;
	uint64_t hoff;
	int ret = bitmapdir_table_decode(raw, &w->g, w->file_size, &kind,
					 &hoff);

	if (ret)
		checkwalk_report(w, PROBLEM_BITMAP, table_off,
				 "the bitmap table at %#" PRIx64
				 " has an invalid entry: %#" PRIx64, table_off,
				 raw);
	if (ret || kind != BITMAPDIR_DATA)
		return 0;
	return checkwalk_mark(w, hoff, w->g.cluster_size,
			      CHECKROLE_BITMAP_DATA, 1);
}

/* Read a bitmap table cluster by cluster. */
static int walk_table(struct checkwalk *w, const struct bitmapdir_entry *b)
{
	autofree uint8_t *buf = mem_aligned((size_t)w->g.cluster_size);
	uint64_t left = (uint64_t)b->table_entries * 8;
	uint64_t off = b->table_off;
	int ret;

	if (!buf)
		return -ENOMEM;
	ret = checkwalk_mark(w, off, left, CHECKROLE_BITMAP_TABLE, 1);
	while (left && !ret) {
		uint64_t len = NUM_MIN(left, w->g.cluster_size);

		if (!checkwalk_hole(w, off, len)) {
			if (!checkwalk_read(w, buf, len, off))
				return 0;
			for (uint64_t i = 0; i < len && !ret; i += 8)
				ret = table_entry(w, be64_load(buf + i), off);
		}
		off += len;
		left -= len;
	}
	return ret;
}

/* Extra data that is not known may be there; all else has to be. */
static int walk_bitmap(struct checkwalk *w, const struct bitmap *b)
{
	struct bitmapdir_entry e = b->e;
	const char *why;

	e.extra_len = 0;
	why = bitmapdir_unusable(&e);
	if (why)
		checkwalk_report(w, PROBLEM_BITMAP, e.table_off,
				 "the bitmap with its table at %#" PRIx64
				 " is not valid: %s", e.table_off, why);
	return walk_table(w, &e);
}

int checkaux_bitmaps(struct checkwalk *w)
{
	struct bitmaplist list;
	struct err err = { "" };
	/* Without the autoclear bit the bitmaps are void, and so leaked. */
	int ret = bitmaplist_read(&list, w->file, &w->h, &w->ext, &w->g,
				  w->file_size, &err);

	if (ret == -EUCLEAN)
		checkwalk_report(w, PROBLEM_BITMAP, list.dir.off, "%s",
				 err.text);
	else if (ret && ret != -ENOMEM)
		checkwalk_report(w, PROBLEM_IO, list.dir.off, "%s", err.text);
	ret = ret == -ENOMEM ? ret :
			       checkwalk_mark(w, list.dir.off, list.dir.len,
					      CHECKROLE_BITMAP_DIR, 1);
	for (size_t i = 0; i < list.n && !ret; i++)
		ret = walk_bitmap(w, &list.b[i]);
	bitmaplist_fini(&list);
	return ret;
}

/* --- encryption ------------------------------------------------------------ */

int checkaux_crypto(struct checkwalk *w)
{
	const struct headerext *x = headerext_find(&w->ext, QCOW2_EXT_CRYPTO);
	uint64_t off;
	uint64_t len;

	if (w->h.crypt_method != QCOW2_CRYPT_LUKS)
		return 0;
	if (!x || x->len != 16) {
		checkwalk_report(w, PROBLEM_HEADER, 0, "LUKS encryption "
				 "without a valid header extension");
		return 0;
	}
	off = be64_load(x->data);
	len = be64_load(x->data + 8);
	if (!off || !len || !num_is_aligned(off, w->g.cluster_size) ||
	    !checkwalk_inside(w, off, len)) {
		checkwalk_report(w, PROBLEM_HEADER, off, "the encryption "
				 "header's place is invalid");
		return 0;
	}
	return checkwalk_mark(w, off, len, CHECKROLE_CRYPTO, 1);
}
