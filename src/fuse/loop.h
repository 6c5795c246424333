/*
 * loop: the threads that take requests from the kernel and serve them.
 *
 * Usually each waits in a read of the device, and the kernel wakes one of them
 * for a request. When one program asks for one thing after the other, that waking
 * is most of the time of a request, so one thread polls then: it looks for the
 * next request for some microseconds before it sleeps, while the others are
 * parked, so that the kernel wakes none of them (pace.h decides). One of those
 * parked keeps watch: a request that takes long must not keep others waiting, so
 * all wait in reads again then.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct loop_setup {
	/* A read returns one message. O_NONBLOCK comes and goes. */
	int fd;
	unsigned max_threads; /* 1 or more; started as they are needed */
	unsigned poll_us;     /* 0: never poll */
	size_t message_max;   /* bytes */
	size_t head; /* the byte of a message that shall lie at a page's start */
	/* Serve one message. Called in several threads at once. */
	void (*serve)(void *arg, void *message, size_t len);
	/* Is it to end? Asked often. */
	bool (*over)(void *arg);
	void *arg;
};

/*
 * Serve until over() says so or the device ends (ENODEV, or a read of nothing).
 * Then no thread is left. Who makes over() true interrupts the calling thread
 * with SIGUSR1, which is not blocked and has a handler, until this returns. 0, or
 * -errno: what a read failed with, or no thread could be started.
 */
int loop_run(const struct loop_setup *setup);
