/*
 * committer: the thread that commits every few seconds, when much is dirty,
 * and gives freed clusters back, so that requests need not. In between it
 * fills the role map (core/meta/rolescan.h).
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "base/lock.h"

struct image;

struct committer {
	struct lock lock;
	struct lock_cond wake;
	bool stop, kicked;	    /* lock */
	unsigned seconds;	    /* const while running */
	struct image *img;
	pthread_t thread;
	bool running; /* the owner's; no thread looks at it */
};

void committer_init(struct committer *c);
/* Stops the thread if it runs. */
void committer_fini(struct committer *c);

/* -EAGAIN, -ENOMEM. */
int committer_start(struct committer *c, struct image *img, unsigned seconds);
void committer_stop(struct committer *c);

/* Commit soon. False when no thread runs. */
bool committer_kick(struct committer *c);
