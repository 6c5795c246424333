/*
 * lock: pthread mutexes and conditions with clang's thread-safety annotations,
 * so that tools/check-locks can prove that *_locked functions are called with
 * their lock held. Levels and order: docs/locking.md.
 *
 * There is no scope-bound lock macro: the analysis does not understand cleanup
 * attributes in C.
 */
#pragma once

#include <pthread.h>
#include <stdint.h>

#if defined(__clang__)
#define LOCK_ATTR(x) __attribute__((x))
#else
#define LOCK_ATTR(x)
#endif

#define LOCK_REQUIRES(l) LOCK_ATTR(requires_capability(l))
#define LOCK_EXCLUDES(l) LOCK_ATTR(locks_excluded(l))
#define LOCK_ACQUIRES(l) LOCK_ATTR(acquire_capability(l))
#define LOCK_RELEASES(l) LOCK_ATTR(release_capability(l))
/* The function returns the address of L. */
#define LOCK_RETURNS(l) LOCK_ATTR(lock_returned(l))

struct LOCK_ATTR(capability("mutex")) lock {
	pthread_mutex_t m;
};

struct lock_cond {
	pthread_cond_t c; /* on CLOCK_MONOTONIC */
};

void lock_init(struct lock *l);
void lock_fini(struct lock *l);
void lock_take(struct lock *l) LOCK_ACQUIRES(l);
void lock_drop(struct lock *l) LOCK_RELEASES(l);

void lock_cond_init(struct lock_cond *c);
void lock_cond_fini(struct lock_cond *c);
/* Wait for a wake-up; may return without one. L is dropped while waiting. */
void lock_cond_wait(struct lock_cond *c, struct lock *l) LOCK_REQUIRES(l);
/* As lock_cond_wait(), for at most MS milliseconds. */
void lock_cond_wait_ms(struct lock_cond *c, struct lock *l, uint64_t ms)
	LOCK_REQUIRES(l);
void lock_cond_wake_all(struct lock_cond *c);
