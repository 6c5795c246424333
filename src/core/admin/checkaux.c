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

#define BITMAP_EXT_LEN 24
#define BITMAP_ENTRY_LEN 24
#define BITMAP_NAME_MAX 1023
#define BITMAP_TABLE_MAX (1U << 27) /* entries */
#define BITMAP_FLAGS 7U
#define BITMAP_ENTRY_RESERVED 0xff000000000001feULL

struct bitmap_dir {
	uint32_t n;
	uint64_t len, off;
};

struct bitmap {
	uint64_t table_off;
	uint32_t table_entries;
	uint32_t flags;
	uint8_t type, granularity;
	uint16_t name_len;
	uint32_t extra_len;
};

static int table_entry(struct checkwalk *w, uint64_t raw, uint64_t table_off)
{
	uint64_t hoff = raw & QCOW2_OFFSET_MASK;

	if (raw & BITMAP_ENTRY_RESERVED || (hoff && (raw & 1)) ||
	    !num_is_aligned(hoff, w->g.cluster_size)) {
		checkwalk_report(w, PROBLEM_BITMAP, table_off,
				 "the bitmap table at %#" PRIx64
				 " has an invalid entry: %#" PRIx64, table_off,
				 raw);
		return 0;
	}
	if (!hoff)
		return 0;
	if (!checkwalk_inside(w, hoff, w->g.cluster_size)) {
		checkwalk_report(w, PROBLEM_BITMAP, hoff,
				 "bitmap data at %#" PRIx64
				 " is outside the file", hoff);
		return 0;
	}
	return checkwalk_mark(w, hoff, w->g.cluster_size,
			      CHECKROLE_BITMAP_DATA, 1);
}

/* Read a bitmap table cluster by cluster: it may have 1 GiB. */
static int walk_table(struct checkwalk *w, const struct bitmap *b)
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

/* Decode the entry at P with LEN bytes left. Its length, or 0: invalid. */
static uint64_t decode_bitmap(struct bitmap *b, const uint8_t *p, uint64_t len)
{
	uint64_t need;

	if (len < BITMAP_ENTRY_LEN)
		return 0;
	b->table_off = be64_load(p);
	b->table_entries = be32_load(p + 8);
	b->flags = be32_load(p + 12);
	b->type = p[16];
	b->granularity = p[17];
	b->name_len = be16_load(p + 18);
	b->extra_len = be32_load(p + 20);
	need = num_round_up((uint64_t)BITMAP_ENTRY_LEN + b->extra_len +
			    b->name_len, 8);
	return need <= len ? need : 0;
}

static bool bitmap_valid(const struct checkwalk *w, const struct bitmap *b)
{
	return b->table_entries && b->table_entries <= BITMAP_TABLE_MAX &&
	       num_is_aligned(b->table_off, w->g.cluster_size) &&
	       checkwalk_inside(w, b->table_off,
				(uint64_t)b->table_entries * 8) &&
	       !(b->flags & ~BITMAP_FLAGS) && b->type == 1 &&
	       b->granularity >= 9 && b->granularity <= 31 && b->name_len &&
	       b->name_len <= BITMAP_NAME_MAX;
}

static int walk_dir(struct checkwalk *w, const struct bitmap_dir *dir,
		    const uint8_t *buf)
{
	uint64_t pos = 0;
	int ret = 0;

	for (uint32_t i = 0; i < dir->n && !ret; i++) {
		struct bitmap b;
		uint64_t len = decode_bitmap(&b, buf + pos, dir->len - pos);

		if (!len) {
			checkwalk_report(w, PROBLEM_BITMAP, dir->off + pos,
					 "bitmap %" PRIu32 " of %" PRIu32 " runs"
					 " past the directory", i + 1, dir->n);
			return 0;
		}
		pos += len;
		if (bitmap_valid(w, &b))
			ret = walk_table(w, &b);
		else
			checkwalk_report(w, PROBLEM_BITMAP, dir->off + pos - len,
					 "bitmap %" PRIu32 " has an invalid "
					 "field", i + 1);
	}
	if (!ret && pos != dir->len)
		checkwalk_report(w, PROBLEM_BITMAP, dir->off,
				 "the bitmap directory has %" PRIu64 " bytes "
				 "too many", dir->len - pos);
	return ret;
}

static bool decode_dir(struct checkwalk *w, const struct headerext *x,
		       struct bitmap_dir *dir)
{
	if (x->len != BITMAP_EXT_LEN) {
		checkwalk_report(w, PROBLEM_HEADER, 0, "the bitmaps extension "
				 "has %" PRIu32 " bytes, not 24", x->len);
		return false;
	}
	dir->n = be32_load(x->data);
	dir->len = be64_load(x->data + 8);
	dir->off = be64_load(x->data + 16);
	if (be32_load(x->data + 4) || !dir->n || dir->n > QCOW2_MAX_BITMAPS ||
	    dir->len > QCOW2_MAX_BITMAP_DIR || !dir->len ||
	    !num_is_aligned(dir->off, w->g.cluster_size) ||
	    !checkwalk_inside(w, dir->off, dir->len)) {
		checkwalk_report(w, PROBLEM_BITMAP, dir->off,
				 "the bitmaps extension has an invalid field");
		return false;
	}
	return true;
}

int checkaux_bitmaps(struct checkwalk *w)
{
	const struct headerext *x = headerext_find(&w->ext, QCOW2_EXT_BITMAPS);
	autofree uint8_t *buf = NULL;
	struct bitmap_dir dir;
	int ret;

	/* Without the autoclear bit the bitmaps are void, and so leaked. */
	if (!x || !(w->h.autoclear & QCOW2_AUTOCLEAR_BITMAPS) ||
	    !decode_dir(w, x, &dir))
		return 0;
	buf = mem_array(1, (size_t)dir.len);
	if (!buf)
		return -ENOMEM;
	ret = checkwalk_mark(w, dir.off, dir.len, CHECKROLE_BITMAP_DIR, 1);
	if (ret || !checkwalk_read(w, buf, dir.len, dir.off))
		return ret;
	return walk_dir(w, &dir, buf);
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
