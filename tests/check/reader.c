#include "check/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define OFFSET 0x00fffffffffffe00ULL

static uint64_t get(struct hostmem *m, uint64_t off, unsigned width)
{
	unsigned char b[8];
	uint64_t v = 0;

	hostmem_read(m, b, width, off);
	for (unsigned i = 0; i < width; i++)
		v = v << 8 | b[i];
	return v;
}

static bool inside(const struct reader *r, uint64_t off, uint64_t len)
{
	uint64_t end = off + len;

	return end >= off &&
	       (end <= r->file_size || end - r->file_size < r->cluster_size);
}

static bool aligned(const struct reader *r, uint64_t off)
{
	return off % r->cluster_size == 0;
}

/* One snapshot at OFF; the length of its record, 0: the table ends here. */
static uint64_t add_snapshot(struct reader *r, uint64_t off, uint64_t size)
{
	struct reader_tree *t = &r->tree[r->n];
	uint64_t id_len = get(r->m, off + 12, 2);
	uint64_t extra = get(r->m, off + 36, 4);
	uint64_t len = 40 + extra + id_len + get(r->m, off + 14, 2);

	if (off + len > r->file_size)
		return 0;
	memset(t, 0, sizeof(*t));
	t->l1_offset = get(r->m, off, 8);
	t->l1_entries = (uint32_t)get(r->m, off + 8, 4);
	t->size = extra >= 16 ? get(r->m, off + 48, 8) : size;
	hostmem_read(r->m, t->id, id_len < 31 ? id_len : 31, off + 40 + extra);
	if (t->l1_offset && aligned(r, t->l1_offset) &&
	    t->l1_entries <= 1U << 20 &&
	    inside(r, t->l1_offset, t->l1_entries * 8ULL) &&
	    r->n < READER_SNAPSHOTS)
		r->n++;
	return (len + 7) & ~7ULL;
}

void reader_open(struct reader *r, struct hostmem *m)
{
	uint32_t snapshots = (uint32_t)get(m, 60, 4);
	uint64_t off = get(m, 64, 8), features;

	memset(r, 0, sizeof(*r));
	r->m = m;
	r->file_size = hostmem_size(m);
	r->version = (uint32_t)get(m, 4, 4);
	r->cluster_bits = (uint32_t)get(m, 20, 4);
	r->cluster_size = 1ULL << r->cluster_bits;
	features = r->version == 3 ? get(m, 72, 8) : 0;
	r->data_file = features & 4;
	r->entry_size = features & 16 ? 16 : 8;
	r->backing = get(m, 8, 8) != 0;
	r->tree[0].size = get(m, 24, 8);
	r->tree[0].l1_entries = (uint32_t)get(m, 36, 4);
	r->tree[0].l1_offset = get(m, 40, 8);
	r->n = 1;
	for (uint32_t i = 0; i < snapshots; i++) {
		uint64_t len = off + 40 > r->file_size ? 0 :
			       add_snapshot(r, off, r->tree[0].size);

		if (!len)
			break;
		off += len;
	}
}

static bool inflate_it(const struct reader *r, uint64_t hoff, uint64_t len,
		       unsigned char *out)
{
	unsigned char *in = malloc(len);
	z_stream z = { 0 };
	bool ok = false;

	if (!in || inflateInit2(&z, -12) != Z_OK) {
		free(in);
		return false;
	}
	hostmem_read(r->m, in, len, hoff);
	z.next_in = in;
	z.avail_in = (unsigned)len;
	z.next_out = out;
	z.avail_out = (unsigned)r->cluster_size;
	inflate(&z, Z_FINISH);
	ok = z.avail_out == 0;
	inflateEnd(&z);
	free(in);
	return ok;
}

static bool compressed(const struct reader *r, uint64_t raw, unsigned char *out)
{
	unsigned x = 62 - (r->cluster_bits - 8);
	uint64_t hoff = raw & ((1ULL << x) - 1);
	uint64_t sectors = (raw & ((1ULL << 62) - 1)) >> x;
	uint64_t end = (hoff & ~511ULL) + (sectors + 1) * 512;

	if (raw >> 63 || !inside(r, hoff & ~511ULL, end - (hoff & ~511ULL)))
		return false;
	return inflate_it(r, hoff, end - hoff, out);
}

/* LEN bytes of data at HOFF. */
static void data_at(const struct reader *r, uint64_t hoff, uint64_t len,
		    unsigned char *out)
{
	if (r->data_file)
		memset(out, 0x80 | (hoff >> 9 & 0x7f), len);
	else
		hostmem_read(r->m, out, len, hoff);
}

/* Is there a cluster of GIDX at HOFF where there can be one, or none at all? */
static bool possible(const struct reader *r, uint64_t gidx, uint64_t hoff,
		     bool copied)
{
	if (!aligned(r, hoff))
		return false;
	if (r->data_file)
		return hoff == gidx << r->cluster_bits || (!hoff && !copied);
	return hoff ? inside(r, hoff, r->cluster_size) : !copied;
}

static bool standard(const struct reader *r, uint64_t gidx, uint64_t raw,
		     unsigned char *out)
{
	uint64_t hoff = raw & OFFSET;
	bool copied = raw >> 63, zero = raw & 1;

	if (raw & 0x3f000000000001feULL || (zero && r->version < 3) ||
	    !possible(r, gidx, hoff, copied))
		return false;
	if (zero || !(hoff || copied))
		memset(out, zero || !r->backing ? 0 : 0xbb, r->cluster_size);
	else
		data_at(r, hoff, r->cluster_size, out);
	return true;
}

