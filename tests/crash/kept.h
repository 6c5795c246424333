/*
 * kept: crash states of up to four recorded files, by sampling: what a file has
 * kept of the changes since its last F is all, nothing, or for each sector a
 * throw of the dice. enumerate.h goes further, for one file that has a guest.
 */
#pragma once

#include <stdint.h>

#include "lib/hostmem.h"
#include "lib/hostrecord.h"

#define KEPT_FILES 4

struct kept {
	struct hostrecord *rec;
	struct hostmem *stable[KEPT_FILES]; /* as the last F left it */
	uint64_t synced[KEPT_FILES];	    /* log entries that it covers */
};

enum kept_what { KEPT_ALL, KEPT_NONE, KEPT_SOME, KEPT_KINDS };

/* FILE after a crash before log entry AT; the caller frees. *S: the dice. */
struct hostmem *kept_state(const struct kept *k, unsigned file,
			   enum kept_what what, uint64_t at, uint64_t *s);

/* Throw the dice. */
uint64_t kept_throw(uint64_t *s);

/* Entry E is over: an F that succeeded makes what came before it began stable.
 */
void kept_advance(struct kept *k, const struct hostrecord_entry *e);
