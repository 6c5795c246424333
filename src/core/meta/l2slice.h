/*
 * l2slice: entries in a cached slice of an L2 table. Anyone who has pinned the
 * slice loads them, without a lock; they are stored under meta.lock.
 *
 * A standard entry is one word and is loaded whole. An extended one is two, and
 * no order of two stores suits every change: a new cluster needs its address
 * first, a dropped one its bitmap first, and a reader who stops between its
 * loads may meet both. So each slice has a version, odd while an entry is
 * being stored, and who loads one tries again when the version has moved. The
 * acquire of each word keeps the second look at the version behind it, and the
 * release of each word keeps the odd version before it, so no fence is needed.
 */
#pragma once

#include <stdatomic.h>

#include "core/format/l2entry.h"
#include "core/meta/tablecache.h"

/* Entry I of S, both words of one moment. */
static inline struct l2entry_raw l2slice_load(const struct geom *g,
					      const struct slice *s,
					      uint64_t i)
{
	struct l2entry_raw raw;
	unsigned before, after;

	if (!g->extended)
		return l2entry_load(g, s->data, i);
	do {
		before = atomic_load_explicit(&s->version,
					      memory_order_acquire);
		raw = l2entry_load(g, s->data, i);
		after = atomic_load_explicit(&s->version,
					     memory_order_relaxed);
	} while (before != after || (before & 1));
	return raw;
}

/* Store entry I of S; meta.lock is held, and S is dirty. */
static inline void l2slice_store(const struct geom *g, struct slice *s,
				 uint64_t i, struct l2entry_raw raw)
{
	unsigned v;

	if (!g->extended) {
		l2entry_store(g, s->data, i, raw);
		return;
	}
	v = atomic_load_explicit(&s->version, memory_order_relaxed);
	atomic_store_explicit(&s->version, v + 1, memory_order_relaxed);
	l2entry_store(g, s->data, i, raw);
	atomic_store_explicit(&s->version, v + 2, memory_order_release);
}
