/*
 * refwatch: which clusters' refcounts change while somebody watches, such as a
 * check of the running image: whatever it finds about other clusters is true at
 * any moment of the watch.
 *
 * All functions but refwatch_has() need meta.lock.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct refwatch_range {
	uint64_t hidx, n;
};

struct refwatch {
	struct refwatch_range *r; /* as they came; sorted by refwatch_end() */
	size_t n, cap;
	bool lost; /* no memory for all: nothing can be said */
};

/* The counts of N clusters from HIDX change. */
void refwatch_note(struct refwatch *w, uint64_t hidx, uint64_t n);

/* No more notes come: sort and merge, so that refwatch_has() can be asked. */
void refwatch_end(struct refwatch *w);
void refwatch_fini(struct refwatch *w);

/* Has the count of HIDX changed? */
bool refwatch_has(const struct refwatch *w, uint64_t hidx);
