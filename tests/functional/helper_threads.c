/*
 * helper_threads: several threads on one disk against counters in memory.
 *
 * The disk is cut in blocks of 4 KiB. Each has a counter and a mutex: a write
 * raises the counters of its blocks and fills them with a pattern made from
 * (block, counter), a punch sets them to 0, a read compares. Blocks are far
 * smaller than clusters, so that threads meet in one cluster all the time but
 * never in one block. Stripes of 256 KiB are used in turn through the page
 * cache and through O_DIRECT, because the kernel promises nothing for a page
 * that is used both ways at once.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "helpers.h"

#define BLOCK	4096u
#define STRIPE	64u /* blocks */
#define SPAN	16u /* blocks in one operation, at most */

static struct {
	const char *path;
	uint64_t blocks, ops, seed;
	uint64_t *counter;
	pthread_mutex_t *mutex;
	uint64_t bad; /* atomic */
} t;

static void block_fill(char *buf, uint64_t block, uint64_t counter)
{
	if (counter)
		helpers_fill(buf, BLOCK, block * BLOCK, counter);
	else
		memset(buf, 0, BLOCK);
}

static void span_lock(uint64_t b, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		pthread_mutex_lock(&t.mutex[b + i]);
}

static void span_unlock(uint64_t b, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		pthread_mutex_unlock(&t.mutex[b + i]);
}

static void span_compare(int fd, char *buf, uint64_t b, uint64_t n)
{
	char want[BLOCK];

	helpers_pread(fd, buf, n * BLOCK, b * BLOCK);
	for (uint64_t i = 0; i < n; i++) {
		block_fill(want, b + i, t.counter[b + i]);
		if (!memcmp(want, buf + i * BLOCK, BLOCK))
			continue;
		__atomic_fetch_add(&t.bad, 1, __ATOMIC_RELAXED);
		printf("block %" PRIu64 " is not at counter %" PRIu64 "\n",
		       b + i, t.counter[b + i]);
	}
}

static void span_write(int fd, char *buf, uint64_t b, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		block_fill(buf + i * BLOCK, b + i, ++t.counter[b + i]);
	helpers_pwrite(fd, buf, n * BLOCK, b * BLOCK);
}

static void span_zero(int fd, uint64_t b, uint64_t n, int mode)
{
	for (uint64_t i = 0; i < n; i++)
		t.counter[b + i] = 0;
	if (fallocate(fd, mode, (off_t)(b * BLOCK), (off_t)(n * BLOCK)))
		helpers_die("fallocate");
}

static void *worker(void *arg)
{
	uint64_t rnd = t.seed * 1000 + (uintptr_t)arg;
	int fds[2] = { helpers_open(t.path, NULL),
		       helpers_open(t.path, "direct") };
	char *buf = helpers_buffer(SPAN * BLOCK);

	for (uint64_t k = 0; k < t.ops; k++) {
		uint64_t b = helpers_random(&rnd) % t.blocks;
		uint64_t n = 1 + helpers_random(&rnd) % SPAN;
		uint64_t room = STRIPE - b % STRIPE;
		int fd = fds[b / STRIPE % 2];
		unsigned what = helpers_random(&rnd) % 100;

		if (n > room)
			n = room;
		span_lock(b, n);
		if (what < 45)
			span_write(fd, buf, b, n);
		else if (what < 85)
			span_compare(fd, buf, b, n);
		else if (what < 92)
			span_zero(fd, b, n, FALLOC_FL_PUNCH_HOLE |
						    FALLOC_FL_KEEP_SIZE);
		else if (what < 98)
			span_zero(fd, b, n, FALLOC_FL_ZERO_RANGE |
						    FALLOC_FL_KEEP_SIZE);
		span_unlock(b, n);
		if (what >= 98 && fsync(fd))
			helpers_die("fsync");
	}
	close(fds[0]);
	close(fds[1]);
	free(buf);
	return NULL;
}

/* Read all again, and write what it should be to OUT. */
static void finish(const char *out)
{
	int fd = helpers_open(t.path, "ro");
	FILE *f = fopen(out, "w");
	char buf[BLOCK];

	if (!f)
		helpers_die(out);
	for (uint64_t b = 0; b < t.blocks; b++) {
		span_compare(fd, buf, b, 1);
		block_fill(buf, b, t.counter[b]);
		if (fwrite(buf, BLOCK, 1, f) != 1)
			helpers_die(out);
	}
	if (fclose(f))
		helpers_die(out);
	close(fd);
}

/* threads FILE THREADS OPS SEED OUT: the file reads zero at the start */
int helpers_threads(int argc, char **argv)
{
	uint64_t n = helpers_num(argv[2]);
	pthread_t *tids = calloc(n, sizeof(*tids));
	int fd = helpers_open(argv[1], "ro");

	(void)argc;
	t.path = argv[1];
	t.blocks = (uint64_t)lseek(fd, 0, SEEK_END) / BLOCK;
	t.ops = helpers_num(argv[3]);
	t.seed = helpers_num(argv[4]);
	t.counter = calloc(t.blocks, sizeof(*t.counter));
	t.mutex = calloc(t.blocks, sizeof(*t.mutex));
	close(fd);
	if (!tids || !t.counter || !t.mutex)
		helpers_die("memory");
	for (uint64_t i = 0; i < t.blocks; i++)
		pthread_mutex_init(&t.mutex[i], NULL);
	for (uint64_t i = 0; i < n; i++)
		if (pthread_create(&tids[i], NULL, worker, (void *)(i + 1)))
			helpers_die("pthread_create");
	for (uint64_t i = 0; i < n; i++)
		pthread_join(tids[i], NULL);
	finish(argv[5]);
	printf("%" PRIu64 " bad blocks, seed %" PRIu64 "\n", t.bad, t.seed);
	free(tids);
	free(t.counter);
	free(t.mutex);
	return t.bad != 0;
}

/* --- SEEK_DATA by several at once ---------------------------------------------- */

static void *seeker(void *arg)
{
	uint64_t off = (uintptr_t)arg * BLOCK;
	int fd = helpers_open(t.path, NULL);
	char buf[BLOCK];

	memset(buf, 'x', sizeof(buf));
	for (uint64_t k = 0; k < t.ops; k++) {
		helpers_pwrite(fd, buf, sizeof(buf), off);
		if (lseek(fd, (off_t)off, SEEK_DATA) != (off_t)off)
			helpers_die("SEEK_DATA");
	}
	close(fd);
	return NULL;
}

/* seekers FILE THREADS N: each writes and seeks N times */
int helpers_seekers(int argc, char **argv)
{
	uint64_t n = helpers_num(argv[2]);
	pthread_t *tids = calloc(n, sizeof(*tids));

	(void)argc;
	t.path = argv[1];
	t.ops = helpers_num(argv[3]);
	if (!tids)
		helpers_die("memory");
	for (uint64_t i = 0; i < n; i++)
		if (pthread_create(&tids[i], NULL, seeker, (void *)(i + 1)))
			helpers_die("pthread_create");
	for (uint64_t i = 0; i < n; i++)
		pthread_join(tids[i], NULL);
	free(tids);
	return 0;
}
