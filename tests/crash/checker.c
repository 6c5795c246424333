#include "checker.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#if defined(HAVE_ZSTD)
#include <zstd.h>
#endif

#define COPIED (1ULL << 63)
#define STREAM (1ULL << 62)
#define ENTRY_OFF 0x00fffffffffffe00ULL
#define MAP_MAX (1ULL << 22)
#define STREAM_PART 2ULL /* in a map: reserved in an entry */

static uint32_t rd32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
	       (uint32_t)p[2] << 8 | p[3];
}

static uint64_t rd64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return __builtin_bswap64(v);
}

static int fault(struct checker *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static int fault(struct checker *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->text, sizeof(c->text), fmt, ap);
	va_end(ap);
	return -1;
}

void checker_init(struct checker *c)
{
	memset(c, 0, sizeof(*c));
}

void checker_fini(struct checker *c)
{
	free(c->role);
	free(c->stamp);
	free(c->refs);
	free(c->copied);
	for (unsigned i = 0; i < CHECKER_BITMAPS; i++)
		free(c->bitmap[i].bits);
	for (unsigned t = 0; t < CHECKER_TREES; t++)
		free(c->map[t]);
	checker_init(c);
}

static void *grow(void *p, size_t n)
{
	p = realloc(p, n ? n : 1);
	if (!p)
		abort();
	return p;
}

static uint64_t csize(const struct checker *c)
{
	return 1ULL << c->h.cluster_bits;
}

static int read_head(struct checker *c, const uint8_t *p, uint64_t len)
{
	struct checker_head *h = &c->h;

	if (len < 104 || rd32(p) != 0x514649fb)
		return fault(c, "no qcow2 header");
	memset(h, 0, sizeof(*h));
	h->version = rd32(p + 4);
	h->backing_off = rd64(p + 8);
	h->cluster_bits = rd32(p + 20);
	h->size = rd64(p + 24);
	h->crypt = rd32(p + 32);
	h->l1_entries = rd32(p + 36);
	h->l1_off = rd64(p + 40);
	h->reftable_off = rd64(p + 48);
	h->reftable_clusters = rd32(p + 56);
	h->snapshots = rd32(p + 60);
	h->snap_off = rd64(p + 64);
	h->refcount_order = 4;
	if (h->version == 3) {
		h->incompatible = rd64(p + 72);
		h->autoclear = rd64(p + 88);
		h->refcount_order = rd32(p + 96);
		if (rd32(p + 100) >= 112)
			h->compression = p[104];
	} else if (h->version != 2) {
		return fault(c, "header: version %u", h->version);
	}
	if (h->cluster_bits < 9 || h->cluster_bits > 21)
		return fault(c, "header: cluster_bits %u", h->cluster_bits);
	if (h->crypt > GUESTCRYPT_LUKS)
		return fault(c, "header: crypt_method %u", h->crypt);
	if (h->refcount_order > 6)
		return fault(c, "header: refcount order %u", h->refcount_order);
	if (h->incompatible & 3)
		return fault(c, "header: dirty or corrupt bit set");
	h->data_base = c->data_base;
	h->data_file = c->data_base && h->incompatible & 4;
	if (h->incompatible & ~(3ULL << 3 | (h->data_file ? 4 : 0)))
		return fault(c, "header: incompatible bits %#" PRIx64,
			     h->incompatible);
	h->unit_bits = h->cluster_bits;
	h->entry_size = 8;
	if (h->incompatible & 16) {
		if (h->cluster_bits < 14)
			return fault(c, "header: cluster_bits %u extended",
				     h->cluster_bits);
		h->unit_bits = h->cluster_bits - 5;
		h->entry_size = 16;
	}
	return 0;
}

/* Units in a cluster. */
static unsigned units(const struct checker *c)
{
	return 1U << (c->h.cluster_bits - c->h.unit_bits);
}

