/* rcentry: every width against an oracle that handles one bit at a time. */
#include <stdint.h>
#include <string.h>

#include "core/format/rcentry.h"
#include "suite.h"

#define LEN 512U

static uint64_t rng = 88172645463325252ULL;

static uint64_t rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

/* Bit B (0 the least) of entry I: entries of a byte and more are big-endian,
 * smaller ones fill a byte from its least significant bit. */
static void bit_place(unsigned width, uint64_t i, unsigned b, uint64_t *byte,
		      unsigned *bit)
{
	uint64_t first = i * width;

	*byte = width >= 8 ? first / 8 + (width - 1 - b) / 8 : first / 8;
	*bit = width >= 8 ? b % 8 : (unsigned)(first % 8) + b;
}

static uint64_t naive_get(const uint8_t *p, unsigned width, uint64_t i)
{
	uint64_t v = 0;
	uint64_t byte;
	unsigned bit;

	for (unsigned b = 0; b < width; b++) {
		bit_place(width, i, b, &byte, &bit);
		v |= (uint64_t)(p[byte] >> bit & 1) << b;
	}
	return v;
}

static void naive_set(uint8_t *p, unsigned width, uint64_t i, uint64_t v)
{
	uint64_t byte;
	unsigned bit;

	for (unsigned b = 0; b < width; b++) {
		bit_place(width, i, b, &byte, &bit);
		p[byte] = (uint8_t)((p[byte] & ~(1U << bit)) | (v >> b & 1) << bit);
	}
}

START_TEST(test_get_set)
{
	uint8_t a[LEN], b[LEN];

	for (unsigned order = 0; order <= 6; order++) {
		unsigned width = 1U << order;
		uint64_t n = LEN * 8 / width;

		for (unsigned i = 0; i < LEN; i++)
			a[i] = b[i] = (uint8_t)rnd();
		for (unsigned k = 0; k < 4000; k++) {
			uint64_t i = rnd() % n;
			uint64_t v = rnd() >> (64 - width);

			ck_assert_uint_eq(rcentry_get(a, order, i), naive_get(b, width, i));
			rcentry_set(a, order, i, v);
			naive_set(b, width, i, v);
			ck_assert_uint_eq(rcentry_get(a, order, i), v);
		}
		ck_assert_mem_eq(a, b, LEN);
		rcentry_set(a, order, n - 1, UINT64_MAX >> (64 - width));
		ck_assert_uint_eq(a[LEN - 1] >> (width < 8 ? 8 - width : 0),
				  width < 8 ? (1U << width) - 1 : 255);
	}
}
END_TEST

static uint64_t naive_find(const uint8_t *p, unsigned width, uint64_t i,
			   uint64_t n, int zero)
{
	while (i < n && (naive_get(p, width, i) == 0) != zero)
		i++;
	return i;
}

static void check_find(const uint8_t *p, unsigned order, uint64_t i, uint64_t n)
{
	unsigned width = 1U << order;

	ck_assert_uint_eq(rcentry_find_zero(p, order, i, n), naive_find(p, width, i, n, 1));
	ck_assert_uint_eq(rcentry_find_used(p, order, i, n), naive_find(p, width, i, n, 0));
}

/* Runs of free and used entries, with ranges that start and end anywhere. */
START_TEST(test_find)
{
	uint8_t p[LEN];

	for (unsigned order = 0; order <= 6; order++) {
		unsigned width = 1U << order;
		uint64_t n = LEN * 8 / width;

		for (unsigned k = 0; k < 300; k++) {
			uint64_t from = rnd() % n;
			uint64_t to = from + rnd() % (n - from + 1);

			memset(p, k & 1 ? 0xff : 0, LEN);
			for (unsigned j = 0; j < k % 4; j++)
				rcentry_set(p, order, rnd() % n,
					    k & 1 ? 0 : 1ULL << rnd() % width);
			check_find(p, order, from, to);
			check_find(p, order, from, n);
			check_find(p, order, 0, to);
		}
		check_find(p, order, n, n);
		check_find(p, order, 0, 0);
	}
}
END_TEST

/* Each single bit makes an entry used, and only that entry. */
START_TEST(test_every_bit)
{
	uint8_t p[16];

	for (unsigned order = 0; order <= 6; order++) {
		for (unsigned bit = 0; bit < 128; bit++) {
			uint64_t n = 128U >> order;

			memset(p, 0, sizeof(p));
			p[bit / 8] = (uint8_t)(1U << bit % 8);
			ck_assert_uint_eq(rcentry_find_used(p, order, 0, n), bit >> order);
			for (uint64_t i = 0; i <= n; i++)
				check_find(p, order, i, n);
		}
	}
}
END_TEST

SUITE_MAIN("rcentry", test_get_set, test_find, test_every_bit)
