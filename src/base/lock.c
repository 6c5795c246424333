#include "base/lock.h"

#include <time.h>

/* The bodies are what the annotations promise; the analysis cannot see into
 * pthread calls. */
#define NO_ANALYSIS LOCK_ATTR(no_thread_safety_analysis)

void lock_init(struct lock *l)
{
	pthread_mutex_init(&l->m, NULL);
}

void lock_fini(struct lock *l)
{
	pthread_mutex_destroy(&l->m);
}

NO_ANALYSIS void lock_take(struct lock *l)
{
	pthread_mutex_lock(&l->m);
}

NO_ANALYSIS void lock_drop(struct lock *l)
{
	pthread_mutex_unlock(&l->m);
}

void lock_cond_init(struct lock_cond *c)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->c, &attr);
	pthread_condattr_destroy(&attr);
}

void lock_cond_fini(struct lock_cond *c)
{
	pthread_cond_destroy(&c->c);
}

void lock_cond_wait(struct lock_cond *c, struct lock *l)
{
	pthread_cond_wait(&c->c, &l->m);
}

void lock_cond_wait_ms(struct lock_cond *c, struct lock *l, uint64_t ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += (time_t)(ms / 1000);
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	pthread_cond_timedwait(&c->c, &l->m, &t);
}

void lock_cond_wake_all(struct lock_cond *c)
{
	pthread_cond_broadcast(&c->c);
}
