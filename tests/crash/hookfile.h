/*
 * hookfile: a host file that calls the test before it reads or writes.
 */
#pragma once

#include "core/host/hostfile.h"

struct hookfile {
	/* Called before the call is passed on; NULL: nothing. */
	void (*before_pread)(void *arg, size_t len, uint64_t off);
	void (*before_pwrite)(void *arg, size_t len, uint64_t off);
	void *arg;
};

/* A hostfile over INNER, which it owns on success; HOOK outlives it. */
int hookfile_wrap(const struct hookfile *hook, struct hostfile **out,
		  struct hostfile *inner);
