/*
 * place: neighbouring clusters for a table that nothing refers to yet, or no
 * more. For operations that have the image alone (core/image/gate.h).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/meta/meta.h"

struct place {
	uint64_t hoff, n; /* bytes; clusters, 0: none */
};

/*
 * Take clusters of ROLE for LEN bytes, and write BUF there with zeroes behind it. *P
 * says where, also on error: then place_give_back() it. -ENOSPC, -EIO, -ENOMEM,
 * -EUCLEAN. Nothing is stable before the next commit.
 */
int place_put(struct meta *m, const void *buf, size_t len, enum role role,
	      struct place *p)
	LOCK_EXCLUDES(metalock(m));

/* P will not be referred to after all. It is empty then. */
void place_give_back(struct meta *m, struct place *p)
	LOCK_EXCLUDES(metalock(m));

/* The reference to LEN bytes at HOFF is gone from the disk, stably: what was
 * there becomes free. Nothing happens for LEN 0, nor after a failed sync. */
void place_free(struct meta *m, uint64_t hoff, uint64_t len)
	LOCK_EXCLUDES(metalock(m));
