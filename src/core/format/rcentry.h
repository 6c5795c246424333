/*
 * rcentry: one refcount of 1 to 64 bits in a refcount block (specification:
 * "Refcount block entry"; widths below 8 bits fill a byte from its least
 * significant bit).
 */
#pragma once

#include <stdint.h>

/* Entry I of the block (or of a slice of it) at BLOCK, of 1 << ORDER bits. */
uint64_t rcentry_get(const void *block, unsigned order, uint64_t i);

/* VALUE must fit the width. */
void rcentry_set(void *block, unsigned order, uint64_t i, uint64_t value);

/* The first entry in [I, N) that is zero (free), or N. Fast: the allocator's
 * scan. */
uint64_t rcentry_find_zero(const void *block, unsigned order, uint64_t i,
			   uint64_t n);

/* The first entry in [I, N) that is not zero, or N. */
uint64_t rcentry_find_used(const void *block, unsigned order, uint64_t i,
			   uint64_t n);
