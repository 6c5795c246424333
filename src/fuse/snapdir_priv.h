/* What snapdir.c and snapdir_load.c share. */
#pragma once

#include "base/hash.h"

#include "fuse/snapdir.h"

struct snap {
	/* const once it is in the table */
	uint64_t slot;
	char *key; /* which snapshot it is: place and id */
	char *id;  /* as stored */
	char *shown, *id_shown; /* names; id_shown may be NULL */
	uint64_t l1_offset;
	uint64_t disk_size, state_size; /* bytes */
	struct timespec time;

	_Atomic int64_t blocks; /* -1: not counted yet */
	/* guarded by snapdir.lock */
	bool gone, seen;
	unsigned opens;
	struct image *view; /* while opens > 0 */
	UT_hash_handle by_key, by_shown, by_id;
};

void snapdir_free(struct snap *s);
