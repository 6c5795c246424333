#include "core/image/bitmapstore.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/be.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/seed.h"
#include "core/format/qcow2.h"
#include "core/image/bitmapbits.h"
#include "core/image/bitmapext.h"
#include "core/image/bitmapread.h"
#include "core/image/open.h"
#include "core/meta/atonce.h"
#include "core/meta/place.h"

/* --- flags in place -------------------------------------------------------------- */

int bitmapstore_put_flags(struct image *img, bool in_use)
{
	const struct bitmaplist *list = &img->bitmaps.list;
	autofree uint8_t *buf = mem_array(1, (size_t)list->dir.len);
	uint8_t *p = buf;
	int r;

	if (!buf)
		return -ENOMEM;
	/* the padding of the last entry may be cut off */
	r = hostfile_pread(img->file, buf, (size_t)list->dir.len,
			   list->dir.off, NULL);
	if (r < 0)
		return r;
	for (size_t i = 0; i < list->n; i++) {
		const struct bitmap *b = &list->b[i];
		uint32_t flags = b->e.flags;

		if (b->words && in_use)
			flags |= BITMAPDIR_IN_USE;
		be32_store(p + BITMAPDIR_FLAGS_AT, flags);
		p += bitmapdir_size(&b->e);
	}
	return atonce_table(&img->meta, buf, (size_t)list->dir.len,
				    list->dir.off, ROLE_BITMAP);
}

/* --- storing ----------------------------------------------------------------------- */

/* Ranges of clusters. */
struct ranges {
	struct place *p;
	size_t n, cap;
};

struct storing {
	struct image *img;
	struct meta *m;
	const struct bitmap *without;
	struct bitmapdir_entry *next; /* of the new directory */
	uint32_t n;
	struct bitmapdir dir;	/* the new one; n 0: none */
	struct ranges fresh;	/* taken for it */
	struct bitmaplist old;	/* as it is on disk */
	struct ranges gone;	/* what only the old one refers to */
	bool leaks;		/* something of that may not be freed */
	struct err *err;
};

static int add_range(struct ranges *l, uint64_t hoff, uint64_t n,
		     uint64_t cluster_size)
{
	struct place *last = l->n ? &l->p[l->n - 1] : NULL;

	if (last && last->hoff + last->n * cluster_size == hoff) {
		last->n += n;
		return 0;
	}
	if (mem_grow(&l->p, &l->cap, l->n + 1, sizeof(*l->p)) < 0)
		return -ENOMEM;
	l->p[l->n++] = (struct place){ hoff, n };
	return 0;
}

/* Write LEN bytes to new clusters. */
static int put_new(struct storing *s, const void *buf, size_t len,
		   uint64_t *hoff)
{
	struct place p;
	int r = place_put(s->m, buf, len, ROLE_BITMAP, &p);

	if (p.n && add_range(&s->fresh, p.hoff, p.n,
			     s->m->geom->cluster_size) < 0) {
		place_give_back(s->m, &p);
		r = -ENOMEM;
	}
	*hoff = p.hoff;
	return r < 0 ? err_set_sys(s->err, r, "cannot store a bitmap") : 0;
}

static bool all_are(const uint8_t *p, size_t len, uint8_t v)
{
	return p[0] == v && !memcmp(p, p + 1, len - 1);
}

/* The table entry for the Ith cluster of B's bits, which are COPIED to BUF. */
static int put_piece(struct storing *s, const struct bitmap *b, uint64_t i,
		     uint8_t *buf, uint64_t *raw)
{
	uint64_t cs = s->m->geom->cluster_size, at = i * cs;
	uint64_t room = bitmapbits_size(b->bits) - at;
	size_t len = (size_t)NUM_MIN(cs, room);

	memset(buf + len, 0, (size_t)cs - len);
	memcpy(buf, bitmapbits_bytes(b->words) + at, len);
	*raw = 0;
	if (all_are(buf, (size_t)cs, 0))
		return 0;
	/* unused bits behind the last one are 0, so never in such a cluster */
	if (all_are(buf, (size_t)cs, 0xff)) {
		*raw = 1;
		return 0;
	}
	return put_new(s, buf, (size_t)cs, raw);
}

/* New clusters for B's bits and table; E names them. */
static int put_bits(struct storing *s, const struct bitmap *b,
		    struct bitmapdir_entry *e)
{
	uint64_t n = bitmapdir_table_need(s->m->geom, e->granularity_bits);
	autofree uint64_t *table = mem_array((size_t)n, 8);
	autofree uint8_t *buf =
		mem_aligned((size_t)s->m->geom->cluster_size);
	uint64_t bytes = num_div_ceil(b->bits, 8);
	int r = 0;

