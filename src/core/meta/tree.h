/*
 * tree: all that one L1 table refers to, its L2 tables and through them the
 * clusters of data (specification: "Snapshots": each snapshot has such a tree,
 * and the active L1 table is the root of another). A cluster's refcount is the
 * number of references from all trees.
 *
 * For those who have the image alone, with nothing dirty (core/image/gate.h).
 * L1 is an array of N entries in native byte order. Tables are read one at a
 * time. When many refcount blocks or L2 slices get dirty a commit is made in
 * between; that is right here, since counts are written that are too high at
 * most.
 */
#pragma once

#include <stdint.h>

#include "core/meta/meta.h"

/* Is every entry of the tree possible? 0, -EUCLEAN, -EIO, -ENOMEM. */
int tree_check(struct meta *m, const uint64_t *l1, uint32_t n);

/* Count one more reference to everything in the tree. All or nothing. -ERANGE:
 * a count is at its maximum; -ENOSPC, -EUCLEAN, -EIO, -ENOMEM. */
int tree_add(struct meta *m, const uint64_t *l1, uint32_t n);

/*
 * The tree's root is gone from the disk, stably: count one reference less to
 * everything in it, and free what has none left [R4] [R5]. What fails leaks,
 * with a line in the log.
 */
void tree_drop(struct meta *m, const uint64_t *l1, uint32_t n);

/* Clear COPIED in the L1 and L2 tables of the active tree, in the file at
 * once; it is stable after the next F [R6]. -EIO, -EUCLEAN, -ENOMEM. */
int tree_clear_copied(struct meta *m);

/* Set COPIED in the active tree where the count is one again: the other
 * reference's removal is stable [R6]. The change rides in the next commit.
 * -EIO, -EUCLEAN, -ENOMEM: some are not set, which costs only copies. */
int tree_set_copied(struct meta *m);
