/*
 * stress: several threads on one open image against counters in memory, for
 * ThreadSanitizer and for races that need real threads.
 *
 * The disk is cut in blocks of 1 KiB with a counter and a mutex each; a thread
 * owns the blocks of its operation while it works, so that threads share
 * clusters and tables all the time but never a block. The committer runs too.
 *
 * usage: stress [--seed N] [--combo K]
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/num.h"
#include "core/admin/snapshot.h"
#include "core/image/image.h"
#include "tests/compat/combo.h"

#define BLOCK 1024u
#define SPAN 48u /* below the 64 held locks that TSan can follow */
#define THREADS 4

static struct {
	struct image *img;
	uint64_t blocks, ops, seed;
	uint64_t *counter; /* 0: zero */
	pthread_mutex_t *mutex;
	int bad; /* atomic */
	int over; /* atomic: the workers have ended */
} s;

static void block_fill(unsigned char *buf, uint64_t b)
{
	if (s.counter[b])
		combo_fill(buf, BLOCK, b << 24 ^ s.counter[b]);
	else
		memset(buf, 0, BLOCK);
}

static void complain(const char *what, uint64_t b, int e)
{
	__atomic_store_n(&s.bad, 1, __ATOMIC_RELAXED);
	fprintf(stderr, "block %" PRIu64 ": %s: %s\n", b, what,
		e ? strerror(-e) : "differs");
}

static void span_read(unsigned char *buf, uint64_t b, uint64_t n)
{
	unsigned char want[BLOCK];
	int e = image_read(s.img, buf, n * BLOCK, b * BLOCK);

	if (e)
		complain("read", b, e);
	for (uint64_t i = 0; !e && i < n; i++) {
		block_fill(want, b + i);
		if (memcmp(want, buf + i * BLOCK, BLOCK))
			complain("read", b + i, 0);
	}
}

static void span_write(unsigned char *buf, uint64_t b, uint64_t n)
{
	int e;

	for (uint64_t i = 0; i < n; i++) {
		s.counter[b + i]++;
		block_fill(buf + i * BLOCK, b + i);
	}
	e = image_write(s.img, buf, n * BLOCK, b * BLOCK);
	if (e)
		complain("write", b, e);
}

static void span_zero(uint64_t b, uint64_t n, bool unmap)
{
	int e = image_zero(s.img, b * BLOCK, n * BLOCK, unmap);

	if (e)
		complain("zero", b, e);
	memset(&s.counter[b], 0, n * sizeof(*s.counter));
}

static void *worker(void *arg)
{
	unsigned char *buf = malloc(SPAN * BLOCK);
	uint64_t rnd = s.seed * 100 + (uintptr_t)arg;

	for (uint64_t k = 0; buf && k < s.ops; k++) {
		uint64_t b = combo_random(&rnd) % s.blocks;
		uint64_t n = 1 + combo_random(&rnd) % SPAN;
		unsigned what = (unsigned)(combo_random(&rnd) % 100);

		n = NUM_MIN(n, s.blocks - b);
		if (what >= 98) {
			int e = image_flush(s.img);

			if (e)
				complain("flush", 0, e);
			continue;
		}
		for (uint64_t i = 0; i < n; i++)
			pthread_mutex_lock(&s.mutex[b + i]);
		if (what < 45)
			span_write(buf, b, n);
		else if (what < 82)
			span_read(buf, b, n);
		else
			span_zero(b, n, what < 94);
		for (uint64_t i = 0; i < n; i++)
			pthread_mutex_unlock(&s.mutex[b + i]);
	}
	free(buf);
	return NULL;
}

/* Takes snapshots under the workers' hands and deletes them again; what they
 * see does not change. Narrow refcounts may be full. */
static void *snapshotter(void *arg)
{
	const struct timespec pause = { 0, 3000000 };
	struct err err = { "" };

	(void)arg;
	while (!__atomic_load_n(&s.over, __ATOMIC_RELAXED)) {
		int e = snapshot_create(s.img, "under load", &err);

		nanosleep(&pause, NULL);
		if (e == -ENOTSUP || e == -ERANGE)
			continue;
		if (e == 0)
			e = snapshot_delete(s.img, "under load", &err);
		if (e) {
			fprintf(stderr, "%s\n", err.text);
			complain("snapshot", 0, e);
			break;
		}
	}
	return NULL;
}

