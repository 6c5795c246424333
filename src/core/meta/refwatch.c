#include "core/meta/refwatch.h"

#include <stdlib.h>
#include <utlist.h>

#include "base/mem.h"
#include "base/num.h"

#define RANGES_MAX (4U << 20) /* 64 MiB */

void refwatch_begin(struct refwatch **all, struct refwatch *w)
{
	LL_PREPEND(*all, w);
}

void refwatch_end(struct refwatch **all, struct refwatch *w)
{
	LL_DELETE(*all, w);
}

static void note(struct refwatch *w, uint64_t hidx, uint64_t n)
{
	struct refwatch_range *last = w->n ? &w->r[w->n - 1] : NULL;

	if (last && last->hidx + last->n == hidx) {
		last->n += n;
		return;
	}
	if (w->n >= RANGES_MAX ||
	    mem_grow(&w->r, &w->cap, w->n + 1, sizeof(*w->r)) < 0) {
		w->lost = true;
		return;
	}
	w->r[w->n++] = (struct refwatch_range){ hidx, n };
}

void refwatch_note(struct refwatch *all, uint64_t hidx, uint64_t n)
{
	struct refwatch *w;

	LL_FOREACH(all, w)
		note(w, hidx, n);
}

static int order(const void *a, const void *b)
{
	const struct refwatch_range *x = a;
	const struct refwatch_range *y = b;

	return (x->hidx > y->hidx) - (x->hidx < y->hidx);
}

void refwatch_sort(struct refwatch *w)
{
	size_t to = 0;

	if (w->n)
		qsort(w->r, w->n, sizeof(*w->r), order);
	for (size_t i = 0; i < w->n; i++) {
		struct refwatch_range *last = to ? &w->r[to - 1] : NULL;

		if (last && w->r[i].hidx <= last->hidx + last->n)
			last->n = NUM_MAX(last->n, w->r[i].hidx + w->r[i].n -
							   last->hidx);
		else
			w->r[to++] = w->r[i];
	}
	w->n = to;
}

void refwatch_fini(struct refwatch *w)
{
	free(w->r);
	*w = (struct refwatch){ 0 };
}

bool refwatch_has(const struct refwatch *w, uint64_t hidx)
{
	size_t low = 0;
	size_t high = w->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (w->r[mid].hidx + w->r[mid].n <= hidx)
			low = mid + 1;
		else
			high = mid;
	}
	return low < w->n && w->r[low].hidx <= hidx;
}
