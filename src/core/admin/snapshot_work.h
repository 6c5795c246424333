/*
 * snapshot_work: what all operations on snapshots begin and end with, and the
 * steps that they share. Private to core/admin; snapshot.h has the operations.
 *
 * Between begin and end the image is the caller's alone, and nothing is dirty.
 * An operation writes new tables, switches the roots, and only then lets go what
 * the old ones referred to:
 *
 *	begin; put_table, place_put, tree_add ...; switch; place_free, tree_drop;
 *	finish
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/image/open.h"
#include "core/image/snaplist.h"
#include "core/meta/place.h"

struct snapshot_work {
	struct image *img;
	struct meta *m;
	struct snaplist list;
	struct place table, l1; /* new ones; empty once the roots name them */
	struct err *err;
};

/* Have IMG alone, and read the list. 0; -errno with text, and nothing is held. */
int snapshot_work_begin(struct snapshot_work *w, struct image *img,
			struct err *err);

/* Let requests pass again: after an error before anything was written. */
void snapshot_work_end(struct snapshot_work *w);

/* The operation, WHAT ("cannot ..."), has come to R: give new tables back if the
 * roots do not name them, and end. R, with text. */
int snapshot_work_finish(struct snapshot_work *w, int r, const char *what);

/* Write a new snapshot table to w->table: without record DROP (SIZE_MAX: all are
 * kept), and with S behind the others (NULL: none). -EFBIG, -errno. */
int snapshot_work_put_table(struct snapshot_work *w, size_t drop,
			    const struct snapshot *s);

/* The L1 table of S, native; the caller frees *OUT, also on error. */
int snapshot_work_read_l1(struct snapshot_work *w, const struct snapshot *s,
			  uint64_t **out);

/* Make all that the new roots refer to stable [R1] [R2], then those of ROOTS,
 * which is m->header with others, the roots [R7]. */
int snapshot_work_switch(struct snapshot_work *w, const struct header *roots);

/* Clusters that nobody else has any more may be written in place again. What
 * fails is logged, and costs copies only. */
void snapshot_work_own_again(struct snapshot_work *w);