static void reserve(struct checker *c, uint64_t len)
{
	uint64_t bits = c->h.cluster_bits;
	uint64_t guest = (c->h.size + csize(c) - 1) >> bits;

	guest *= units(c);

	c->n = (len + csize(c) - 1) >> bits;
	if (c->n > c->cap) {
		c->cap = c->n * 2;
		c->role = grow(c->role, c->cap);
		c->stamp = grow(c->stamp, c->cap * sizeof(*c->stamp));
		c->refs = grow(c->refs, c->cap * sizeof(*c->refs));
	}
	memset(c->role, 0, c->n);
	memset(c->stamp, 0, c->n * sizeof(*c->stamp));
	memset(c->refs, 0, c->n * sizeof(*c->refs));
	c->map_n = guest < MAP_MAX ? guest : MAP_MAX;
	if (c->map_n > c->map_cap) {
		c->map_cap = c->map_n;
		for (unsigned t = 0; t < CHECKER_TREES; t++)
			c->map[t] = grow(c->map[t], c->map_cap * 8);
	}
	c->n_copied = 0;
	c->leaks = c->benign = 0;
	c->text[0] = '\0';
}

/* Give [OFF, OFF + LEN) a role of its own. */
static int claim(struct checker *c, enum checker_role role, uint64_t off,
		 uint64_t len, uint64_t file, const char *what)
{
	uint64_t first = off >> c->h.cluster_bits, last;

	if (off & (csize(c) - 1))
		return fault(c, "%s at %#" PRIx64 " not aligned", what, off);
	if (off > file || len > file - off)
		return fault(c, "%s at %#" PRIx64 " + %#" PRIx64
				" beyond the end %#" PRIx64, what, off, len,
			     file);
	if (!len)
		return 0;
	last = (off + len - 1) >> c->h.cluster_bits;
	for (uint64_t i = first; i <= last; i++) {
		if (c->role[i])
			return fault(c, "%s at %#" PRIx64
					" in a cluster of role %u", what,
				     i << c->h.cluster_bits, c->role[i]);
		c->role[i] = (uint8_t)role;
		c->refs[i]++;
	}
	if (c->table && role != CHECKER_DATA && role != CHECKER_CRYPTO)
		c->table(c->table_arg, role, off, len);
	return 0;
}

/* As claim() for one cluster that several trees may share. */
static int claim_shared(struct checker *c, enum checker_role role,
			uint64_t idx, uint16_t tree)
{
	uint64_t off = idx << c->h.cluster_bits;

	if (c->role[idx] && c->role[idx] != role)
		return fault(c, "%#" PRIx64 " used as role %u and %u", off,
			     c->role[idx], role);
	if (role != CHECKER_COMPRESSED && c->stamp[idx] == tree)
		return fault(c, "%#" PRIx64 " (role %u) used twice in tree %u",
			     off, role, tree - 1U);
	c->role[idx] = (uint8_t)role;
	c->stamp[idx] = tree;
	c->refs[idx]++;
	return 0;
}

static void note_copied(struct checker *c, uint64_t idx)
{
	if (c->n_copied == c->copied_cap) {
		c->copied_cap = c->copied_cap ? c->copied_cap * 2 : 256;
		c->copied = grow(c->copied, c->copied_cap * 8);
	}
	c->copied[c->n_copied++] = idx;
}

void checker_decode(const struct checker_head *h, uint64_t raw,
		    struct checker_ref *ref)
{
	unsigned x = 62 - (h->cluster_bits - 8);

	ref->len = 0;
	ref->hoff = 0;
	if (raw == STREAM_PART) {
		ref->kind = CHECKER_STREAM_PART;
		return;
	}
	if (raw & STREAM) {
		uint64_t more = (raw & (STREAM - 1)) >> x;

		ref->kind = CHECKER_STREAM;
		ref->hoff = raw & ((1ULL << x) - 1);
		ref->len = 512 * (more + 1) - (ref->hoff & 511);
		return;
	}
	ref->hoff = raw & ENTRY_OFF;
	if (h->data_file && raw & COPIED && !(raw & 1)) {
		ref->kind = CHECKER_PLAIN; /* at 0, too */
		ref->hoff += h->data_base;
		return;
	}
	if (h->version >= 3 && (raw & 1))
		ref->kind = CHECKER_ZERO;
	else
		ref->kind = ref->hoff ? CHECKER_PLAIN : CHECKER_UNALLOCATED;
}

