/*
 * content: what the guest would read in the crash states.
 *
 * Data sectors are not enumerated. Each state says which host cluster a guest
 * unit (checker.h) maps to; each version of each sector there is possible
 * together with it, so the oracle must allow each. A mapping is judged when it
 * is met first, and again with each version that comes later.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "checker.h"
#include "hashset.h"
#include "oracle.h"
#include "unsynced.h"

struct content_unit;

struct content {
	/* set by the caller */
	const struct checker *chk; /* of the state that is collected */
	const struct unsynced *un;
	const struct oracle *oracle;
	/* The guest would read what it must not: LOST, or foreign data. DATA,
	 * unless it is NULL, is what sector HOST_SEC holds then. */
	void (*bad)(void *arg, bool lost, uint64_t host_sec,
		    const uint8_t *data, const char *text);
	void *arg;
	uint64_t judged; /* mappings, since the caller set it to 0 */
	/* ours */
	struct content_unit *unit; /* that some state since the last sync has */
	uint64_t n, cap;
	struct hashset seen;
	uint8_t *unpacked;
};

void content_init(struct content *c);
void content_fini(struct content *c);

/* The mappings of before are not possible any more, or less is allowed. */
void content_forget(struct content *c);

/* A state of LEN bytes, as c->chk has walked it: judge what is new in it. */
void content_collect(struct content *c, uint64_t len);

/* The last entry brought a sector versions: judge what maps to it. */
void content_changed(struct content *c, const struct unsynced_var *v);
