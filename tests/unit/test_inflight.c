/*
 * test_inflight: ranges that overlap exclude each other, others do not.
 */
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/data/inflight.h"
#include "suite.h"

#define CELLS 16U

static struct inflight table;
static atomic_int owner[CELLS]; /* threads that hold the cell */
static atomic_int clashes;
static atomic_bool entered;

static void *worker(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;

	for (int i = 0; i < 3000; i++) {
		unsigned first = (unsigned)rand_r(&seed) % CELLS;
		unsigned n = 1 + (unsigned)rand_r(&seed) % (CELLS - first);
		struct inflight_range r;

		inflight_begin(&table, &r, first * 512, n * 512);
		for (unsigned k = first; k < first + n; k++)
			if (atomic_fetch_add(&owner[k], 1))
				atomic_fetch_add(&clashes, 1);
		for (unsigned k = first; k < first + n; k++)
			atomic_fetch_sub(&owner[k], 1);
		inflight_end(&table, &r);
	}
	return NULL;
}

START_TEST(threads)
{
	pthread_t t[6];

	inflight_init(&table);
	for (uintptr_t i = 0; i < 6; i++)
		pthread_create(&t[i], NULL, worker, (void *)(i + 1));
	for (int i = 0; i < 6; i++)
		pthread_join(t[i], NULL);
	ck_assert_int_eq(atomic_load(&clashes), 0);
	ck_assert_ptr_null(table.held);
	inflight_fini(&table);
}
END_TEST

static void *wait_for_it(void *arg)
{
	struct inflight_range r;

	(void)arg;
	inflight_begin(&table, &r, 1023, 512);
	atomic_store(&entered, true);
	inflight_end(&table, &r);
	return NULL;
}

START_TEST(neighbours)
{
	struct inflight_range a, b;
	pthread_t t;

	inflight_init(&table);
	inflight_begin(&table, &a, 512, 512);
	inflight_begin(&table, &b, 0, 512); /* touches, does not overlap */
	inflight_end(&table, &b);
	pthread_create(&t, NULL, wait_for_it, NULL);
	usleep(50000);
	ck_assert(!atomic_load(&entered));
	inflight_end(&table, &a);
	pthread_join(t, NULL);
	ck_assert(atomic_load(&entered));
	inflight_fini(&table);
}
END_TEST

SUITE_MAIN("inflight", threads, neighbours)
