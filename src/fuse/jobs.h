/*
 * jobs: a thread that does one thing after the other, for what a thread that
 * serves requests may not do: use the mount itself, or wait for a lock that the
 * kernel holds while a request is under way.
 *
 * A session has four. "work" changes snapshots: it waits for the disk's inode
 * lock (fsync, truncate), so nothing that is asked for under that lock may need
 * it. "tell" has the kernel forget names: it waits for a folder's lock, which
 * mkdir and rmdir hold until "work" has answered them; so "work" never waits for
 * "tell". Two are own.c's: the own thread answers what is asked for under the
 * inode's lock, so it never waits for that; the other closes what the first has
 * opened, which may wait for it.
 */
#pragma once

#include <stdbool.h>

struct jobs;

/* The first member of what is to be done. */
struct job {
	struct job *next;
	void (*run)(struct job *job); /* owns JOB, and answers in any case */
};

/* -ENOMEM, -EAGAIN. */
int jobs_start(struct jobs **out);

/* Have JOB run after those added before it. False: the thread has ended, JOB
 * stays the caller's. */
bool jobs_add(struct jobs *jobs, struct job *job);

/* Run what is left and end the thread; it takes no more. JOBS may be NULL. */
void jobs_end(struct jobs *jobs);

/* jobs_end(), unless that was done, and free JOBS. */
void jobs_stop(struct jobs *jobs);
