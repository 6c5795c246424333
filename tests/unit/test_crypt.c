/*
 * test_crypt: encrypted disks against memory: writes of any range, parts of
 * sectors from many threads, and what stands in the host file.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "core/data/read.h"
#include "core/data/write.h"
#include "core/data/zero.h"
#include "core/meta/l2map.h"
#include "datafix.h"
#include "suite.h"

static const struct {
	unsigned version, bits;
	uint64_t size, backing;
	const char *mode;
	bool guest, extended, data_file;
} rows[] = {
	{ 3, 9, 100000 / 512 * 512, 0, "xts", false, false, false },
	{ 3, 12, 200704 + 512, 0, "xts", false, false, false },
	{ 3, 12, 200704 + 512, 150000, "cbc", false, false, false },
	{ 2, 12, 200704 + 512, 200000, "cbc", true, false, false },
	{ 3, 16, 262144 - 512, 100001, "cbc", true, false, false },
	{ 3, 16, 262144, 0, "xts", false, false, false },
	/* subclusters as small as a sector of the cipher, and larger */
	{ 3, 14, 200704 + 512, 150000, "xts", false, true, false },
	{ 3, 16, 262144 - 512, 100001, "cbc", true, true, false },
	{ 3, 12, 200704 + 512, 150000, "xts", false, false, true },
	{ 3, 16, 262144 - 512, 0, "cbc", false, false, true },
	{ 3, 14, 200704 + 512, 150000, "xts", false, true, true },
};

static struct datafix df;
static struct crypt crypt;

static struct cipher *make(const char *mode)
{
	static const uint8_t key[32] = "0123456789abcdefghijklmnopqrstuv";
	const struct cipher_spec s = { "aes", mode, "plain64", "", 32 };
	struct cipher *c;

	ck_assert_int_eq(cipher_new(&c, &s, key, NULL), 0);
	return c;
}

/* Guest cluster GIDX compressed, which is not encrypted. */
static void put_stream(unsigned gidx)
{
	struct imgbuild *b = &df.fx.b;
	unsigned char *want = df.want + gidx * b->csize;

	if (b->p.data_file)
		return;
	memset(want, 0x5a, b->csize);
	imgbuild_compressed(b, gidx * b->csize, want);
}

static void begin(int i)
{
	struct imgbuild_params p = { .version = rows[i].version,
				     .cluster_bits = rows[i].bits,
				     .refcount_order = 4,
				     .size = rows[i].size,
				     .extended = rows[i].extended,
				     .data_file = rows[i].data_file };

	srand((unsigned)i);
	datafix_build(&df, &p, rows[i].backing);
	/* reserved clusters, whose content means nothing */
	if (p.version == 3) {
		imgbuild_zero_alloc(&df.fx.b, 2 * df.fx.b.csize);
		memset(df.want + 2 * df.fx.b.csize, 0, df.fx.b.csize);
	}
	put_stream(1);
	datafix_open(&df);
	crypt_init(&crypt, make(rows[i].mode), rows[i].guest);
	df.d.crypt = &crypt;
}

static void end(void)
{
	crypt_fini(&crypt);
	df.d.crypt = NULL;
	datafix_close(&df);
}

static void write_some(uint64_t off, uint64_t len)
{
	static unsigned char buf[DATAFIX_MAX];

	for (uint64_t i = 0; i < len; i++)
		buf[i] = (unsigned char)rand();
	ck_assert_int_eq(write_range(&df.d, buf, len, off), 0);
	memcpy(df.want + off, buf, len);
}

START_TEST(test_random)
{
	begin(_i);
	ck_assert(datafix_matches(&df));
	for (int k = 0; k < 120; k++) {
		uint64_t off = (uint64_t)rand() % rows[_i].size;
		uint64_t max = NUM_MIN(rows[_i].size - off,
				       k % 3 ? 2000 : 70000);
		uint64_t len = 1 + (uint64_t)rand() % max;

		if (k % 5) {
			write_some(off, len);
		} else {
			ck_assert_int_eq(zero_range(&df.d, off, len, k % 2), 0);
			memset(df.want + off, 0, len);
		}
	}
	ck_assert(datafix_matches(&df));
	end();
}
END_TEST

/* The file that holds the data holds what the cipher makes of it, sector by
 * sector; each numbered by where it lies there, unless on the disk. */
START_TEST(test_host_content)
{
	unsigned char host[512], plain[512];
	struct extent e;
	struct cipher *c = make(rows[_i].mode);

	begin(_i);
	write_some(0, rows[_i].size);
	for (uint64_t off = 0; off < rows[_i].size; off += 512) {
		uint64_t sector;

		ck_assert_int_eq(l2map_lookup(df.d.meta, off, 512, &e), 0);
		ck_assert_int_eq(hostfile_pread_full(df.d.data, host, 512,
						     e.hoff), 0);
		ck_assert(memcmp(host, df.want + off, 512) != 0);
		sector = (rows[_i].guest ? off : e.hoff) / 512;
		ck_assert_int_eq(cipher_decrypt(c, plain, host, 512, sector),
				 0);
		ck_assert_mem_eq(plain, df.want + off, 512);
	}
	cipher_free(c);
	end();
}
END_TEST

