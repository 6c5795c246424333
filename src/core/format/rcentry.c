#include "core/format/rcentry.h"

#include <endian.h>
#include <string.h>

#include "base/be.h"

/*
 * The scans look at 64 bits at a time. Read as a little-endian number, a word
 * holds its entries in order from the least significant end for every width:
 * the bytes of one entry are then in the wrong order, but an entry is zero in
 * either order.
 */
static const uint64_t top_bits[] = {
	0xffffffffffffffffULL, 0xaaaaaaaaaaaaaaaaULL, 0x8888888888888888ULL,
	0x8080808080808080ULL, 0x8000800080008000ULL, 0x8000000080000000ULL,
	0x8000000000000000ULL,
};

static uint64_t get_small(const uint8_t *p, unsigned order, uint64_t i)
{
	unsigned per_byte = 3 - order;
	unsigned shift = (unsigned)(i & ((1U << per_byte) - 1)) << order;

	return (unsigned)p[i >> per_byte] >> shift & ((1U << (1U << order)) - 1);
}

static void set_small(uint8_t *p, unsigned order, uint64_t i, uint64_t value)
{
	unsigned per_byte = 3 - order;
	unsigned shift = (unsigned)(i & ((1U << per_byte) - 1)) << order;
	unsigned mask = ((1U << (1U << order)) - 1) << shift;
	unsigned old = p[i >> per_byte];

	p[i >> per_byte] = (uint8_t)((old & ~mask) |
				     ((unsigned)value << shift & mask));
}

uint64_t rcentry_get(const void *block, unsigned order, uint64_t i)
{
	const uint8_t *p = block;

	switch (order) {
	case 3:
		return p[i];
	case 4:
		return be16_load(p + i * 2);
	case 5:
		return be32_load(p + i * 4);
	case 6:
		return be64_load(p + i * 8);
	default:
		return get_small(p, order, i);
	}
}

void rcentry_set(void *block, unsigned order, uint64_t i, uint64_t value)
{
	uint8_t *p = block;

	switch (order) {
	case 3:
		p[i] = (uint8_t)value;
		break;
	case 4:
		be16_store(p + i * 2, (uint16_t)value);
		break;
	case 5:
		be32_store(p + i * 4, (uint32_t)value);
		break;
	case 6:
		be64_store(p + i * 8, value);
		break;
	default:
		set_small(p, order, i, value);
		break;
	}
}

/* The top bit of every entry of word W that is not zero. */
static inline uint64_t used_bits(const void *block, uint64_t w, uint64_t top)
{
	uint64_t v;

	memcpy(&v, (const uint8_t *)block + w * 8, sizeof(v));
	v = le64toh(v);
	/* Adding all ones below the top bit carries into it, and no further,
	 * unless the rest of the entry is zero. */
	return (((v & ~top) + ~top) | v) & top;
}

/* The first entry in [I, N) whose used bit differs from FLIP's, or N. */
static uint64_t scan(const void *block, unsigned order, uint64_t i, uint64_t n,
		     uint64_t flip)
{
	const uint64_t top = top_bits[order];
	const unsigned word_bits = 6 - order;
	const uint64_t per_word = 1ULL << word_bits;
	uint64_t skip = i & (per_word - 1);
	uint64_t hit;

	/* Entries below I in the first word are masked away. */
	for (i -= skip; i + per_word <= n; i += per_word, skip = 0) {
		hit = used_bits(block, i >> word_bits, top) ^ (flip & top);
		hit &= ~0ULL << (skip << order);
		if (hit)
			return i + ((unsigned)__builtin_ctzll(hit) >> order);
	}
	for (i += skip; i < n; i++)
		if ((rcentry_get(block, order, i) == 0) == (flip != 0))
			return i;
	return n;
}

uint64_t rcentry_find_zero(const void *block, unsigned order, uint64_t i,
			   uint64_t n)
{
	return scan(block, order, i, n, ~0ULL);
}

uint64_t rcentry_find_used(const void *block, unsigned order, uint64_t i,
			   uint64_t n)
{
	return scan(block, order, i, n, 0);
}
