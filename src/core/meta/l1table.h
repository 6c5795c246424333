/*
 * l1table: the active L1 table in memory, native byte order (specification:
 * "Cluster mapping"). Entries are read by anyone, changed under meta.lock. A
 * change marks the 512-byte sector of the table dirty; the commit writes whole
 * sectors, each of which reaches the disk or does not.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/host/hostfile.h"

#define L1TABLE_SECTOR_ENTRIES 64 /* 512 bytes */

struct l1table {
	_Atomic uint64_t *e; /* N entries, padded with 0 to a whole sector */
	uint32_t n;	     /* const while requests run */
	uint64_t hoff;	     /* const while requests run */
	bool *dirty;	     /* meta.lock: one for each sector */
	uint32_t *dirty_list; /* meta.lock: dirty sectors, dirty_n of them */
	size_t list_cap;     /* meta.lock: sectors that fit there */
	uint32_t dirty_n;    /* meta.lock */
	uint8_t *room;	     /* meta.lock: for the next cut's copies */
	size_t room_cap;     /* sectors that fit */
};

/* Copies of dirty sectors as taken by a cut. */
struct l1table_cut {
	uint8_t *copies; /* n sectors of 512 bytes; owned by the cut */
	uint32_t *list;	 /* which sectors; owned by the cut */
	uint32_t n;
};

/* Read N entries at HOFF. -EIO, -ENOMEM. */
int l1table_load(struct l1table *t, struct hostfile *file, uint64_t hoff,
		 uint32_t n);
void l1table_fini(struct l1table *t);

/* Entry I < n as stored, native order. */
static inline uint64_t l1table_get(const struct l1table *t, uint64_t i)
{
	return atomic_load_explicit(&t->e[i], memory_order_acquire);
}

/* All entries, native order; the caller frees. NULL: no memory. */
uint64_t *l1table_copy(const struct l1table *t);

/* Before l1table_set() of entry I: room for the next cut. -ENOMEM. meta.lock
 * is held. */
int l1table_reserve(struct l1table *t, uint64_t i);

/* Change entry I, after l1table_reserve(). Cannot fail. meta.lock is held. */
void l1table_set(struct l1table *t, uint64_t i, uint64_t raw);

/* Clear COPIED in all entries, in memory and, at once, in FILE: that is right
 * at any time [R6]. Nobody else uses the table, nothing of it is dirty. -EIO,
 * -ENOMEM. */
int l1table_clear_copied(struct l1table *t, struct hostfile *file);

/* Move copies of the dirty sectors into CUT. Allocates nothing. meta.lock is
 * held. */
void l1table_take_cut(struct l1table *t, struct l1table_cut *cut);
void l1table_cut_fini(struct l1table_cut *cut);

/* Where copy I of CUT belongs, and how many bytes of it: the table may end
 * inside its last sector. */
void l1table_cut_place(const struct l1table *t, const struct l1table_cut *cut,
		       uint32_t i, uint64_t *hoff, size_t *len);