static int walk_stream(struct checker *c, uint64_t raw, uint16_t tree,
		       uint64_t file)
{
	struct checker_ref ref;
	uint64_t i, last;

	checker_decode(&c->h, raw, &ref);
	last = (ref.hoff + ref.len - 1) >> c->h.cluster_bits;
	if (ref.hoff >= file || last >= c->n)
		return fault(c, "compressed data at %#" PRIx64
				" beyond the end", ref.hoff);
	if (raw & COPIED)
		return fault(c, "COPIED on compressed %#" PRIx64, ref.hoff);
	for (i = ref.hoff >> c->h.cluster_bits; i <= last; i++)
		if (claim_shared(c, CHECKER_COMPRESSED, i, tree))
			return -1;
	return 0;
}

/* A cluster of the external data file: the guest's own place, no count. */
static int walk_data_file(struct checker *c, uint64_t raw, uint64_t gidx)
{
	uint64_t off = raw & ENTRY_OFF;

	if (raw & STREAM || raw & ~(ENTRY_OFF | COPIED | 1))
		return fault(c, "L2 entry %#" PRIx64 " with a data file", raw);
	if (!off && (!(raw & COPIED) || raw & 1))
		return 0;
	if (off != gidx << c->h.cluster_bits || !(raw & COPIED))
		return fault(c, "guest cluster %" PRIu64
				" at %#" PRIx64 " of the data file", gidx, raw);
	return 0;
}

static int walk_entry(struct checker *c, uint64_t raw, uint64_t gidx,
		      uint16_t tree, uint64_t file)
{
	uint64_t off = raw & ENTRY_OFF;
	uint64_t allowed = ENTRY_OFF | COPIED;

	if (c->h.version >= 3 && units(c) == 1)
		allowed |= 1;
	if (c->h.data_file)
		return walk_data_file(c, raw, gidx);
	if (raw & STREAM)
		return walk_stream(c, raw, tree, file);
	if (raw & ~allowed)
		return fault(c, "L2 entry %#" PRIx64 ": reserved bits", raw);
	if (!off)
		return (raw & COPIED) ? fault(c, "COPIED on an empty entry") : 0;
	if (off & (csize(c) - 1))
		return fault(c, "data at %#" PRIx64 " not aligned", off);
	if (off >> c->h.cluster_bits >= c->n)
		return fault(c, "data at %#" PRIx64 " beyond the end %#" PRIx64,
			     off, file);
	if (tree == 1) {
		if (raw & COPIED)
			note_copied(c, off >> c->h.cluster_bits);
		else
			c->benign++;
	}
	return claim_shared(c, CHECKER_DATA, off >> c->h.cluster_bits, tree);
}

/* Bit X of the lower half: subcluster X has data; of the upper: it is zero. */
static int check_bits(struct checker *c, uint64_t raw, uint64_t bits)
{
	if (raw & STREAM)
		return fault(c, "bitmap %#" PRIx64 " on compressed data", bits);
	for (unsigned x = 0; x < 32; x++) {
		bool data = bits >> x & 1, zero = bits >> (32 + x) & 1;

		if (data && (zero || !(raw & ENTRY_OFF)))
			return fault(c, "entry %#" PRIx64 ": bitmap %#" PRIx64,
				     raw, bits);
	}
	return 0;
}

static void map_subclusters(const struct checker *c, uint64_t *map,
			    uint64_t gidx, uint64_t raw, uint64_t bits)
{
	for (unsigned x = 0; x < 32 && gidx * 32 + x < c->map_n; x++) {
		uint64_t *unit = &map[gidx * 32 + x];

		if (raw & STREAM)
			*unit = x ? STREAM_PART : raw;
		else if (bits >> x & 1)
			*unit = (raw & ENTRY_OFF) +
				((uint64_t)x << c->h.unit_bits);
		else
			*unit = bits >> (32 + x) & 1;
	}
}

