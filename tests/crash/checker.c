#include "checker.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "checker_priv.h"

#define MAP_MAX (1ULL << 22)

int checker_fault(struct checker *c, const char *fmt, ...)
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

static int read_head(struct checker *c, const uint8_t *p, uint64_t len)
{
	struct checker_head *h = &c->h;

	if (len < 104 || rd32(p) != 0x514649fb)
		return checker_fault(c, "no qcow2 header");
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
		return checker_fault(c, "header: version %u", h->version);
	}
	if (h->cluster_bits < 9 || h->cluster_bits > 21)
		return checker_fault(c, "header: cluster_bits %u",
				     h->cluster_bits);
	if (h->crypt > GUESTCRYPT_LUKS)
		return checker_fault(c, "header: crypt_method %u", h->crypt);
	if (h->refcount_order > 6)
		return checker_fault(c, "header: refcount order %u",
				     h->refcount_order);
	if (h->incompatible & 3)
		return checker_fault(c, "header: dirty or corrupt bit set");
	h->data_base = c->data_base;
	h->data_file = c->data_base && h->incompatible & 4;
	if (h->incompatible & ~(3ULL << 3 | (h->data_file ? 4 : 0)))
		return checker_fault(c, "header: incompatible bits %#" PRIx64,
				     h->incompatible);
	h->unit_bits = h->cluster_bits;
	h->entry_size = 8;
	if (h->incompatible & 16) {
		if (h->cluster_bits < 14)
			return checker_fault(c,
					     "header: cluster_bits %u extended",
					     h->cluster_bits);
		h->unit_bits = h->cluster_bits - 5;
		h->entry_size = 16;
	}
	return 0;
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

int checker_claim(struct checker *c, enum checker_role role, uint64_t off,
		  uint64_t len, uint64_t file, const char *what)
{
	uint64_t first = off >> c->h.cluster_bits, last;

	if (off & (csize(c) - 1))
		return checker_fault(c, "%s at %#" PRIx64 " not aligned", what,
				     off);
	if (off > file || len > file - off)
		return checker_fault(c, "%s at %#" PRIx64 " + %#" PRIx64
				" beyond the end %#" PRIx64, what, off, len,
			     file);
	if (!len)
		return 0;
	last = (off + len - 1) >> c->h.cluster_bits;
	for (uint64_t i = first; i <= last; i++) {
		if (c->role[i])
			return checker_fault(c, "%s at %#" PRIx64
					" in a cluster of role %u", what,
				     i << c->h.cluster_bits, c->role[i]);
		c->role[i] = (uint8_t)role;
		c->refs[i]++;
	}
	if (c->table && role != CHECKER_DATA && role != CHECKER_CRYPTO)
		c->table(c->table_arg, role, off, len);
	return 0;
}

static int walk_crypto(struct checker *c, const uint8_t *x, uint64_t file)
{
	struct checker_head *h = &c->h;

	if (h->crypt != GUESTCRYPT_LUKS)
		return 0;
	if (!x)
		return checker_fault(c, "no LUKS header");
	h->crypto_off = rd64(x);
	h->crypto_len = rd64(x + 8);
	return checker_claim(c, CHECKER_CRYPTO, h->crypto_off, h->crypto_len,
			     file,
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
			return checker_fault(c, "header extension at %#" PRIx64
						" too long", at);
		if (rd32(img + at) == 0x23852875) {
			if (bitmaps || len != 24)
				return checker_fault(c, "bitmaps extension");
			bitmaps = img + at + 8;
		}
		if (rd32(img + at) == 0x0537be77) {
			if (crypto || len != 16)
				return checker_fault(c,
						     "LUKS header's extension");
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
			return checker_fault(c,
				     "the backing file's name is wrong");
	}
	if (at > csize(c))
		at = csize(c);
	if (checker_claim(c, CHECKER_HEADER, 0, at, file, "header") ||
	    walk_crypto(c, crypto, file))
		return -1;
	for (unsigned i = 0; i < CHECKER_BITMAPS; i++)
		c->bitmap[i].there = false;
	c->bitmaps = c->h.autoclear & 1;
	if (!c->bitmaps)
		return 0;
	return bitmaps ? checker_bitmap_walk(c, img, bitmaps, file) :
			 checker_fault(c, "autoclear bit without bitmaps");
}

int checker_run(struct checker *c, const uint8_t *img, uint64_t len)
{
	if (read_head(c, img, len))
		return -1;
	reserve(c, len);
	if (walk_header(c, img, len) || checker_count_walk(c, img, len) ||
	    checker_tree(c, img, c->h.l1_off, c->h.l1_entries, 1, len) ||
	    checker_tree_snapshots(c, img, len))
		return -1;
	return checker_count_compare(c, img);
}
