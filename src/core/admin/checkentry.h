/*
 * checkentry: one entry of an L2 table: is it possible, and what should it be?
 * Private to core/admin; checktab.c reads the tables, checkstream.c has the
 * entries of compressed data.
 *
 * Each kind of entry has a function that reports what is wrong with it, counts
 * the references to what it maps, and proposes what it should be (checkfix.h).
 * They return 0 also when they found defects, and -ENOMEM when check cannot go
 * on.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/admin/checkwalk.h"

/* The L2 table that is walked. */
struct checkentry_table {
	struct checkwalk *w;
	uint64_t hoff;
	uint64_t refs;	     /* L1 entries that name it */
	uint64_t index;	     /* the first of those */
	bool active;	     /* one of them is in the active L1 table */
	uint64_t contiguous; /* where the next data would not be a fragment */
};

/* An entry, also of an L1 table, and where it stands. */
struct checkentry {
	uint64_t raw, index;
	uint64_t bitmap;     /* of an extended L2 entry */
	uint64_t at;	     /* host offset */
	enum checkrole role; /* of the table */
};

/* Of anything but compressed data. */
int checkentry_standard(struct checkentry_table *t, const struct checkentry *e);
/* Of any kind, in an image with an external data file. */
int checkentry_data_file(struct checkentry_table *t,
			 const struct checkentry *e);

/* Do the word and the bitmap of an extended entry go together? Reported only:
 * checkentry_become() proposes the bitmap. */
void checkentry_bitmap(const struct checkentry_table *t,
		       const struct checkentry *e);

/* --- what those share ------------------------------------------------------- */

/* Report a defect of E: its place in the table, then FMT. */
void checkentry_report(const struct checkentry_table *t,
		       const struct checkentry *e, enum problem_code code,
		       uint64_t hoff, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

/* In the active tables COPIED of RAW, which refers to HOFF, says: the stored
 * refcount is exactly one. Reported as CODE if it is not so. */
void checkentry_copied(struct checkwalk *w, enum problem_code code,
		       uint64_t raw, uint64_t hoff);

/* Propose RAW for an L2 entry, with the bitmap that goes with it, unless it is
 * that already. */
int checkentry_become(struct checkwalk *w, const struct checkentry *e,
		      uint64_t raw);

/* Propose a copy of what E names, [OFF, OFF + LEN), which belongs to somebody
 * else as well, who stays there; or it cannot be counted again. RAW is what E
 * should be if nothing moved, REFS the references that a copy gets. */
int checkentry_move(struct checkwalk *w, const struct checkentry *e,
		    uint64_t raw, uint64_t off, uint64_t len, uint64_t refs);

/* What an entry RAW becomes that leads nowhere. */
uint64_t checkentry_nothing(const struct checkwalk *w, uint64_t raw);
