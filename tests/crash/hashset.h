/*
 * hashset: a set of 64-bit hashes that grows.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct hashset { /* all zero: empty */
	uint64_t *slot, cap, n; /* a slot that is 0 is free */
};

/* True if H was new. */
bool hashset_add(struct hashset *s, uint64_t h);
/* Empty it; memory may stay, to be used again. */
void hashset_clear(struct hashset *s);
void hashset_fini(struct hashset *s);
