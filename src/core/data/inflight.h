/*
 * inflight: at most one request at a time changes the mapping of a guest
 * cluster. The range is held, not the lock; in-place writes and reads do not
 * come here.
 */
#pragma once

#include <stdint.h>

#include "base/lock.h"

struct inflight_range {
	uint64_t goff, len; /* whole clusters */
	struct inflight_range *prev, *next;
};

struct inflight {
	struct lock lock; /* level 2 */
	struct lock_cond ended;
	struct inflight_range *held; /* lock */
};

void inflight_init(struct inflight *t);
void inflight_fini(struct inflight *t);

/* Wait until nobody holds a part of [GOFF, GOFF + LEN), then hold it. R is the
 * caller's and stays in use until inflight_end(). One range at a time for each
 * thread. */
void inflight_begin(struct inflight *t, struct inflight_range *r, uint64_t goff,
		    uint64_t len);
void inflight_end(struct inflight *t, struct inflight_range *r);
