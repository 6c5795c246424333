/*
 * bitmapbits: arrays of bits as they are stored: bit N is bit N % 8 of byte
 * N / 8, in words whose bytes are in little-endian order. Bits may be set by
 * several threads at once, and be read meanwhile.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed words for BITS bits; bits behind the last one are always 0. NULL: no
 * memory. Room that nobody sets a bit in costs next to nothing. free() it. */
_Atomic uint64_t *bitmapbits_new(uint64_t bits);
/* Bytes that they need. */
uint64_t bitmapbits_size(uint64_t bits);

/* The words as bytes, while nobody else uses them. */
uint8_t *bitmapbits_bytes(_Atomic uint64_t *w);

/* Set N bits (> 0) from FIRST on; was any of them 0? Where all are set already
 * that costs one load a word. */
bool bitmapbits_set(_Atomic uint64_t *w, uint64_t first, uint64_t n);

/* How many bits from AT on, up to BITS, are the same. *SET: which. */
uint64_t bitmapbits_run(const _Atomic uint64_t *w, uint64_t bits, uint64_t at,
			bool *set);

/* A copy for TO bits of the first FROM ones; the rest is 0. NULL: no memory. */
_Atomic uint64_t *bitmapbits_resized(const _Atomic uint64_t *w, uint64_t from,
				     uint64_t to);

/* Clear what lies behind BITS in the last word. */
void bitmapbits_trim(_Atomic uint64_t *w, uint64_t bits);
