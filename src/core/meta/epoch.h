/*
 * epoch: who may still hold an extent that was looked up before now.
 *
 * Every request enters before it looks anything up and leaves when its I/O is
 * over. epoch_wait() returns when all who had entered before it was called
 * have left; newcomers do not hold it up. So a host cluster whose mapping was
 * dropped can be given away after epoch_wait() although no lock is held over
 * data I/O [R3].
 *
 * Two sets of counters, the "sides", of which one is current. Waiting makes
 * the other one current and watches the old one run down to zero. Counters are
 * spread over cache lines, so that threads do not share one.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "base/lock.h"

#define EPOCH_SLOTS 16

struct epoch_slot {
	_Alignas(64) atomic_uint active[2];
};

struct epoch {
	struct epoch_slot slot[EPOCH_SLOTS];
	atomic_uint side;
	struct lock waiters; /* one epoch_wait() at a time */
};

/* What epoch_enter() returns and epoch_leave() takes. */
struct epoch_ticket {
	unsigned slot, side;
};

void epoch_init(struct epoch *e);
void epoch_fini(struct epoch *e);

struct epoch_ticket epoch_enter(struct epoch *e);
void epoch_leave(struct epoch *e, struct epoch_ticket t);

/* Wait for all who entered before this call. Never call it between enter and
 * leave: it would wait for itself. */
void epoch_wait(struct epoch *e);
