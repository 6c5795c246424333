/*
 * rolemap: what each host cluster of an image is used for, four bits each.
 * Every write asks it about its target, and the allocator about what it is
 * going to hand out: whatever an image's tables claim, data never gets into a
 * table, nor a table into data.
 *
 * A sparse tree of pages of 8192 clusters: a file of any length costs what is
 * used of it. Reading takes no lock and a few loads. Who changes roles holds
 * meta.lock; pages stay where they are until rolemap_fini().
 *
 * Which role a cluster gets and when it loses it: rolescan.h.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* At most 16. Those from ROLE_DATA on are guest data. */
enum role {
	ROLE_NONE, /* free, or nothing known */
	ROLE_HEADER,
	ROLE_REFTABLE,
	ROLE_REFBLOCK,
	ROLE_L1,
	ROLE_L2,	/* of the active L1 table alone */
	ROLE_L2_UNSEEN, /* the same; its entries are not in the map yet */
	ROLE_L2_SHARED, /* a snapshot's, too: never written */
	ROLE_L2_SHARED_UNSEEN, /* the same; not in the map yet */
	ROLE_SNAPTABLE,
	ROLE_SNAP_L1,
	ROLE_BITMAP, /* directory, tables and data of bitmaps */
	ROLE_CRYPTO,
	ROLE_DATA,	  /* one L2 entry refers to it, with COPIED: written in
			     place */
	ROLE_DATA_SHARED, /* without COPIED: never written */
	ROLE_COMPRESSED,  /* any number of streams */
};

#define ROLEMAP_PAGE_BITS 13
#define ROLEMAP_FAN_BITS 11
#define ROLEMAP_TOP_BITS 12

struct rolemap_page {
	_Atomic uint64_t w[1 << (ROLEMAP_PAGE_BITS - 4)];
};

struct rolemap_low {
	struct rolemap_page *_Atomic page[1 << ROLEMAP_FAN_BITS];
};

struct rolemap_mid {
	struct rolemap_low *_Atomic low[1 << ROLEMAP_FAN_BITS];
};

struct rolemap {
	struct rolemap_mid *_Atomic *mid; /* NULL: no map, all ROLE_NONE */
	uint64_t used;			  /* bytes; meta.lock */
	uint64_t budget;		  /* for rolemap_set(); meta.lock */
};

/* A map with nothing in it. -ENOMEM. */
int rolemap_init(struct rolemap *rm, uint64_t budget);
void rolemap_fini(struct rolemap *rm);

/* Any HIDX, also one that no offset can express (ROLE_NONE). */
enum role rolemap_get(const struct rolemap *rm, uint64_t hidx);

/* Have all N clusters from HIDX this role? */
bool rolemap_all(const struct rolemap *rm, uint64_t hidx, uint64_t n,
		 enum role role);

/* Give N clusters a role. -ENOMEM: no memory, the budget is used up, or no
 * offset can express one of them; some may have it. Cannot fail for ROLE_NONE,
 * or after rolemap_reserve(). */
int rolemap_set(struct rolemap *rm, uint64_t hidx, uint64_t n, enum role role);

/* Make room for N clusters, whatever the budget. -ENOMEM as above. */
int rolemap_reserve(struct rolemap *rm, uint64_t hidx, uint64_t n);

/* The first cluster at or after FROM with role A or B; UINT64_MAX: none. */
uint64_t rolemap_find(const struct rolemap *rm, uint64_t from, enum role a,
		      enum role b);

/* "an L2 table" */
const char *rolemap_text(enum role role);
