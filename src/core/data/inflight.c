#include "core/data/inflight.h"

#include <stddef.h>
#include <utlist.h>

#include "base/num.h"

void inflight_init(struct inflight *t)
{
	t->held = NULL;
	lock_init(&t->lock);
	lock_cond_init(&t->ended);
}

void inflight_fini(struct inflight *t)
{
	lock_cond_fini(&t->ended);
	lock_fini(&t->lock);
}

static const struct inflight_range *conflict(const struct inflight *t,
					     uint64_t goff, uint64_t len)
{
	const struct inflight_range *h;

	DL_FOREACH(t->held, h) {
		if (num_ranges_overlap(h->goff, h->len, goff, len))
			return h;
	}
	return NULL;
}

void inflight_begin(struct inflight *t, struct inflight_range *r, uint64_t goff,
		    uint64_t len)
{
	r->goff = goff;
	r->len = len;
	lock_take(&t->lock);
	while (conflict(t, goff, len))
		lock_cond_wait(&t->ended, &t->lock);
	DL_APPEND(t->held, r);
	lock_drop(&t->lock);
}

void inflight_end(struct inflight *t, struct inflight_range *r)
{
	lock_take(&t->lock);
	DL_DELETE(t->held, r);
	lock_cond_wake_all(&t->ended);
	lock_drop(&t->lock);
}
