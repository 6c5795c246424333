/* bitmapbits: against an array of bools. */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "core/image/bitmapbits.h"
#include "suite.h"

#define BITS 1000

static bool model[BITS];

static unsigned next(void)
{
	static unsigned s = 7;

	s = s * 1103515245 + 12345;
	return s >> 8;
}

static void same(_Atomic uint64_t *w, uint64_t bits)
{
	uint64_t at = 0, wrong = 0;

	/* an assertion costs a system call: one for all bits */
	for (uint64_t i = 0; i < bitmapbits_size(bits) * 8; i++)
		wrong += (bitmapbits_bytes(w)[i / 8] >> i % 8 & 1) !=
			 (i < bits && model[i]);
	while (at < bits) {
		bool set;
		uint64_t n = bitmapbits_run(w, bits, at, &set);

		ck_assert_uint_gt(n, 0);
		ck_assert_uint_le(at + n, bits);
		for (uint64_t i = at; i < at + n; i++)
			wrong += model[i] != set;
		at += n;
		wrong += at < bits && model[at] == set;
	}
	ck_assert_uint_eq(wrong, 0);
}

START_TEST(random_ranges)
{
	for (unsigned round = 0; round < 200; round++) {
		uint64_t bits = 1 + next() % BITS;
		_Atomic uint64_t *w = bitmapbits_new(bits);

		memset(model, 0, sizeof(model));
		same(w, bits);
		for (unsigned k = 0; k < 20; k++) {
			uint64_t at = next() % bits;
			uint64_t n = 1 + next() % (k % 2 ? 5 : bits);
			bool news = false;

			n = n > bits - at ? bits - at : n;
			for (uint64_t i = at; i < at + n; i++) {
				news |= !model[i];
				model[i] = true;
			}
			ck_assert_int_eq(bitmapbits_set(w, at, n), news);
			ck_assert(!bitmapbits_set(w, at, n));
			same(w, bits);
		}
		free(w);
	}
}
END_TEST

START_TEST(other_sizes)
{
	for (unsigned round = 0; round < 500; round++) {
		uint64_t from = next() % BITS, to = next() % BITS;
		_Atomic uint64_t *w = bitmapbits_new(from), *v;

		memset(model, 0, sizeof(model));
		for (uint64_t i = 0; i < from; i += 1 + next() % 40) {
			bitmapbits_set(w, i, 1);
			model[i] = true;
		}
		v = bitmapbits_resized(w, from, to);
		memset(model + (from < to ? from : to), 0,
		       BITS - (from < to ? from : to));
		same(v, to);
		free(w);
		free(v);
	}
}
END_TEST

/* What a disk may hold behind the last bit is cleared, and nothing else. */
START_TEST(trim)
{
	for (uint64_t bits = 0; bits < 200; bits++) {
		_Atomic uint64_t *w = bitmapbits_new(bits);

		memset(bitmapbits_bytes(w), 0xff, bitmapbits_size(bits));
		bitmapbits_trim(w, bits);
		for (uint64_t i = 0; i < bitmapbits_size(bits) * 8; i++)
			ck_assert_int_eq(bitmapbits_bytes(w)[i / 8] >> i % 8 & 1,
					 i < bits);
		free(w);
	}
}
END_TEST

SUITE_MAIN("bitmapbits", random_ranges, other_sizes, trim)