static int walk_l2(struct checker *c, const uint8_t *img, uint64_t off,
		   uint64_t gidx, uint16_t tree, uint64_t file)
{
	uint64_t n = csize(c) / c->h.entry_size;
	const uint8_t *e = img + off;
	uint64_t *map = c->map[tree - 1];

	if (claim_shared(c, CHECKER_L2, off >> c->h.cluster_bits, tree))
		return -1;
	if (c->table)
		c->table(c->table_arg, CHECKER_L2, off, csize(c));
	for (uint64_t i = 0; i < n; i++, e += c->h.entry_size) {
		uint64_t raw = rd64(e);
		uint64_t bits = units(c) > 1 ? rd64(e + 8) : 0;

		if (units(c) > 1)
			map_subclusters(c, map, gidx + i, raw, bits);
		else if (gidx + i < c->map_n)
			map[gidx + i] = raw &
					(c->h.data_file ? ~0ULL : ~COPIED);
		if (bits && check_bits(c, raw, bits))
			return -1;
		if (raw && walk_entry(c, raw, gidx + i, tree, file))
			return -1;
	}
	return 0;
}

static int walk_l1_entry(struct checker *c, const uint8_t *img, uint64_t raw,
			 uint64_t gidx, uint16_t tree, uint64_t file)
{
	uint64_t off = raw & ENTRY_OFF;

	if (raw & ~(ENTRY_OFF | COPIED))
		return fault(c, "L1 entry %#" PRIx64 ": reserved bits", raw);
	if (!off)
		return raw ? fault(c, "COPIED on an empty L1 entry") : 0;
	if (off & (csize(c) - 1))
		return fault(c, "L2 table at %#" PRIx64 " not aligned", off);
	if (off > file || csize(c) > file - off)
		return fault(c, "L2 table at %#" PRIx64 " beyond the end", off);
	if (tree == 1) {
		if (raw & COPIED)
			note_copied(c, off >> c->h.cluster_bits);
		else
			c->benign++;
	}
	return walk_l2(c, img, off, gidx, tree, file);
}

static int walk_tree(struct checker *c, const uint8_t *img, uint64_t l1_off,
		     uint32_t entries, uint16_t tree, uint64_t file)
{
	uint64_t span = csize(c) / c->h.entry_size;
	uint64_t *map = c->map[tree - 1];

	if (claim(c, tree == 1 ? CHECKER_L1 : CHECKER_SNAP_L1, l1_off,
		  8ULL * entries, file, "L1 table"))
		return -1;
	if (tree == 1 && entries * span << c->h.cluster_bits < c->h.size)
		return fault(c, "L1 table too short");
	memset(map, 0, c->map_n * 8);
	for (uint32_t i = 0; i < entries; i++) {
		uint64_t raw = rd64(img + l1_off + 8ULL * i);

		if (raw && walk_l1_entry(c, img, raw, i * span, tree, file))
			return -1;
	}
	return 0;
}

/* The id of a snapshot's record of LEN bytes, as a number. */
static uint32_t record_id(const uint8_t *p, uint64_t len, uint64_t room)
{
	uint64_t at = 40ULL + rd32(p + 36);
	uint32_t id = 0;

	for (unsigned i = 0; i < (unsigned)(p[12] << 8 | p[13]); i++)
		if (len <= room && p[at + i] >= '0' && p[at + i] <= '9')
			id = id * 10 + p[at + i] - '0';
	return id;
}