/* A word and the bitmap of its subclusters. */
static bool extended(const struct reader *r, uint64_t gidx, uint64_t raw,
		     uint64_t bitmap, unsigned char *out)
{
	uint32_t data = (uint32_t)bitmap, zero = (uint32_t)(bitmap >> 32);
	uint64_t hoff = raw & OFFSET, len = r->cluster_size / 32;
	bool copied = raw >> 63;

	if (raw & 0x3f000000000001ffULL || data & zero ||
	    (data && !hoff && !copied) || !possible(r, gidx, hoff, copied))
		return false;
	for (unsigned i = 0; i < 32; i++, out += len) {
		bool hole = !r->backing || zero >> i & 1;

		if (data >> i & 1)
			data_at(r, hoff + i * len, len, out);
		else
			memset(out, hole ? 0 : 0xbb, len);
	}
	return true;
}

/* The entry at OFF of the file, for GIDX. */
static bool entry(const struct reader *r, uint64_t gidx, uint64_t off,
		  unsigned char *out)
{
	uint64_t raw = get(r->m, off, 8);
	uint64_t bitmap = r->entry_size == 16 ? get(r->m, off + 8, 8) : 0;

	if (raw >> 62 & 1)
		return !bitmap && compressed(r, raw, out);
	return r->entry_size == 16 ? extended(r, gidx, raw, bitmap, out) :
				     standard(r, gidx, raw, out);
}

bool reader_cluster(const struct reader *r, unsigned t, uint64_t gidx,
		    unsigned char *out)
{
	const struct reader_tree *tree = &r->tree[t];
	uint64_t per_table = r->cluster_size / r->entry_size;
	uint64_t i = gidx / per_table;
	uint64_t l1;

	if (i >= tree->l1_entries)
		return false;
	l1 = get(r->m, tree->l1_offset + i * 8, 8);
	if (l1 & 0x7f000000000001ffULL || !aligned(r, l1 & OFFSET) ||
	    !inside(r, l1 & OFFSET, r->cluster_size))
		return false;
	if (!(l1 & OFFSET))
		return standard(r, gidx, 0, out);
	return entry(r, gidx, (l1 & OFFSET) + gidx % per_table * r->entry_size,
		     out);
}

static unsigned tree_of(const struct reader *r, const char *id)
{
	for (unsigned t = 0; t < r->n; t++)
		if (!strcmp(r->tree[t].id, id))
			return t;
	return r->n;
}

static bool is_root(const struct reader *r, uint64_t hoff)
{
	for (unsigned k = 0; k < r->n; k++)
		if (r->tree[k].l1_offset == hoff)
			return true;
	return hoff == get(r->m, 48, 8) || hoff == get(r->m, 64, 8);
}

/* Does GIDX of tree T map what is a table, of any tree? */
static bool maps_table(const struct reader *r, unsigned t, uint64_t gidx)
{
	uint64_t per_table = r->cluster_size / r->entry_size;
	uint64_t l1 = get(r->m, r->tree[t].l1_offset + gidx / per_table * 8, 8);
	uint64_t raw = get(r->m, (l1 & OFFSET) +
			   gidx % per_table * r->entry_size, 8);

	if (!(l1 & OFFSET) || raw >> 62 & 1)
		return false;
	if (is_root(r, raw & OFFSET))
		return true;
	for (unsigned k = 0; k < r->n; k++)
		for (uint64_t i = 0; i < r->tree[k].l1_entries; i++)
			if ((get(r->m, r->tree[k].l1_offset + i * 8, 8) &
			     OFFSET) == (raw & OFFSET))
				return true;
	return false;
}

static bool same_tree(const struct reader *a, unsigned ta,
		      const struct reader *b, unsigned tb, bool tables,
		      uint64_t *gidx)
{
	unsigned char *x = malloc(a->cluster_size);
	unsigned char *y = malloc(a->cluster_size);
	uint64_t n = a->tree[ta].size >> a->cluster_bits;
	bool same = true;

	for (*gidx = 0; *gidx < n; ++*gidx) {
		if (!reader_cluster(a, ta, *gidx, x) ||
		    (!tables && maps_table(a, ta, *gidx)))
			continue;
		same = reader_cluster(b, tb, *gidx, y) &&
		       !memcmp(x, y, a->cluster_size);
		if (!same)
			break;
	}
	free(x);
	free(y);
	return same;
}

bool reader_same(struct hostmem *before, struct hostmem *after, bool tables,
		 char *text, unsigned long size)
{
	struct reader a;
	struct reader b;
	uint64_t gidx = 0;

	reader_open(&a, before);
	reader_open(&b, after);
	for (unsigned t = 0; t < a.n; t++) {
		unsigned u = tree_of(&b, a.tree[t].id);

		if (u == b.n) {
			snprintf(text, size, "snapshot %s is gone",
				 a.tree[t].id);
			return false;
		}
		if (a.tree[t].size != b.tree[u].size ||
		    !same_tree(&a, t, &b, u, tables, &gidx)) {
			snprintf(text, size, "tree \"%s\", cluster %llu",
				 a.tree[t].id, (unsigned long long)gidx);
			return false;
		}
	}
	return true;
}
