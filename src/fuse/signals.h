/*
 * signals: SIGTERM, SIGINT and SIGHUP end a session, and so may a clock. They
 * are blocked in every thread and taken by one that waits for them; so a second
 * signal finds nobody to interrupt. A SIGHUP that the caller ignores is left so.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "fuse/fuselib.h"

struct signals {
	/* set by the caller */
	struct fuse_session *se; /* its loop is ended */
	bool (*due)(void *arg);	 /* asked each second: is it time? NULL: never */
	void (*before)(void *arg); /* once, before the loop is ended; the mount
				      may be used there */
	void *arg;
	/* ours */
	pthread_t loop, thread;
	bool started;
	atomic_bool loop_ended;
};

/* Block those that end a session in this thread, and in all that it starts. */
void signals_block(void);

/* The thread that calls will run the loop. */
void signals_init(struct signals *s);

/* Start the thread that waits. -EAGAIN. */
int signals_start(struct signals *s);

/* End the session, as a signal from outside would. */
void signals_raise(void);

/* Has the loop ended? */
bool signals_over(const struct signals *s);

/* The loop has ended, or will not begin: end the thread, if it was started. */
void signals_stop(struct signals *s);
