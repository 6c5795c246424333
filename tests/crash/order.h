/*
 * order: rules about the order of calls, which hold whatever a crash leaves.
 * Nothing is written after a failed sync, nothing but the header while a stale
 * autoclear bit may be on disk, and nothing ever into a LUKS header.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "unsynced.h"

struct order {
	/* set by the caller */
	uint64_t stale_autoclear;	 /* bits to be clear first; 0: none */
	uint64_t crypto_off, crypto_end; /* the LUKS header; 0: none */
	void (*bad)(void *arg, const char *text);
	void *arg;
	/* ours */
	bool begun, sync_failed;
};

/* Before the first entry. */
void order_rewind(struct order *o);

/* A change comes; U is as it was before it. */
void order_change(struct order *o, const struct unsynced *u,
		  const struct hostrecord_entry *r);

/* A sync failed. */
void order_sync_failed(struct order *o);
