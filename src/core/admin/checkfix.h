/*
 * checkfix: what the walk proposes for the defects it met, for repair.c to do.
 * Private to core/admin.
 *
 * A patch puts another value into one entry of eight bytes, with the bitmap
 * behind it where an extended L2 entry has a wrong one: one write within a
 * sector, so that no crash leaves the one without the other. A move copies what
 * the entry names to clusters of its own and lets the entry name those. Either
 * is done only where the table that holds the entry owns its cluster: else the
 * table has to move first, and a later walk proposes the fix again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/admin/checkmap.h"

struct checkfix {
	uint64_t at;	     /* host offset of the entry */
	uint64_t raw;	     /* its new value; a move: as if nothing moved */
	uint64_t bitmap;     /* a patch with_bitmap: the eight bytes behind */
	bool with_bitmap;
	uint64_t src;	     /* move: host offset of the first cluster; else 0 */
	uint64_t dst;	     /* move: where the copy is, once planned */
	uint64_t n;	     /* move: clusters; 0: a patch */
	uint64_t refs;	     /* move: references to each cluster */
	bool moved;	     /* the copy was made, and RAW names it */
	enum checkrole role; /* that AT lies in */
};

struct checkfix_list {
	struct checkfix *fix;
	size_t n, cap;
	uint64_t moves; /* how many of them are moves */
};

/* Append FIX; charged to MAP's budget. 0 or -ENOMEM. */
int checkfix_add(struct checkfix_list *l, struct checkmap *map,
		 const struct checkfix *fix);

/* May FIX be done: does the table that holds its entry own its cluster? */
bool checkfix_allowed(const struct checkfix *fix, struct checkmap *map,
		      unsigned cluster_bits);
void checkfix_fini(struct checkfix_list *l);
