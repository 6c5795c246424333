/*
 * test_epoch: waiting for those who entered before, and for nobody else.
 */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

#include "core/meta/epoch.h"
#include "suite.h"

static struct epoch ep;
static atomic_bool waited, stop;

static void *wait_once(void *arg)
{
	(void)arg;
	epoch_wait(&ep);
	atomic_store(&waited, true);
	return NULL;
}

START_TEST(nobody)
{
	epoch_init(&ep);
	for (int i = 0; i < 5; i++)
		epoch_wait(&ep);
	epoch_fini(&ep);
}
END_TEST

START_TEST(older_and_newer)
{
	struct epoch_ticket old, newer;
	pthread_t t;

	epoch_init(&ep);
	old = epoch_enter(&ep);
	pthread_create(&t, NULL, wait_once, NULL);
	while (old.side == atomic_load(&ep.side))
		usleep(100);
	newer = epoch_enter(&ep);
	usleep(30000);
	ck_assert(!atomic_load(&waited));
	epoch_leave(&ep, old);
	pthread_join(t, NULL); /* though the newer one is still in */
	ck_assert(atomic_load(&waited));
	epoch_leave(&ep, newer);
	epoch_wait(&ep);
	epoch_fini(&ep);
}
END_TEST

/* Cells that may be read only while the current pointer led there. */
static atomic_int cells[2];
static atomic_uint current, wrong, passes;

static void *reader(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop)) {
		struct epoch_ticket t = epoch_enter(&ep);
		unsigned i = atomic_load(&current);

		for (int k = 0; k < 20; k++)
			if (atomic_load(&cells[i]) != 1)
				atomic_fetch_add(&wrong, 1);
		epoch_leave(&ep, t);
		atomic_fetch_add(&passes, 1);
	}
	return NULL;
}

START_TEST(threads)
{
	pthread_t t[EPOCH_SLOTS + 2]; /* some share a slot */

	epoch_init(&ep);
	atomic_store(&cells[0], 1);
	for (unsigned i = 0; i < EPOCH_SLOTS + 2; i++)
		pthread_create(&t[i], NULL, reader, NULL);
	while (!atomic_load(&passes)) /* on a busy machine they start late */
		sched_yield();
	for (int round = 0; round < 200; round++) {
		unsigned old = atomic_load(&current);

		atomic_store(&cells[1 - old], 1);
		atomic_store(&current, 1 - old);
		epoch_wait(&ep);
		atomic_store(&cells[old], 0); /* given away */
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < EPOCH_SLOTS + 2; i++)
		pthread_join(t[i], NULL);
	ck_assert_uint_eq(atomic_load(&wrong), 0);
	ck_assert_uint_gt(atomic_load(&passes), 0);
	epoch_fini(&ep);
}
END_TEST

SUITE_MAIN("epoch", nobody, older_and_newer, threads)
