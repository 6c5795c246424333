/*
 * ready: going to the background, and telling others that the disk is usable
 * and when it no longer is: the shell, a pid file, a descriptor, systemd.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"

struct ready {
	const char *pidfile; /* NULL: none; absolute */
	int ready_fd;	     /* -1: none */
	int parent;	     /* pipe to the waiting parent, -1 in foreground */
	bool pidfile_made;
};

/* Have descriptors 0 to 2 open, so that no image ever gets one of them. */
void ready_reserve_stdio(void);

/* Can the pid file be made, as far as can be said? -errno, with text. */
int ready_check(const struct ready *r, struct err *err);

/*
 * Fork. The child returns 0 and goes on; the parent returns 1 once the child
 * is ready or has ended, with the exit status for the shell in *STATUS; a signal
 * to end the parent goes to the child. The child's errors go to the terminal until
 * it is ready. -errno on failure.
 */
int ready_fork(struct ready *r, int *status);

/* The disk is usable: tell all. In the background leave the terminal too.
 * -ECANCELED: the parent has gone. */
int ready_announce(struct ready *r, struct err *err);

/* Tell systemd, if it listens. */
void ready_notify(const char *state);

/* Remove the pid file, if it still names this process. */
void ready_end(struct ready *r);