static int walk_snapshots(struct checker *c, const uint8_t *img, uint64_t file)
{
	uint64_t pos = c->h.snap_off, start = pos;

	c->trees = 1;
	c->tree_size[0] = c->h.size;
	if (!c->h.snapshots)
		return 0;
	if (c->h.snapshots >= CHECKER_TREES)
		return fault(c, "%u snapshots: more than this checker walks",
			     c->h.snapshots);
	for (uint32_t i = 0; i < c->h.snapshots; i++) {
		const uint8_t *p = img + pos;
		uint64_t len;

		if (pos > file || file - pos < 40)
			return fault(c, "snapshot table beyond the end");
		len = 40ULL + rd32(p + 36) + (p[12] << 8 | p[13]) +
		      (p[14] << 8 | p[15]);
		if (walk_tree(c, img, rd64(p), rd32(p + 8), (uint16_t)(i + 2),
			      file))
			return -1;
		c->tree_id[i + 1] = record_id(p, len, file - pos);
		c->tree_size[i + 1] = rd32(p + 36) >= 16 && file - pos >= 56 ?
					      rd64(p + 48) :
					      c->h.size;
		c->trees++;
		pos += (len + 7) & ~7ULL;
	}
	return claim(c, CHECKER_SNAPTABLE, start, pos - start, file,
		     "snapshot table");
}

/* --- bitmaps ------------------------------------------------------------------ */

/* Claim the data of a bitmap's table; its bits to B if that is not NULL. */
static int walk_bitmap_table(struct checker *c, const uint8_t *img,
			     uint64_t table, uint64_t entries, uint64_t file,
			     struct checker_bitmap *b)
{
	if (claim(c, CHECKER_BITMAP, table, entries * 8, file, "bitmap table"))
		return -1;
	if (b && entries * csize(c) > b->cap) {
		b->cap = entries * csize(c);
		b->bits = grow(b->bits, b->cap);
	}
	for (uint64_t i = 0; i < entries; i++) {
		uint64_t raw = rd64(img + table + i * 8);
		uint64_t off = raw & ENTRY_OFF;
		uint8_t fill = raw & 1 ? 0xff : 0;

		if (raw & ~(ENTRY_OFF | 1) || (off && (raw & 1)))
			return fault(c, "bitmap table entry %#" PRIx64, raw);
		if (off && claim(c, CHECKER_BITMAP, off, csize(c), file,
				 "bitmap data"))
			return -1;
		if (b && off)
			memcpy(b->bits + i * csize(c), img + off, csize(c));
		else if (b)
			memset(b->bits + i * csize(c), fill, csize(c));
	}
	return 0;
}

/* The one of its name, NULL: it is none of those that are looked at. */
static struct checker_bitmap *known_bitmap(struct checker *c, const uint8_t *p)
{
	bool one_char = !p[18] && p[19] == 1;

	for (unsigned i = 0; i < CHECKER_BITMAPS && one_char; i++)
		if (p[24] == CHECKER_BITMAP_NAMES[i])
			return &c->bitmap[i];
	return NULL;
}

static int walk_bitmap(struct checker *c, const uint8_t *img, const uint8_t *p,
		       uint64_t file)
{
	uint64_t entries = rd32(p + 8), bits, need;
	uint32_t flags = rd32(p + 12);
	bool clean = !(flags & 1);
	struct checker_bitmap *b = known_bitmap(c, p);

	if (flags & ~7U || p[16] != 1 || p[17] < 9 || p[17] > 31)
		return fault(c, "bitmap '%c' has a wrong field", p[24]);
	bits = (c->h.size + (1ULL << p[17]) - 1) >> p[17];
	need = ((bits + 7) / 8 + csize(c) - 1) / csize(c);
	if (clean && entries != (need ? need : 1))
		return fault(c, "bitmap '%c' has %" PRIu64 " table entries, not %"
				PRIu64, p[24], entries, need);
	if (b && b->there)
		return fault(c, "two bitmaps '%c'", p[24]);
	if (b) {
		b->there = true;
		b->clean = clean;
		b->notes = flags & 2;
		b->granularity = p[17];
	}
	return walk_bitmap_table(c, img, rd64(p), entries, file,
				 clean ? b : NULL);
}

