/*
 * checkbitmap: persistent bitmaps (specification: "Bitmaps extension",
 * "Bitmaps"). They say what has changed since some time, so one that is wrong
 * is worse than none: a broken one is left out of what a repair writes, and all
 * are given up when their directory is broken.
 */
#include "core/admin/checkwalk.h"

#include <errno.h>
#include <inttypes.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/num.h"
#include "core/format/bitmapdir.h"
#include "core/format/qcow2.h"

#define EXT_RETIRED 0x72637778U /* a type that nobody knows */

struct listed {
	uint64_t pos, len; /* in the directory */
	const char *name;
	size_t name_len;
	bool broken;
};

struct checkbitmap_list {
	uint8_t *dir; /* the directory's bytes */
	struct listed *entry;
	size_t n;
	void *names;	 /* tsearch() of the entries by name */
	uint64_t tables; /* bytes of all tables so far */
};

/* One more reference; what it shares with anything else is not to be trusted. */
static int mark(struct checkwalk *w, uint64_t off, uint64_t len,
		enum checkrole role, bool *broken)
{
	enum checkwalk_place place;
	int ret = checkwalk_name(w, off, len, role, 1, &place);

	*broken |= place != CHECKWALK_FINE;
	return ret;
}

static int table_entry(struct checkwalk *w, uint64_t raw, uint64_t table_off,
		       bool *broken)
{
	enum bitmapdir_kind kind;
	uint64_t hoff;
	int ret = bitmapdir_table_decode(raw, &w->g, w->file_size, &kind,
					 &hoff);

	if (ret) {
		checkwalk_report(w, PROBLEM_BITMAP, table_off,
				 "the bitmap table at %#" PRIx64
				 " has an invalid entry: %#" PRIx64, table_off,
				 raw);
		*broken = true;
		return checkwalk_outside(w, hoff, w->g.cluster_size);
	}
	if (kind != BITMAPDIR_DATA)
		return 0;
	return mark(w, hoff, w->g.cluster_size, CHECKROLE_BITMAP_DATA, broken);
}

/* Read a bitmap table cluster by cluster: it may have 1 GiB. */
static int walk_table(struct checkwalk *w, const struct bitmapdir_entry *b,
		      bool *broken)
{
	autofree uint8_t *buf = mem_aligned((size_t)w->g.cluster_size);
	uint64_t left = (uint64_t)b->table_entries * 8;
	uint64_t off = b->table_off;
	int ret;

	if (!buf)
		return -ENOMEM;
	ret = mark(w, off, left, CHECKROLE_BITMAP_TABLE, broken);
	while (left && !ret) {
		uint64_t len = NUM_MIN(left, w->g.cluster_size);

		if (!checkwalk_hole(w, off, len)) {
			if (!checkwalk_read(w, buf, len, off))
				return 0;
			for (uint64_t i = 0; i < len && !ret; i += 8)
				ret = table_entry(w, be64_load(buf + i), off,
						  broken);
		}
		off += len;
		left -= len;
	}
	return ret;
}

/* NULL, or why no program should use this valid bitmap. *NEW: a newer program
 * may know better. */
static const char *objection(const struct checkwalk *w,
			     const struct bitmapdir_entry *b, bool *new)
{
	struct bitmapdir_entry plain = *b;

	*new = b->type != BITMAPDIR_TYPE_DIRTY || b->flags & ~BITMAPDIR_FLAGS;
	/* extra data that is not known may be there */
	plain.extra_len = 0;
	if (bitmapdir_unusable(&plain))
		return bitmapdir_unusable(&plain);
	/* QEMU does not open an image where it is longer, either */
	if (!(b->flags & BITMAPDIR_IN_USE) &&
	    b->table_entries != bitmapdir_table_need(&w->g,
						     b->granularity_bits))
		return "its table does not fit the disk";
	return NULL;
}

static int by_name(const void *a, const void *b)
{
	const struct listed *x = a, *y = b;
	int r = memcmp(x->name, y->name, NUM_MIN(x->name_len, y->name_len));

	if (r)
		return r;
	return (x->name_len > y->name_len) - (x->name_len < y->name_len);
}

static int walk_bitmap(struct checkwalk *w, const struct bitmapdir_entry *b,
		       struct listed *e, uint32_t number)
{
	struct listed **first = tsearch(e, &w->bitmaps->names, by_name);
	struct err err = { "" };
	const char *why = NULL;
	bool new = false;
	bool sound = bitmapdir_check(b, &w->g, w->file_size, &err) == 0 &&
		     bitmapdir_add_table(&w->bitmaps->tables, b->table_entries,
					 &err) == 0;

	if (!first)
		return -ENOMEM;
	if (!sound)
		why = err.text;
	else if (*first != e)
		why = "another one has its name";
	else
		why = objection(w, b, &new);
	if (why) {
		checkwalk_report(w, PROBLEM_BITMAP, b->table_off,
				 "bitmap %" PRIu32 " is not valid: %s", number,
				 why);
		e->broken = !new;
	}
	return sound ? walk_table(w, b, &e->broken) : 0;
}

