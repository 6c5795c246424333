/*
 * test_clustercache: decoded clusters in memory.
 */
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "core/data/clustercache.h"
#include "suite.h"

#define SIZE 4096U

static struct clustercache *c;
static atomic_int wrong;

static void insert(uint64_t hoff, int fill)
{
	unsigned char buf[SIZE];

	memset(buf, fill, SIZE);
	clustercache_insert(c, hoff, buf);
}

static int look(uint64_t hoff)
{
	unsigned char buf[100];

	if (!clustercache_copy(c, hoff, buf, SIZE - 100, 100))
		return -1;
	ck_assert_int_eq(buf[0], buf[99]);
	return buf[0];
}

START_TEST(oldest_goes)
{
	ck_assert_int_eq(clustercache_new(&c, SIZE, 3 * SIZE), 0);
	ck_assert_int_eq(look(7), -1);
	insert(7, 1);
	insert(8, 2);
	insert(9, 3);
	insert(7, 99); /* is there: stays as it is */
	ck_assert_int_eq(look(7), 1); /* now the newest */
	insert(10, 4);
	ck_assert_int_eq(look(8), -1);
	ck_assert_int_eq(look(7), 1);
	ck_assert_int_eq(look(9), 3);
	ck_assert_int_eq(look(10), 4);
	clustercache_free(c);
	clustercache_free(NULL);
}
END_TEST

START_TEST(at_least_two)
{
	ck_assert_int_eq(clustercache_new(&c, SIZE, 1), 0);
	insert(1, 1);
	insert(2, 2);
	ck_assert_int_eq(look(1), 1);
	ck_assert_int_eq(look(2), 2);
	insert(3, 3);
	ck_assert_int_eq(look(1), -1);
	clustercache_free(c);
}
END_TEST

static void *worker(void *arg)
{
	unsigned char buf[SIZE];

	(void)arg;
	for (unsigned i = 0; i < 20000; i++) {
		uint64_t hoff = i * 7 % 5;

		if (!clustercache_copy(c, hoff, buf, 0, SIZE)) {
			memset(buf, (int)hoff, SIZE);
			clustercache_insert(c, hoff, buf);
		} else if (buf[0] != hoff || memcmp(buf, buf + 1, SIZE - 1)) {
			atomic_fetch_add(&wrong, 1);
		}
	}
	return NULL;
}

START_TEST(threads)
{
	pthread_t t[4];

	ck_assert_int_eq(clustercache_new(&c, SIZE, 3 * SIZE), 0);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, worker, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	ck_assert_int_eq(atomic_load(&wrong), 0);
	clustercache_free(c);
}
END_TEST

SUITE_MAIN("clustercache", oldest_goes, at_least_two, threads)