static int walk_bitmap_dir(struct checker *c, const uint8_t *img,
			   const uint8_t *x, uint64_t file)
{
	uint64_t len = rd64(x + 8), off = rd64(x + 16), pos = 0;
	uint32_t n = rd32(x);

	if (!n || rd32(x + 4))
		return fault(c, "bitmaps extension: %u bitmaps", n);
	if (claim(c, CHECKER_BITMAP, off, len, file, "bitmap directory"))
		return -1;
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *p = img + off + pos;
		uint64_t size;

		if (len - pos < 24)
			return fault(c, "bitmap directory too short");
		size = (24ULL + (p[18] << 8 | p[19]) + rd32(p + 20) + 7) & ~7ULL;
		if (len - pos < size)
			return fault(c, "bitmap directory too short");
		if (walk_bitmap(c, img, p, file))
			return -1;
		pos += size;
	}
	return pos == len ? 0 : fault(c, "bitmap directory too long");
}

static int walk_crypto(struct checker *c, const uint8_t *x, uint64_t file)
{
	struct checker_head *h = &c->h;

	if (h->crypt != GUESTCRYPT_LUKS)
		return 0;
	if (!x)
		return fault(c, "no LUKS header");
	h->crypto_off = rd64(x);
	h->crypto_len = rd64(x + 8);
	return claim(c, CHECKER_CRYPTO, h->crypto_off, h->crypto_len, file,
		     "LUKS header");
}

/* The header's extensions, and the cluster's part that they and the name of the
 * backing file take. */
static int walk_header(struct checker *c, const uint8_t *img, uint64_t file)
{
	uint64_t at = c->h.version == 2 ? 72 : rd32(img + 100);
	uint64_t end = c->h.backing_off ? c->h.backing_off : csize(c);
	const uint8_t *bitmaps = NULL, *crypto = NULL;

	while (at + 8 <= end && rd32(img + at)) {
		uint64_t len = rd32(img + at + 4);

		if (len > end - at - 8)
			return fault(c, "header extension at %#" PRIx64
					" too long", at);
		if (rd32(img + at) == 0x23852875) {
			if (bitmaps || len != 24)
				return fault(c, "bitmaps extension");
			bitmaps = img + at + 8;
		}
		if (rd32(img + at) == 0x0537be77) {
			if (crypto || len != 16)
				return fault(c, "LUKS header's extension");
			crypto = img + at + 8;
		}
		at += 8 + ((len + 7) & ~7ULL);
	}
	at += 8;
	if (c->h.backing_off && c->backing_name) {
		size_t n = strlen(c->backing_name);

		at = c->h.backing_off + n;
		if (rd32(img + 16) != n || at > csize(c) ||
		    memcmp(img + c->h.backing_off, c->backing_name, n))
			return fault(c, "the backing file's name is wrong");
	}
	if (at > csize(c))
		at = csize(c);
	if (claim(c, CHECKER_HEADER, 0, at, file, "header") ||
	    walk_crypto(c, crypto, file))
		return -1;
	for (unsigned i = 0; i < CHECKER_BITMAPS; i++)
		c->bitmap[i].there = false;
	c->bitmaps = c->h.autoclear & 1;
	if (!c->bitmaps)
		return 0;
	return bitmaps ? walk_bitmap_dir(c, img, bitmaps, file) :
			 fault(c, "autoclear bit without bitmaps");
}

bool checker_misses(const struct checker *c, unsigned i, uint64_t sec)
{
	const struct checker_bitmap *b = &c->bitmap[i];
	uint64_t bit = sec * 512 >> b->granularity;

	return b->there && b->clean && b->notes &&
	       !(b->bits[bit / 8] >> bit % 8 & 1);
}

