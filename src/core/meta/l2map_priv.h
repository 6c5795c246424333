/*
 * l2map_priv: what l2map.c and l2map_change.c share. No lock is needed.
 */
#pragma once

#include "core/meta/l2map.h"

/* The L2 table of GOFF: *L2_HOFF is 0 for none. -EUCLEAN. */
int l2map_table_of(struct meta *m, uint64_t goff, uint64_t *l2_hoff,
		   bool *copied);

/* Pin the slice *S with the entry of GOFF in the table at L2_HOFF; the entry
 * is its *I-th. Errors as tablecache_get(). */
int l2map_slice_of(struct meta *m, uint64_t l2_hoff, uint64_t goff,
		   struct slice **s, uint64_t *i);

/* Entry I of S, which is pinned, that of the cluster GOFF lies in. -EUCLEAN: it is impossible, or names a place
 * that cannot be data; the image is then marked (meta_corrupt()). */
int l2map_decode(struct meta *m, const struct slice *s, uint64_t i,
		 uint64_t goff, struct l2entry *e);
