/* checker_bitmap: persistent bitmaps. */
#include <inttypes.h>

#include "checker_priv.h"

/* Claim the data of a bitmap's table; its bits to B if that is not NULL. */
static int walk_bitmap_table(struct checker *c, const uint8_t *img,
			     uint64_t table, uint64_t entries, uint64_t file,
			     struct checker_bitmap *b)
{
	if (checker_claim(c, CHECKER_BITMAP, table, entries * 8, file,
			  "bitmap table"))
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
			return checker_fault(c, "bitmap table entry %#" PRIx64,
					     raw);
		if (off && checker_claim(c, CHECKER_BITMAP, off, csize(c), file,
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
		return checker_fault(c, "bitmap '%c' has a wrong field", p[24]);
	bits = (c->h.size + (1ULL << p[17]) - 1) >> p[17];
	need = ((bits + 7) / 8 + csize(c) - 1) / csize(c);
	if (clean && entries != (need ? need : 1))
		return checker_fault(c,
			     "bitmap '%c' has %" PRIu64 " table entries, not %"
				PRIu64, p[24], entries, need);
	if (b && b->there)
		return checker_fault(c, "two bitmaps '%c'", p[24]);
	if (b) {
		b->there = true;
		b->clean = clean;
		b->notes = flags & 2;
		b->granularity = p[17];
	}
	return walk_bitmap_table(c, img, rd64(p), entries, file,
				 clean ? b : NULL);
}

int checker_bitmap_walk(struct checker *c, const uint8_t *img,
			const uint8_t *x, uint64_t file)
{
	uint64_t len = rd64(x + 8), off = rd64(x + 16), pos = 0;
	uint32_t n = rd32(x);

	if (!n || rd32(x + 4))
		return checker_fault(c, "bitmaps extension: %u bitmaps", n);
	if (checker_claim(c, CHECKER_BITMAP, off, len, file,
			  "bitmap directory"))
		return -1;
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *p = img + off + pos;
		uint64_t size;

		if (len - pos < 24)
			return checker_fault(c, "bitmap directory too short");
		size = (24ULL + (p[18] << 8 | p[19]) + rd32(p + 20) + 7) & ~7ULL;
		if (len - pos < size)
			return checker_fault(c, "bitmap directory too short");
		if (walk_bitmap(c, img, p, file))
			return -1;
		pos += size;
	}
	return pos == len ? 0 : checker_fault(c, "bitmap directory too long");
}

bool checker_misses(const struct checker *c, unsigned i, uint64_t sec)
{
	const struct checker_bitmap *b = &c->bitmap[i];
	uint64_t bit = sec * 512 >> b->granularity;

	return b->there && b->clean && b->notes &&
	       !(b->bits[bit / 8] >> bit % 8 & 1);
}
