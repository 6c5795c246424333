/*
 * refwatch: which clusters' refcounts change while somebody watches, such as a
 * check of the running image: whatever it finds about other clusters is true at
 * any moment of the watch. Several may watch at a time.
 *
 * refwatch_begin(), _note() and _end() need meta.lock.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct refwatch_range {
	uint64_t hidx, n;
};

struct refwatch {
	struct refwatch_range *r; /* as they came, or refwatch_sort() */
	size_t n, cap;
	bool lost; /* no memory for all: nothing can be said */
	struct refwatch *next;
};

/* Watch from now on, with the others in *ALL. W is empty. */
void refwatch_begin(struct refwatch **all, struct refwatch *w);

/* The counts of N clusters from HIDX change: tell ALL. */
void refwatch_note(struct refwatch *all, uint64_t hidx, uint64_t n);

/* Watch no longer. */
void refwatch_end(struct refwatch **all, struct refwatch *w);

/* Sort and merge, so that refwatch_has() can be asked until more is noted. Needs
 * meta.lock before the end. */
void refwatch_sort(struct refwatch *w);
void refwatch_fini(struct refwatch *w);

/* Has the count of HIDX changed? */
bool refwatch_has(const struct refwatch *w, uint64_t hidx);