	if (!table || !buf)
		return err_set(s->err, -ENOMEM, "no memory for a bitmap");
	for (uint64_t i = 0; r == 0 && i * s->m->geom->cluster_size < bytes;
	     i++) {
		uint64_t raw;

		r = put_piece(s, b, i, buf, &raw);
		be64_store(&table[i], raw);
	}
	e->table_entries = (uint32_t)n;
	return r < 0 ? r : put_new(s, table, (size_t)n * 8, &e->table_off);
}

static int put_bitmaps(struct storing *s)
{
	const struct bitmaplist *list = &s->img->bitmaps.list;
	int r = 0;

	s->next = mem_array(list->n, sizeof(*s->next));
	if (!s->next)
		return err_set(s->err, -ENOMEM, "no memory for bitmaps");
	for (size_t i = 0; r == 0 && i < list->n; i++) {
		struct bitmap *b = &list->b[i];
		struct bitmapdir_entry *e = &s->next[s->n];

		if (b == s->without)
			continue;
		*e = b->e;
		if (b->tracked && s->img->bitmaps.in_use &&
		    !SEED_BUG(SEED_BITMAP_CLEAN_EARLY))
			e->flags |= BITMAPDIR_IN_USE;
		if (b->words && atomic_load(&b->changed))
			r = put_bits(s, b, e);
		s->n++;
	}
	return r;
}

static int put_dir(struct storing *s)
{
	autofree uint8_t *buf = NULL;
	uint64_t len = 0, tables = 0;
	uint8_t *p;
	int r = 0;

	for (uint32_t i = 0; i < s->n && r == 0; i++) {
		len += bitmapdir_size(&s->next[i]);
		r = bitmapdir_add_table(&tables, s->next[i].table_entries,
					s->err);
	}
	if (!len || r < 0)
		return r < 0 ? -EFBIG : 0;
	if (len > QCOW2_MAX_BITMAP_DIR || s->n > QCOW2_MAX_BITMAPS)
		return err_set(s->err, -EFBIG,
			       "a bitmap directory has up to %u bitmaps and %u bytes",
			       QCOW2_MAX_BITMAPS, QCOW2_MAX_BITMAP_DIR);
	buf = p = mem_array(1, (size_t)len);
	if (!buf)
		return err_set(s->err, -ENOMEM, "no memory for bitmaps");
	for (uint32_t i = 0; i < s->n; i++) {
		bitmapdir_encode(&s->next[i], p);
		p += bitmapdir_size(&s->next[i]);
	}
	s->dir.n = s->n;
	s->dir.len = len;
	return put_new(s, buf, (size_t)len, &s->dir.off);
}

/* The table of B, which is stored in a file of END bytes, and what it names.
 * An entry that was invalid at open names nothing, however long the file is
 * now. */
static int note_gone(struct storing *s, const struct bitmap *b, uint64_t end)
{
	const struct geom *g = s->m->geom;
	const struct bitmapdir_entry *e = &b->e;
	autofree uint64_t *table = NULL;
	int r = bitmapread_table(s->img, e, &table, s->err);

	if (b->broken)
		end = s->img->bitmaps.claimed;
	for (uint32_t i = 0; r == 0 && i < e->table_entries; i++) {
		enum bitmapdir_kind kind;
		uint64_t hoff;

		if (bitmapdir_table_decode(be64_load(&table[i]), g, end, &kind,
					   &hoff) == 0 &&
		    kind == BITMAPDIR_DATA)
			r = add_range(&s->gone, hoff, 1, g->cluster_size);
	}
	if (r == 0)
		r = add_range(&s->gone, e->table_off,
			      geom_clusters(g, e->table_entries * 8ULL),
			      g->cluster_size);
	return r < 0 && !s->err->text[0] ? err_set_sys(s->err, r, "bitmaps") :
					   r;
}

/* The Ith bitmap of the directory on disk, in the list, which has the same
 * order and new ones at its end. NULL: who else has written that directory? */
static const struct bitmap *stored_as(const struct storing *s, size_t i)
{
	const struct bitmaplist *list = &s->img->bitmaps.list;
	const struct bitmapdir_entry *e = &s->old.b[i].e, *known;

	if (i >= list->n)
		return NULL;
	known = &list->b[i].e;
	return known->table_off == e->table_off &&
			       known->table_entries == e->table_entries &&
			       known->name_len == e->name_len &&
			       !memcmp(known->name, e->name, e->name_len) ?
		       &list->b[i] :
		       NULL;
}

