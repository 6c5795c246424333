/*
 * test_tablecache: slices in memory: reading, pins, eviction, the dirty list
 * and cuts. Slice K of the file is full of byte K.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "core/meta/tablecache.h"
#include "lib/hostfault.h"
#include "lib/hostmem.h"
#include "suite.h"

#define BITS 12U
#define SIZE 4096U
#define N    250U

static struct hostmem *mem;
static struct hostfault *fault;
static struct hostfile *file;
static struct tablecache *tc;

static void begin(uint64_t limit)
{
	unsigned char buf[SIZE];
	struct hostfile *inner;

	mem = hostmem_new();
	fault = hostfault_new();
	for (unsigned k = 0; k < N; k++) {
		memset(buf, (int)k, SIZE);
		ck_assert_int_eq(hostmem_write(mem, buf, SIZE, k * SIZE), 0);
	}
	ck_assert_int_eq(hostmem_open(&inner, mem, true), 0);
	ck_assert_int_eq(hostfault_wrap(fault, &file, inner), 0);
	ck_assert_int_eq(tablecache_new(&tc, file, BITS, SIZE, limit), 0);
}

static void end(void)
{
	tablecache_free(tc);
	hostfile_close(file);
	hostfault_free(fault);
	hostmem_free(mem);
}

static struct slice *get(unsigned k)
{
	struct slice *s;
	unsigned char *p;

	ck_assert_int_eq(tablecache_get(tc, k * SIZE, &s), 0);
	p = s->data;
	ck_assert_uint_eq(s->hoff, k * SIZE);
	ck_assert_uint_eq(p[0], k);
	ck_assert_uint_eq(p[SIZE - 1], k);
	return s;
}

static uint64_t reads(void)
{
	return hostmem_count(mem, HOSTMEM_PREAD);
}

START_TEST(hit_and_miss)
{
	struct slice *a, *b;

	begin(1 << 20);
	a = get(7);
	b = get(7);
	ck_assert_ptr_eq(a, b);
	ck_assert_uint_eq(reads(), 1);
	tablecache_put(tc, a);
	tablecache_put(tc, b);
	tablecache_put(tc, get(7));
	ck_assert_uint_eq(reads(), 1);
	end();
}
END_TEST

START_TEST(eviction)
{
	struct slice *pinned, *dirty;
	unsigned char *p;

	begin(1); /* four slices in each of 16 shards */
	pinned = get(3);
	dirty = get(4);
	ck_assert_int_eq(tablecache_dirty(tc, dirty), 0);
	p = dirty->data;
	p[1] = 99;
	tablecache_put(tc, dirty);
	for (unsigned k = 0; k < N; k++)
		tablecache_put(tc, get(k));
	ck_assert_uint_eq(reads(), N);
	for (unsigned k = 0; k < N; k++)
		tablecache_put(tc, get(k));
	ck_assert_uint_gt(reads(), 2 * N - 100);
	ck_assert_uint_lt(reads(), 2 * N - 1);
	ck_assert_ptr_eq(get(3), pinned);
	ck_assert_ptr_eq(get(4), dirty);
	ck_assert_uint_eq(p[1], 99);
	end();
}
END_TEST

static bool is_odd(void *arg, uint64_t hoff)
{
	ck_assert_ptr_eq(arg, &mem);
	return hoff / SIZE % 2;
}

START_TEST(cut_order)
{
	static const unsigned order[] = { 9, 2, 30, 5, 31 };
	static const unsigned sorted[] = { 2, 5, 9, 30, 31 };
	struct tablecache_cut a, b;
	unsigned char *p;

	begin(1 << 20);
	for (unsigned i = 0; i < 5; i++) {
		struct slice *s = get(order[i]);

		ck_assert_int_eq(tablecache_dirty(tc, s), 0);
		ck_assert_int_eq(tablecache_dirty(tc, s), 0); /* once only */
		tablecache_put(tc, s);
	}
	ck_assert_uint_eq(tablecache_dirty_count(tc), 5);
	tablecache_cut(tc, &a, is_odd, &mem);
	ck_assert_uint_eq(tablecache_dirty_count(tc), 0);
	ck_assert_uint_eq(a.n, 5);
	for (unsigned i = 0; i < 5; i++) {
		ck_assert_uint_eq(a.slices[i]->hoff, sorted[i] * SIZE);
		ck_assert_uint_eq(a.copies[i * SIZE + 17], sorted[i]);
		ck_assert_int_eq(a.early[i], sorted[i] % 2);
	}
	/* A change after the cut is the next one's. */
	ck_assert_int_eq(tablecache_dirty(tc, a.slices[0]), 0);
	p = a.slices[0]->data;
	p[17] = 200;
	ck_assert_uint_eq(a.copies[17], 2);
	tablecache_cut_done(tc, &a);
	tablecache_cut(tc, &b, NULL, NULL);
	ck_assert_uint_eq(b.n, 1);
	ck_assert_uint_eq(b.copies[17], 200);
	ck_assert(!b.early[0]);
	tablecache_cut_done(tc, &b);
	tablecache_cut(tc, &a, NULL, NULL);
	ck_assert_uint_eq(a.n, 0);
	tablecache_cut_done(tc, &a);
	end();
}
END_TEST