static int claim_refblocks(struct checker *c, const uint8_t *img,
			   uint64_t file)
{
	uint64_t len = (uint64_t)c->h.reftable_clusters << c->h.cluster_bits;

	if (claim(c, CHECKER_REFTABLE, c->h.reftable_off, len, file,
		  "refcount table"))
		return -1;
	for (uint64_t i = 0; i < len / 8; i++) {
		uint64_t off = rd64(img + c->h.reftable_off + 8 * i);

		if (off & 511)
			return fault(c, "refcount table entry %#" PRIx64, off);
		if (off && claim(c, CHECKER_REFBLOCK, off, csize(c), file,
				 "refcount block"))
			return -1;
	}
	return 0;
}

static uint64_t count_at(const uint8_t *block, unsigned order, uint64_t i)
{
	unsigned bits = 1U << order;
	uint64_t v = 0;

	if (bits < 8) {
		unsigned per = 8 / bits;

		return (block[i / per] >> (i % per * bits)) &
		       ((1U << bits) - 1);
	}
	for (unsigned b = 0; b < bits / 8; b++)
		v = v << 8 | block[i * (bits / 8) + b];
	return v;
}

static int compare_block(struct checker *c, const uint8_t *block,
			 uint64_t first)
{
	uint64_t n = csize(c) * 8 >> c->h.refcount_order;
	uint64_t words = csize(c) / 8, per = n / words;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t have, want = first + i < c->n ? c->refs[first + i] : 0;

		if (per && first + i >= c->n && i % per == 0 &&
		    !rd64(block + i / per * 8)) {
			i += per - 1;
			continue;
		}
		have = count_at(block, c->h.refcount_order, i);
		if (have < want)
			return fault(c, "cluster %#" PRIx64 " (role %u): "
					"refcount %" PRIu64 ", references %"
					PRIu64,
				     (first + i) << c->h.cluster_bits,
				     c->role[first + i], have, want);
		c->leaks += have > want;
	}
	return 0;
}

static int compare_counts(struct checker *c, const uint8_t *img)
{
	uint64_t span = csize(c) * 8 >> c->h.refcount_order;
	uint64_t n = ((uint64_t)c->h.reftable_clusters << c->h.cluster_bits) / 8;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t off = rd64(img + c->h.reftable_off + 8 * i);

		if (off) {
			if (compare_block(c, img + off, i * span))
				return -1;
			continue;
		}
		for (uint64_t k = i * span; k < (i + 1) * span && k < c->n; k++)
			if (c->refs[k])
				return fault(c, "cluster %#" PRIx64 " (role %u)"
						": no refcount block",
					     k << c->h.cluster_bits,
					     c->role[k]);
	}
	for (uint64_t k = n * span; k < c->n; k++)
		if (c->refs[k])
			return fault(c, "cluster %#" PRIx64
					": beyond the refcount table",
				     k << c->h.cluster_bits);
	return 0;
}

static int check_copied(struct checker *c)
{
	for (size_t i = 0; i < c->n_copied; i++)
		if (c->refs[c->copied[i]] > 1)
			return fault(c, "%#" PRIx64 ": COPIED with %u references",
				     c->copied[i] << c->h.cluster_bits,
				     c->refs[c->copied[i]]);
	return 0;
}

int checker_run(struct checker *c, const uint8_t *img, uint64_t len)
{
	if (read_head(c, img, len))
		return -1;
	reserve(c, len);
	if (walk_header(c, img, len) ||
	    claim_refblocks(c, img, len) ||
	    walk_tree(c, img, c->h.l1_off, c->h.l1_entries, 1, len) ||
	    walk_snapshots(c, img, len) || compare_counts(c, img))
		return -1;
	return check_copied(c);
}

int checker_run_deep(struct checker *c, const uint8_t *img, uint64_t len)
{
	uint8_t *buf;
	int rc = checker_run(c, img, len);

	if (rc)
		return rc;
	buf = grow(NULL, csize(c));
	for (unsigned t = 0; t < c->trees && !rc; t++) {
		for (uint64_t g = 0; g < c->map_n && !rc; g++) {
			struct checker_ref ref;

			checker_decode(&c->h, c->map[t][g], &ref);
			if (ref.kind != CHECKER_STREAM)
				continue;
			if (ref.len > len - ref.hoff)
				ref.len = len - ref.hoff;
			if (checker_inflate(c->h.compression, buf, csize(c),
					    img + ref.hoff, ref.len))
				rc = fault(c, "compressed data at %#" PRIx64
					      " broken", ref.hoff);
		}
	}
	free(buf);
	return rc;
}