START_TEST(test_no_key)
{
	unsigned char buf[512];

	begin(1);
	write_some(0, 1000);
	cipher_free(crypt.cipher);
	crypt.cipher = NULL;
	ck_assert_int_eq(read_range(&df.d, buf, 512, 0), -ENOKEY);
	ck_assert_int_eq(write_range(&df.d, buf, 512, 0), -ENOKEY);
	ck_assert_int_eq(write_range(&df.d, buf, 512, 100000), -ENOKEY);
	/* zeroes need none */
	ck_assert_int_eq(zero_range(&df.d, 0, 4096, true), 0);
	ck_assert_int_eq(read_range(&df.d, buf, 512, 0), 0);
	end();
}
END_TEST

/* --- threads: byte K of every AREA bytes belongs to writer K / OWN ------------ */

enum { WRITERS = 3, OWN = 150, AREA = WRITERS * OWN + 50, SPAN = 16 * AREA };

static atomic_bool stop;

/* A host whose writes can be seen half done, as files of most hosts can. */
static const struct host_ops *whole_ops;

static ssize_t torn_pwrite(void *ctx, const void *buf, size_t len, uint64_t off)
{
	size_t half = len / 2;

	if (whole_ops->pwrite(ctx, buf, half, off) != (ssize_t)half)
		return -EIO;
	sched_yield();
	if (whole_ops->pwrite(ctx, (const char *)buf + half, len - half,
			      off + half) != (ssize_t)(len - half))
		return -EIO;
	return (ssize_t)len;
}

static void *writer(void *arg)
{
	uintptr_t me = (uintptr_t)arg;
	unsigned char buf[OWN];

	for (int round = 0; round < 60; round++) {
		memset(buf, (int)(round + 1), sizeof(buf));
		for (uint64_t a = 0; a < SPAN; a += AREA)
			ck_assert_int_eq(write_range(&df.d, buf, OWN,
						     a + me * OWN), 0);
	}
	return NULL;
}

/* Whole sectors beside the parts: the first SPAN bytes stay the others'. */
static void *whole_writer(void *arg)
{
	static unsigned char buf[8192];
	uint64_t from = num_round_up(SPAN, 512);

	memset(buf, 0x77, sizeof(buf));
	for (int round = 0; round < 200; round++)
		ck_assert_int_eq(write_range(&df.d, buf, sizeof(buf), from), 0);
	return arg;
}

/* Nobody writes the last 50 bytes of an area: they read the same for ever. */
static void *reader(void *arg)
{
	unsigned char buf[AREA];

	while (!atomic_load(&stop)) {
		for (uint64_t a = 0; a < SPAN; a += AREA) {
			ck_assert_int_eq(read_range(&df.d, buf, AREA, a), 0);
			for (unsigned k = WRITERS * OWN; k < AREA; k++)
				ck_assert_uint_eq(buf[k], 0xee);
			for (unsigned k = 0; k < WRITERS; k++)
				ck_assert_uint_le(buf[k * OWN], 60);
		}
	}
	return arg;
}

static void run_threads(int row)
{
	pthread_t t[WRITERS + 2];
	unsigned char all[SPAN];
	struct host_ops torn;

	begin(row);
	whole_ops = df.d.file->ops;
	torn = *whole_ops;
	torn.pwrite = torn_pwrite;
	df.d.file->ops = &torn;
	write_some(0, SPAN + 10000); /* in place from now on */
	memset(all, 0, sizeof(all));
	for (unsigned a = 0; a < SPAN; a += AREA)
		memset(all + a + WRITERS * OWN, 0xee, AREA - WRITERS * OWN);
	ck_assert_int_eq(write_range(&df.d, all, SPAN, 0), 0);
	atomic_store(&stop, false);
	pthread_create(&t[0], NULL, reader, NULL);
	pthread_create(&t[1], NULL, whole_writer, NULL);
	for (uintptr_t i = 0; i < WRITERS; i++)
		pthread_create(&t[2 + i], NULL, writer, (void *)i);
	for (unsigned i = 1; i < WRITERS + 2; i++)
		pthread_join(t[i], NULL);
	atomic_store(&stop, true);
	pthread_join(t[0], NULL);
	ck_assert_int_eq(read_range(&df.d, all, SPAN, 0), 0);
	for (unsigned k = 0; k < SPAN; k++)
		ck_assert_uint_eq(all[k],
				  k % AREA < WRITERS * OWN ? 60 : 0xee);
	df.d.file->ops = whole_ops;
	end();
}

START_TEST(test_threads)
{
	run_threads(1);
	run_threads(2);
	run_threads(4);
}
END_TEST

#define ROWS (sizeof(rows) / sizeof(rows[0]))

SUITE_MAIN_LOOPS("crypt", { test_random, ROWS }, { test_host_content, ROWS },
		 { test_no_key, 1 }, { test_threads, 1 })