START_TEST(forget)
{
	struct tablecache_cut cut;

	begin(1 << 20);
	for (unsigned k = 10; k < 14; k++) {
		struct slice *s = get(k);

		ck_assert_int_eq(tablecache_dirty(tc, s), 0);
		memset(s->data, 255, SIZE);
		tablecache_put(tc, s);
	}
	tablecache_put(tc, get(20)); /* clean */
	tablecache_forget(tc, 11 * SIZE, 2 * SIZE);
	tablecache_forget(tc, 20 * SIZE, 5 * SIZE);
	ck_assert_uint_eq(tablecache_dirty_count(tc), 2);
	tablecache_put(tc, get(11)); /* as the file has it */
	tablecache_put(tc, get(12));
	tablecache_put(tc, get(20));
	ck_assert_uint_eq(reads(), 8);
	tablecache_cut(tc, &cut, NULL, NULL);
	ck_assert_uint_eq(cut.n, 2);
	ck_assert_uint_eq(cut.slices[0]->hoff, 10 * SIZE);
	ck_assert_uint_eq(cut.slices[1]->hoff, 13 * SIZE);
	tablecache_cut_done(tc, &cut);
	end();
}
END_TEST

START_TEST(failed_reads)
{
	struct hostfault_rule rule = { HOSTFAULT_PREAD, HOSTFAULT_ERROR, -EIO,
				       0, 1 };
	unsigned char want[SIZE] = { N };
	struct slice *s;

	begin(1 << 20);
	hostfault_set(fault, &rule);
	ck_assert_int_eq(tablecache_get(tc, 5 * SIZE, &s), -EIO);
	tablecache_put(tc, get(5)); /* it was not kept */
	ck_assert_int_eq(tablecache_get(tc, N * SIZE, &s), -EIO);
	/* cut short is not missing */
	ck_assert_int_eq(hostmem_write(mem, want, 1, N * SIZE), 0);
	ck_assert_int_eq(tablecache_get(tc, N * SIZE, &s), 0);
	ck_assert_mem_eq(s->data, want, SIZE);
	tablecache_put(tc, s);
	ck_assert_uint_gt(tablecache_dirty_limit(tc), 0);
	end();
}
END_TEST

/* A file whose reads wait until the test lets them go. */
static struct {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool open;
	int result, calls;
} gate = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0, 0 };

static ssize_t gate_pread(void *ctx, void *buf, size_t len, uint64_t off)
{
	(void)ctx;
	pthread_mutex_lock(&gate.mutex);
	gate.calls++;
	pthread_cond_broadcast(&gate.cond);
	while (!gate.open)
		pthread_cond_wait(&gate.cond, &gate.mutex);
	pthread_mutex_unlock(&gate.mutex);
	memset(buf, (int)(off / SIZE), len);
	return gate.result ? gate.result : (ssize_t)len;
}

static void gate_close(void *ctx)
{
	(void)ctx;
}

static void *get_in_thread(void *arg)
{
	struct slice *s;
	int *r = arg;

	*r = tablecache_get(tc, 6 * SIZE, &s);
	if (*r == 0) {
		if (*(unsigned char *)s->data != 6)
			*r = 1;
		tablecache_put(tc, s);
	}
	return NULL;
}

static void join_waiters(int result)
{
	static const struct host_ops ops = { .pread = gate_pread,
					     .close = gate_close };
	pthread_t t[4];
	int r[4];

	gate.open = false;
	gate.result = result;
	gate.calls = 0;
	ck_assert_int_eq(hostfile_wrap(&file, &ops, NULL, "gate", false), 0);
	ck_assert_int_eq(tablecache_new(&tc, file, BITS, SIZE, 1 << 20), 0);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, get_in_thread, &r[i]);
	pthread_mutex_lock(&gate.mutex);
	while (!gate.calls)
		pthread_cond_wait(&gate.cond, &gate.mutex);
	pthread_mutex_unlock(&gate.mutex);
	usleep(200000); /* for the others to queue up */
	pthread_mutex_lock(&gate.mutex);
	gate.open = true;
	pthread_cond_broadcast(&gate.cond);
	pthread_mutex_unlock(&gate.mutex);
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		ck_assert_int_eq(r[i], result);
	}
	ck_assert_int_eq(gate.calls, 1);
	tablecache_free(tc);
	hostfile_close(file);
}

START_TEST(waiters)
{
	join_waiters(0);
	join_waiters(-EIO);
}
END_TEST

SUITE_MAIN("tablecache", hit_and_miss, eviction, cut_order, forget,
	   failed_reads, waiters)
