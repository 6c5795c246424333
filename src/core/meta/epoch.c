#include "core/meta/epoch.h"

#include <time.h>

void epoch_init(struct epoch *e)
{
	for (unsigned i = 0; i < EPOCH_SLOTS; i++) {
		atomic_init(&e->slot[i].active[0], 0);
		atomic_init(&e->slot[i].active[1], 0);
	}
	atomic_init(&e->side, 0);
	lock_init(&e->waiters);
}

void epoch_fini(struct epoch *e)
{
	lock_fini(&e->waiters);
}

static unsigned my_slot(void)
{
	static atomic_uint next;
	static _Thread_local unsigned mine;

	if (!mine)
		mine = 1 + atomic_fetch_add(&next, 1) % EPOCH_SLOTS;
	return mine - 1;
}

struct epoch_ticket epoch_enter(struct epoch *e)
{
	struct epoch_ticket t = { .slot = my_slot() };

	/* The side may change between the load and the count; a waiter could
	 * then miss this request. Count, look again, and move over if so. */
	for (;;) {
		t.side = atomic_load(&e->side);
		atomic_fetch_add(&e->slot[t.slot].active[t.side], 1);
		if (atomic_load(&e->side) == t.side)
			return t;
		epoch_leave(e, t);
	}
}

void epoch_leave(struct epoch *e, struct epoch_ticket t)
{
	atomic_fetch_sub(&e->slot[t.slot].active[t.side], 1);
}

static unsigned active_on(struct epoch *e, unsigned side)
{
	unsigned n = 0;

	for (unsigned i = 0; i < EPOCH_SLOTS; i++)
		n |= atomic_load(&e->slot[i].active[side]);
	return n;
}

void epoch_wait(struct epoch *e)
{
	struct timespec nap = { .tv_nsec = 20000 };
	unsigned old;

	lock_take(&e->waiters);
	old = atomic_load(&e->side);
	atomic_store(&e->side, 1 - old);
	/* Requests are short; a nap costs less than a condition variable on
	 * every request's way out. */
	while (active_on(e, old)) {
		nanosleep(&nap, NULL);
		if (nap.tv_nsec < 2000000)
			nap.tv_nsec *= 2;
	}
	lock_drop(&e->waiters);
}