/* The blocks start as zero: the images have content of their own. */
static int start(const struct combo *c)
{
	struct image_opts opts = { .l2_cache_size = 1,
				   .refcount_cache_size = 1 };
	struct err err = { "" };
	int e = image_open(&s.img, "img", &opts, &err);

	if (e) {
		fprintf(stderr, "open: %s\n", err.text);
		return e;
	}
	s.blocks = c->size / BLOCK;
	e = image_zero(s.img, 0, c->size, true);
	if (e)
		complain("first zero", 0, e);
	return e ? e : image_start_committer(s.img, 1);
}

static int finish(const struct combo *c)
{
	unsigned char *all = calloc(1, c->size);
	unsigned char buf[BLOCK];
	int e;

	for (uint64_t b = 0; b < s.blocks; b++) {
		span_read(buf, b, 1);
		block_fill(all + b * BLOCK, b);
	}
	e = image_close(s.img);
	combo_save("oracle.raw", all, c->size);
	free(all);
	if (e)
		complain("close", 0, e);
	if (combo_run("qemu-img", "check", "img", NULL) ||
	    combo_run("qemu-img", "compare", "-f", "qcow2", "-F", "raw", "img",
		      "oracle.raw", NULL)) {
		combo_show();
		s.bad = 1;
	}
	return s.bad;
}

static int run_combo(size_t k)
{
	pthread_t tids[THREADS], snap;
	struct combo c;
	char text[128];
	int bad;

	combo_get(k, &c);
	s.bad = s.over = 0;
	s.counter = calloc(c.size / BLOCK, sizeof(*s.counter));
	s.mutex = calloc(c.size / BLOCK, sizeof(*s.mutex));
	if (!s.counter || !s.mutex || combo_make(&c, s.seed + k) || start(&c))
		exit(1);
	for (uint64_t i = 0; i < s.blocks; i++)
		pthread_mutex_init(&s.mutex[i], NULL);
	for (uintptr_t i = 0; i < THREADS; i++)
		if (pthread_create(&tids[i], NULL, worker, (void *)i))
			exit(1);
	if (pthread_create(&snap, NULL, snapshotter, NULL))
		exit(1);
	for (int i = 0; i < THREADS; i++)
		pthread_join(tids[i], NULL);
	__atomic_store_n(&s.over, 1, __ATOMIC_RELAXED);
	pthread_join(snap, NULL);
	bad = finish(&c);
	printf("%s: %s (--seed %" PRIu64 " --combo %zu)\n",
	       bad ? "FAILED" : "ok", combo_text(&c, text), s.seed, k);
	free(s.counter);
	free(s.mutex);
	return bad;
}

static const struct option options[] = {
	{ "seed", required_argument, NULL, 's' },
	{ "combo", required_argument, NULL, 'c' },
	{ 0 },
};

int main(int argc, char **argv)
{
	const char *scale = getenv("RAWCOW_TEST_SCALE");
	char folder[64];
	size_t first = 0, n = 16;
	int bad = 0;

	s.seed = (uint64_t)time(NULL);
	s.ops = 1500;
	if (scale && !strcmp(scale, "small")) {
		n = 3;
		s.ops = 400;
	} else if (scale && !strcmp(scale, "full")) {
		n = combo_count() / 4;
	}
	for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (o == '?')
			return 2;
		if (o == 's')
			s.seed = strtoull(optarg, NULL, 0);
		if (o == 'c') {
			first = strtoull(optarg, NULL, 0);
			n = 1;
		}
	}
	combo_enter(folder);
	if (combo_run("qemu-img", "--version", NULL)) {
		printf("SKIPPED: qemu-img is not installed\n");
		combo_run("rm", "-rf", folder, NULL);
		return 77;
	}
	for (size_t k = first; k < first + n; k++)
		bad |= run_combo(k);
	combo_run("rm", "-rf", folder, NULL);
	return bad;
}
