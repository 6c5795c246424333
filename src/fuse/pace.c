#include "fuse/pace.h"

#include "base/num.h"

#define STREAK_MIN 32U
#define STREAK_MAX 2048U
/* So many requests pay for the change to polling and back. */
#define SERVED_WELL 512U
/* A program that is quick has its next request there now and then. */
#define AT_ONCE_MAX 8U
/* Stay while looking helps in two of three cases. */
#define CREDIT_MAX  16
#define SLEPT_COSTS 2

void pace_init(struct pace *p, uint64_t poll_ns)
{
	p->window_ns = 2 * poll_ns;
	atomic_init(&p->at_once, 0);
	atomic_init(&p->credit, CREDIT_MAX);
	atomic_init(&p->last, 0);
	atomic_init(&p->streak, 0);
	atomic_init(&p->needed, STREAK_MIN);
}

bool pace_alone(struct pace *p, uint64_t now)
{
	uint64_t last = atomic_exchange_explicit(&p->last, now,
						 memory_order_relaxed);

	if (now - last > p->window_ns) {
		atomic_store_explicit(&p->streak, 0, memory_order_relaxed);
		return false;
	}
	return atomic_fetch_add_explicit(&p->streak, 1,
					 memory_order_relaxed) >=
	       atomic_load_explicit(&p->needed, memory_order_relaxed);
}

void pace_shared(struct pace *p)
{
	if (atomic_load_explicit(&p->streak, memory_order_relaxed))
		atomic_store_explicit(&p->streak, 0, memory_order_relaxed);
}

bool pace_polled(struct pace *p, enum pace_wait how)
{
	unsigned at_once = how != PACE_AT_ONCE ? 0 : atomic_load(&p->at_once) + 1;
	int credit = atomic_load(&p->credit);

	if (how == PACE_SLEPT)
		credit -= SLEPT_COSTS;
	else if (how == PACE_FOUND)
		credit = NUM_MIN(credit + 1, CREDIT_MAX);
	atomic_store_explicit(&p->at_once, at_once, memory_order_relaxed);
	atomic_store_explicit(&p->credit, credit, memory_order_relaxed);
	return at_once < AT_ONCE_MAX && credit >= 0;
}

void pace_ended(struct pace *p, unsigned served)
{
	unsigned needed = atomic_load(&p->needed);

	atomic_store(&p->at_once, 0);
	atomic_store(&p->credit, CREDIT_MAX);
	atomic_store(&p->streak, 0);
	atomic_store(&p->needed, served >= SERVED_WELL ?
					 STREAK_MIN :
					 NUM_MIN(2 * needed, STREAK_MAX));
}