/* The entry at *POS, and its bitmap. -ENODATA: the directory breaks off. */
static int next_entry(struct checkwalk *w, const struct bitmapdir *dir,
		      size_t *pos, uint32_t number)
{
	struct checkbitmap_list *l = w->bitmaps;
	struct listed *e = &l->entry[l->n];
	struct bitmapdir_entry b;
	struct err err = { "" };
	int ret;

	e->pos = *pos;
	ret = bitmapdir_decode(&b, l->dir, (size_t)dir->len, pos, &err);

	if (ret < 0) {
		checkwalk_report(w, PROBLEM_BITMAP, dir->off + *pos,
				 "bitmap %" PRIu32 " of %" PRIu32 ": %s",
				 number, dir->n, err.text);
		w->rewrite_bitmaps = true;
		return -ENODATA;
	}
	e->len = *pos - e->pos;
	e->name = b.name;
	e->name_len = b.name_len;
	ret = walk_bitmap(w, &b, e, number);
	if (ret < 0)
		return ret;
	w->rewrite_bitmaps |= e->broken;
	l->n++;
	return 0;
}

/* All bitmaps; those that are broken, or not there, make a new directory. */
static int walk_dir(struct checkwalk *w, const struct bitmapdir *dir)
{
	size_t pos = 0;
	int ret = 0;

	for (uint32_t i = 0; i < dir->n && !ret; i++)
		ret = next_entry(w, dir, &pos, i + 1);
	if (!ret && pos != dir->len) {
		checkwalk_report(w, PROBLEM_BITMAP, dir->off,
				 "the bitmap directory has %" PRIu64 " bytes "
				 "too many", dir->len - pos);
		w->rewrite_bitmaps = true;
	}
	return ret == -ENODATA ? 0 : ret;
}

/* Nobody reads it any more, whoever it was. */
static int retire(struct checkwalk *w, const struct headerext *x)
{
	return checkwalk_patch(w, (uint64_t)(x->data - w->head) - 8,
			       (uint64_t)EXT_RETIRED << 32 | x->len,
			       CHECKROLE_HEADER);
}

static int walk_list(struct checkwalk *w, const struct bitmapdir *dir)
{
	struct checkbitmap_list *l = w->bitmaps =
		mem_array(1, sizeof(*w->bitmaps));
	bool broken = false;
	int ret;

	if (l) {
		l->dir = mem_array(1, (size_t)dir->len);
		l->entry = mem_array(dir->n, sizeof(*l->entry));
	}
	if (!l || !l->dir || !l->entry)
		return -ENOMEM;
	ret = mark(w, dir->off, dir->len, CHECKROLE_BITMAP_DIR, &broken);
	if (ret == 0 && broken)
		w->autoclear &= ~QCOW2_AUTOCLEAR_BITMAPS;
	if (ret || !checkwalk_read(w, l->dir, dir->len, dir->off))
		return ret;
	return walk_dir(w, dir);
}

int checkbitmap_walk(struct checkwalk *w)
{
	const struct headerext *x = headerext_find(&w->ext, QCOW2_EXT_BITMAPS);
	struct err err = { "" };
	struct bitmapdir dir;

	/* Without the autoclear bit the bitmaps are void, and so leaked. */
	if (!x || !(w->h.autoclear & QCOW2_AUTOCLEAR_BITMAPS))
		return 0;
	if (bitmapdir_decode_ext(&dir, x->data, x->len, &w->g, w->file_size,
				 &err) == 0)
		return walk_list(w, &dir);
	checkwalk_report(w, PROBLEM_BITMAP, 0, "%s", err.text);
	w->autoclear &= ~QCOW2_AUTOCLEAR_BITMAPS;
	return x->len == BITMAPDIR_EXT_LEN ? 0 : retire(w, x);
}

int checkbitmap_rewrite(struct checkwalk *w, uint8_t **out, uint64_t *len,
			uint32_t *n)
{
	const struct checkbitmap_list *l = w->bitmaps;
	uint64_t max = 0;

	*len = 0;
	*n = 0;
	for (size_t i = 0; i < l->n; i++)
		max += l->entry[i].len;
	*out = mem_array(1, (size_t)max + 1);
	if (!*out)
		return -ENOMEM;
	for (size_t i = 0; i < l->n; i++) {
		if (l->entry[i].broken)
			continue;
		memcpy(*out + *len, l->dir + l->entry[i].pos,
		       (size_t)l->entry[i].len);
		*len += l->entry[i].len;
		++*n;
	}
	return 0;
}

static void keep(void *entry)
{
	(void)entry;
}

void checkbitmap_fini(struct checkwalk *w)
{
	if (w->bitmaps) {
		tdestroy(w->bitmaps->names, keep);
		free(w->bitmaps->dir);
		free(w->bitmaps->entry);
	}
	free(w->bitmaps);
	w->bitmaps = NULL;
}
