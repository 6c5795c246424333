/*
 * threadlocal: one zeroed struct for each thread that asks, released when the
 * thread ends. For contexts that are dear to make and must not be shared.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct threadlocal {
	pthread_mutex_t making;
	atomic_bool made;
	bool failed;
	pthread_key_t key;
};

#define THREADLOCAL_INIT { .making = PTHREAD_MUTEX_INITIALIZER }

/*
 * This thread's SIZE bytes, zero at first. RELEASE frees them with all they
 * hold. T, SIZE and RELEASE belong together for ever; T is static. NULL: no
 * memory, or no key left.
 */
void *threadlocal_get(struct threadlocal *t, size_t size,
		      void (*release)(void *));
