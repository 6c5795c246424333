/*
 * refcount_grow: what refcount.c (counts, search) and refcount_grow.c
 * (coverage) share. Nobody else includes it.
 */
#pragma once

#include "core/meta/meta.h"

/* The area that counts host cluster HIDX: an index of the refcount table. */
static inline uint64_t refcount_area(const struct meta *m, uint64_t hidx)
{
	return hidx >> m->geom->refblock_bits;
}

static inline bool refcount_is_covered(const struct meta *m, uint64_t area)
{
	return area < m->refcount.n && m->refcount.table[area];
}