/* Is the table of B, the Ith of the list, not in the new directory? That has
 * the same order, too. */
static bool is_gone(const struct storing *s, const struct bitmap *b, size_t i)
{
	if (b == s->without)
		return true;
	i -= s->without && s->without < b;
	return s->next[i].table_off != b->e.table_off;
}

static int find_gone(struct storing *s)
{
	const struct geom *g = s->m->geom;
	struct bitmaplist *old = &s->old;
	uint64_t end = 0;
	int r = bitmaplist_load(old, s->img->file, &s->m->header, g, s->err);

	if (r == 0)
		r = bitmapread_file_size(s->img, &end, s->err);
	for (size_t i = 0; r == 0 && i < old->n; i++) {
		const struct bitmap *b = stored_as(s, i);

		s->leaks |= !b;
		if (b && is_gone(s, b, i))
			r = note_gone(s, b, end);
	}
	if (r == 0 && old->dir.len)
		r = add_range(&s->gone, old->dir.off,
			      geom_clusters(g, old->dir.len), g->cluster_size);
	return r;
}

static bool is_bitmap(const struct storing *s, uint64_t hidx)
{
	return rolemap_get(&s->m->roles.map, hidx) == ROLE_BITMAP;
}

/* Whatever tables say: only what the role map knows as a bitmap's is ours. */
static void free_range(struct storing *s, const struct place *p)
{
	unsigned bits = s->m->geom->cluster_bits;
	uint64_t hidx = p->hoff >> bits, end = hidx + p->n, n;

	for (; hidx < end; hidx += n) {
		n = 0;
		while (hidx + n < end && is_bitmap(s, hidx + n))
			n++;
		place_free(s->m, hidx << bits, n << bits);
		s->leaks |= !n;
		n += !n;
	}
}

static void free_gone(struct storing *s)
{
	for (size_t i = 0; i < s->gone.n; i++)
		free_range(s, &s->gone.p[i]);
	if (s->leaks)
		log_line(LOG_LEVEL_WARN,
			 "%s: clusters that bitmaps named are not known as theirs, and not freed; run 'rawcow check'",
			 s->m->file->name);
}

/* Everything new gets stable [R1] [R2], then the header names it [R7], then the
 * old is free [R4]. */
static int switch_dirs(struct storing *s)
{
	int r = 0;

	if (SEED_BUG(SEED_BITMAP_FREED_EARLY))
		free_gone(s);
	if (!SEED_BUG(SEED_BITMAP_DIR_EARLY))
		r = writeback_all(s->m);
	if (r < 0)
		return err_set_sys(s->err, r, "cannot store bitmaps");
	r = bitmapext_put(s->img, s->dir.n ? &s->dir : NULL, s->err);
	if (r == 0 && !SEED_BUG(SEED_BITMAP_FREED_EARLY))
		free_gone(s);
	return r;
}

/* The list is what is stored now. */
static void take_over(struct storing *s)
{
	struct bitmaplist *list = &s->img->bitmaps.list;
	uint32_t k = 0;

	for (size_t i = 0; i < list->n; i++) {
		struct bitmap *b = &list->b[i];

		if (b == s->without)
			continue;
		b->e.table_off = s->next[k].table_off;
		b->e.table_entries = s->next[k].table_entries;
		atomic_store(&b->changed, false);
		k++;
	}
	list->dir = s->dir;
}

int bitmapstore_put(struct image *img, const struct bitmap *without,
		    struct err *err)
{
	struct storing s = { .img = img, .m = &img->meta, .without = without,
			     .err = err };
	int r = state_finish_roles(img, "cannot store bitmaps", err);

	if (r == 0)
		r = put_bitmaps(&s);
	if (r == 0)
		r = put_dir(&s);
	if (r == 0)
		r = find_gone(&s);
	if (r == 0)
		r = switch_dirs(&s);
	if (r == 0)
		take_over(&s);
	for (size_t i = 0; r < 0 && i < s.fresh.n; i++)
		if (!atomic_load(&img->meta.failed))
			place_give_back(&img->meta, &s.fresh.p[i]);
	bitmaplist_fini(&s.old);
	free(s.fresh.p);
	free(s.gone.p);
	free(s.next);
	return r;
}
