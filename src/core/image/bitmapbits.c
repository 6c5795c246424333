#include "core/image/bitmapbits.h"

#include <endian.h>
#include <stdlib.h>

#include "base/num.h"

_Static_assert(sizeof(_Atomic uint64_t) == sizeof(uint64_t),
	       "words are stored as they are");

uint64_t bitmapbits_size(uint64_t bits)
{
	return (bits / 64 + 1) * 8;
}

_Atomic uint64_t *bitmapbits_new(uint64_t bits)
{
	if (bits / 64 >= SIZE_MAX / 8)
		return NULL;
	return calloc((size_t)(bits / 64 + 1), sizeof(uint64_t));
}

uint8_t *bitmapbits_bytes(_Atomic uint64_t *w)
{
	return (uint8_t *)(uintptr_t)w;
}

/* N bits (1 to 64) from bit FROM of a word on. */
static uint64_t mask(unsigned from, uint64_t n)
{
	return (n == 64 ? ~0ULL : (1ULL << n) - 1) << from;
}

bool bitmapbits_set(_Atomic uint64_t *w, uint64_t first, uint64_t n)
{
	bool news = false;

	while (n) {
		unsigned from = first % 64;
		uint64_t k = NUM_MIN(n, 64U - from);
		uint64_t m = htole64(mask(from, k));
		_Atomic uint64_t *p = &w[first / 64];

		if ((atomic_load_explicit(p, memory_order_relaxed) & m) != m)
			news |= (atomic_fetch_or_explicit(
					 p, m, memory_order_relaxed) &
				 m) != m;
		first += k;
		n -= k;
	}
	return news;
}

static uint64_t load(const _Atomic uint64_t *w, uint64_t i)
{
	return le64toh(atomic_load_explicit(&w[i], memory_order_relaxed));
}

uint64_t bitmapbits_run(const _Atomic uint64_t *w, uint64_t bits, uint64_t at,
			bool *set)
{
	uint64_t end = at;

	*set = load(w, at / 64) >> at % 64 & 1;
	while (end < bits) {
		uint64_t v = load(w, end / 64) >> end % 64;

		if (*set)
			v = ~v;
		if (end % 64)
			v &= mask(0, 64 - end % 64);
		if (v) {
			end += (unsigned)__builtin_ctzll(v);
			break;
		}
		end = num_round_down(end, 64) + 64;
	}
	return NUM_MIN(end, bits) - at;
}

void bitmapbits_trim(_Atomic uint64_t *w, uint64_t bits)
{
	uint64_t keep = bits % 64 ? mask(0, bits % 64) : 0;

	atomic_fetch_and(&w[bits / 64], htole64(keep));
}

_Atomic uint64_t *bitmapbits_resized(const _Atomic uint64_t *w, uint64_t from,
				     uint64_t to)
{
	_Atomic uint64_t *out = bitmapbits_new(to);
	uint64_t n = NUM_MIN(from, to);

	if (!out)
		return NULL;
	for (uint64_t i = 0; i <= n / 64; i++) {
		uint64_t v = atomic_load_explicit(&w[i], memory_order_relaxed);

		if (v) /* leave pages alone that hold nothing */
			atomic_store_explicit(&out[i], v, memory_order_relaxed);
	}
	bitmapbits_trim(out, n);
	return out;
}
