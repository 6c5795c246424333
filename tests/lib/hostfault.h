/*
 * hostfault: makes calls of a host file fail on purpose.
 *
 * A struct hostfault holds one rule and counters; a hostfile that
 * hostfault_wrap() returns asks it before each call to the inner hostfile. The
 * struct outlives the hostfile. Typical use: set SKIP to 0, 1, 2 ... until
 * hostfault_hits() stays 0. May be called by several threads at once.
 */
#pragma once

#include "core/host/hostfile.h"

enum hostfault_op {
	HOSTFAULT_PREAD = 1,
	HOSTFAULT_PWRITE = 2,
	HOSTFAULT_SYNC = 4,
	HOSTFAULT_FALLOC = 8,
	HOSTFAULT_TRUNCATE = 16,
	HOSTFAULT_STAT = 32,
	HOSTFAULT_SEEK = 64,
	HOSTFAULT_LOCK = 128,
	HOSTFAULT_CHANGES = 2 | 8 | 16, /* what alters the file */
	HOSTFAULT_ALL = 255,
};

enum hostfault_kind {
	HOSTFAULT_ERROR,      /* fail with ERROR, touching nothing */
	HOSTFAULT_ERROR_LATE, /* do it, then fail with ERROR */
	HOSTFAULT_TORN,	      /* pwrite: do whole sectors of the first half,
				 then fail */
	HOSTFAULT_SHORT_ONE,  /* pread, pwrite: one byte only */
	HOSTFAULT_SHORT_HALF, /* pread, pwrite: half of the bytes */
	HOSTFAULT_EMPTY,      /* pread, pwrite: return 0 */
};

#define HOSTFAULT_FOREVER UINT64_MAX

struct hostfault_rule {
	unsigned ops; /* HOSTFAULT_* bits that are counted and hit */
	enum hostfault_kind kind;
	int error;	 /* -errno for the ERROR kinds and TORN */
	uint64_t skip;	 /* calls of OPS let through first */
	uint64_t repeat; /* calls hit after that, or HOSTFAULT_FOREVER */
};

struct hostfault;

struct hostfault *hostfault_new(void); /* lets everything through */
void hostfault_free(struct hostfault *h);

/* A hostfile over INNER. Takes ownership of INNER on success. 0 or -ENOMEM. */
int hostfault_wrap(struct hostfault *h, struct hostfile **out,
		   struct hostfile *inner);

/* Replace the rule (NULL: no rule) and clear the counters. */
void hostfault_set(struct hostfault *h, const struct hostfault_rule *rule);

/* Writes, ZERO and ALLOCATE that reach beyond LIMIT, and truncates above it,
 * fail with -ENOSPC; a write that crosses it is short. UINT64_MAX: no limit. */
void hostfault_limit(struct hostfault *h, uint64_t limit);

uint64_t hostfault_hits(struct hostfault *h);  /* calls made to fail */
uint64_t hostfault_calls(struct hostfault *h); /* calls of the rule's OPS */
