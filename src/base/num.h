/*
 * num: arithmetic on untrusted numbers. Everything is 64 bits wide; ALIGN is
 * always a power of two.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define NUM_MIN(a, b) ((a) < (b) ? (a) : (b))
#define NUM_MAX(a, b) ((a) > (b) ? (a) : (b))

static inline bool num_is_pow2(uint64_t v) { return v && !(v & (v - 1)); }
static inline uint64_t num_round_down(uint64_t v, uint64_t align) { return v & ~(align - 1); }
/* The caller knows that V + ALIGN does not overflow. */
static inline uint64_t num_round_up(uint64_t v, uint64_t align) { return (v + align - 1) & ~(align - 1); }
static inline bool num_is_aligned(uint64_t v, uint64_t align) { return !(v & (align - 1)); }
static inline uint64_t num_div_ceil(uint64_t v, uint64_t by) { return v / by + (v % by != 0); }

/* True if the sum or product does not fit; *OUT is then undefined. */
static inline bool num_add_overflow(uint64_t a, uint64_t b, uint64_t *out) { return __builtin_add_overflow(a, b, out); }
static inline bool num_mul_overflow(uint64_t a, uint64_t b, uint64_t *out) { return __builtin_mul_overflow(a, b, out); }

/* True if [OFF, OFF + LEN) lies within [0, END). */
static inline bool num_range_inside(uint64_t off, uint64_t len, uint64_t end)
{
	return off <= end && len <= end - off;
}

/* True if [A, A + ALEN) and [B, B + BLEN) share a byte. No sum overflows. */
static inline bool num_ranges_overlap(uint64_t a, uint64_t alen, uint64_t b, uint64_t blen)
{
	return a < b + blen && b < a + alen;
}