static int inflate_raw(void *out, size_t out_len, const void *in, size_t in_len)
{
	static __thread z_stream z;
	static __thread bool ready;
	int rc;

	if (!ready && inflateInit2(&z, -15) != Z_OK)
		abort();
	if (ready)
		inflateReset(&z);
	ready = true;
	z.next_in = (Bytef *)(uintptr_t)in;
	z.avail_in = (uInt)in_len;
	z.next_out = out;
	z.avail_out = (uInt)out_len;
	rc = inflate(&z, Z_FINISH);
	if (z.avail_out || (rc != Z_STREAM_END && rc != Z_BUF_ERROR))
		return -1;
	return 0;
}

int checker_inflate(unsigned compression, void *out, size_t out_len,
		    const void *in, size_t in_len)
{
	if (compression == 0)
		return inflate_raw(out, out_len, in, in_len);
#if defined(HAVE_ZSTD)
	if (compression == 1) {
		ZSTD_DCtx *d = ZSTD_createDCtx();
		ZSTD_inBuffer ib = { in, in_len, 0 };
		ZSTD_outBuffer ob = { out, out_len, 0 };

		while (ob.pos < ob.size && ib.pos < ib.size) {
			size_t r = ZSTD_decompressStream(d, &ob, &ib);

			if (ZSTD_isError(r) || !r)
				break;
		}
		ZSTD_freeDCtx(d);
		return ob.pos == ob.size ? 0 : -1;
	}
#endif
	return -1;
}

const uint8_t *checker_plain(const struct checker_head *h, const uint8_t *data,
			     uint64_t hoff, uint64_t sec, uint8_t buf[512])
{
	if (!h->crypt)
		return data;
	/* a data file's sectors are numbered in that file */
	if (h->data_file)
		hoff -= h->data_base;
	guestcrypt_decrypt(h->crypt, buf, data, hoff, sec * 512);
	return buf;
}

bool checker_read(const struct checker *c, const uint8_t *img, uint64_t len,
		  unsigned tree, uint64_t sec, uint8_t out[512])
{
	uint64_t in = sec * 512 & ((1ULL << c->h.unit_bits) - 1);
	uint64_t u = sec * 512 >> c->h.unit_bits;
	struct checker_ref ref;
	uint8_t *buf;

	memset(out, 0, 512);
	if (u >= c->map_n)
		return true;
	checker_decode(&c->h, c->map[tree][u], &ref);
	if (ref.kind == CHECKER_STREAM_PART) {
		u &= ~(units(c) - 1ULL);
		checker_decode(&c->h, c->map[tree][u], &ref);
	}
	if (ref.kind == CHECKER_STREAM)
		in = sec * 512 & (csize(c) - 1);
	switch (ref.kind) {
	case CHECKER_UNALLOCATED:
		return false;
	case CHECKER_ZERO:
		return true;
	case CHECKER_PLAIN:
		if (c->h.data_file)
			memcpy(out, img + ref.hoff + in, 512);
		else if (ref.hoff + in < len)
			memcpy(out, img + ref.hoff + in,
			       len - ref.hoff - in < 512 ?
				       len - ref.hoff - in : 512);
		checker_plain(&c->h, out, ref.hoff + in, sec, out);
		return true;
	case CHECKER_STREAM:
		buf = grow(NULL, csize(c));
		if (ref.len > len - ref.hoff)
			ref.len = len - ref.hoff;
		if (!checker_inflate(c->h.compression, buf, csize(c),
				     img + ref.hoff, ref.len))
			memcpy(out, buf + in, 512);
		else
			memset(out, 0xee, 512);
		free(buf);
		return true;
	case CHECKER_STREAM_PART:
		break;
	}
	return true;
}
