/*
 * test_pack: compressed writes and the detection of zeroes against memory, with
 * other writes and discards between; how streams share clusters.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "core/data/detect.h"
#include "core/data/write.h"
#include "core/data/zero.h"
#include "datafix.h"
#include "suite.h"

static const struct {
	unsigned version, bits, order;
	uint64_t size, backing;
	bool zstd;
} rows[] = {
	{ 3, 12, 4, 262144, 0, false },
	{ 3, 12, 4, 200704 + 512, 150000, false }, /* ends inside a cluster */
	{ 2, 12, 4, 262144, 0, false },
	{ 3, 10, 1, 131072, 0, false }, /* a count of 3 at most */
	{ 3, 12, 0, 131072, 0, false }, /* no sharing: nothing to be gained */
	{ 3, 9, 4, 65536, 0, false },	/* nor here */
	{ 3, 16, 6, 262144, 100001, false },
#if defined(HAVE_ZSTD)
	{ 3, 12, 4, 262144, 0, true },
	{ 3, 16, 4, 262144 - 512, 0, true },
#endif
};

static struct datafix df;
static unsigned char data[DATAFIX_MAX];

static void begin(size_t i, bool mix)
{
	struct imgbuild_params p = { .version = rows[i].version,
				     .cluster_bits = rows[i].bits,
				     .refcount_order = rows[i].order,
				     .size = rows[i].size,
				     .zstd = rows[i].zstd };

	srand((unsigned)i);
	datafix_build(&df, &p, rows[i].backing);
	if (mix)
		datafix_mix(&df);
	datafix_open(&df);
	df.d.compress = true;
}

/* Text that compresses to a third or so, zeroes, or noise. */
static void make(size_t len)
{
	int kind = rand() % 4;

	for (size_t i = 0; i < len; i++)
		data[i] = kind == 0 ? (unsigned char)rand()
				    : (unsigned char)(i % 61 == 0 ? (size_t)rand() :
								    i % 61);
	if (kind == 1)
		memset(data, 0, len);
}

static void put(uint64_t off, uint64_t len)
{
	make((size_t)len);
	ck_assert_int_eq(write_range(&df.d, data, (size_t)len, off), 0);
	memcpy(df.want + off, data, (size_t)len);
}

static unsigned compressed_entries(void)
{
	unsigned n = 0;

	for (uint64_t at = 0; at < df.fx.g.size; at += df.fx.b.csize)
		n += imgbuild_l2_get(&df.fx.b, at) >> 62 & 1;
	return n;
}

static void check_counts(size_t i)
{
	unsigned high;

	ck_assert_int_eq(writeback_all(&df.fx.m), 0);
	ck_assert_msg(metafix_compare(&df.fx, &high) == 0, "row %zu", i);
	ck_assert_msg(high == 0, "row %zu: %u leaks", i, high);
}

START_TEST(content)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		uint64_t size = rows[i].size;
		bool can = rows[i].order > 0 && rows[i].bits > 9;

		begin(i, true);
		for (int k = 0; k < 120; k++) {
			uint64_t off = (uint64_t)rand() % size;
			uint64_t len = 1 + (uint64_t)rand() % 40000;

			if (rand() % 3) {
				off = num_round_down(off, df.fx.b.csize);
				len = num_round_up(len, df.fx.b.csize);
			}
			len = NUM_MIN(len, size - off);
			if (rand() % 4 == 0) {
				ck_assert_int_eq(zero_range(&df.d, off, len,
							    rand() % 2),
						 0);
				memset(df.want + off, 0, len);
			} else {
				put(off, len);
			}
			if (k % 10 == 0)
				check_counts(i);
		}
		ck_assert_msg(datafix_matches(&df), "row %zu", i);
		check_counts(i);
		datafix_reopen(&df);
		ck_assert_msg(datafix_matches(&df), "row %zu", i);
		ck_assert_int_eq(zero_range(&df.d, 0, size, true), 0);
		memset(data, 1, (size_t)size);
		ck_assert_int_eq(write_range(&df.d, data, (size_t)size, 0), 0);
		check_counts(i);
		ck_assert_msg((compressed_entries() ==
			       num_div_ceil(size, df.fx.b.csize)) == can,
			      "row %zu", i);
		datafix_close(&df);
	}
}
END_TEST

/* Streams stand one behind the other, across clusters. */
START_TEST(packing)
{
	uint64_t before, used;

	begin(0, false);
	before = atomic_load(&df.fx.m.end_hidx);
	for (uint64_t at = 0; at < 262144; at += 4096) {
		memset(data, (int)(at >> 12) + 1, 4096);
		for (int k = 0; k < 1500; k++)
			data[rand() % 4096] = (unsigned char)rand();
		ck_assert_int_eq(write_range(&df.d, data, 4096, at), 0);
		memcpy(df.want + at, data, 4096);
	}
	check_counts(0);
	ck_assert_uint_eq(compressed_entries(), 64);
	ck_assert(datafix_matches(&df));
	used = atomic_load(&df.fx.m.end_hidx) - before;
	ck_assert_msg(used <= 64 * 3 / 4, "%u clusters", (unsigned)used);
	datafix_close(&df);
}
END_TEST

/* The cluster with room for the next stream loses its last one. */
START_TEST(emptied)
{
	begin(0, false);
	for (int k = 0; k < 50; k++) {
		uint64_t at = (uint64_t)(rand() % 8) * 4096;

		memset(data, k + 1, 4096);
		ck_assert_int_eq(write_range(&df.d, data, 4096, at), 0);
		ck_assert_int_eq(zero_range(&df.d, at, 4096, true), 0);
		ck_assert_int_eq(writeback_all(&df.fx.m), 0);
		ck_assert_uint_eq(df.fx.m.alloc.bytes_at, 0);
		/* what was freed is somebody else's now */
		ck_assert_int_eq(write_range(&df.d, data, 100, 40960), 0);
		ck_assert_int_eq(zero_range(&df.d, 40960, 4096, true), 0);
	}
	check_counts(0);
	ck_assert(datafix_matches(&df));
	datafix_close(&df);
}
END_TEST

START_TEST(failures)
{
	struct hostfault_rule rule = { HOSTFAULT_PWRITE, HOSTFAULT_ERROR,
				       -ENOSPC, 0, 1 };

	begin(0, false);
	put(0, 4096);
	memcpy(data, df.want, 4096);
	memset(data, 7, 4096);
	hostfault_set(df.fx.fault, &rule);
	ck_assert_int_eq(write_range(&df.d, data, 4096, 0), -ENOSPC);
	hostfault_set(df.fx.fault, NULL);
	ck_assert(datafix_matches(&df));
	check_counts(0);
	ck_assert_int_eq(write_range(&df.d, data, 4096, 0), 0);
	memcpy(df.want, data, 4096);
	ck_assert(datafix_matches(&df));
	check_counts(0);
	datafix_close(&df);
}
END_TEST

START_TEST(zeroes)
{
	for (int unmap = 0; unmap < 2; unmap++) {
		begin(0, false);
		df.d.compress = false;
		memset(data, 1, 65536);
		memset(data + 8192, 0, 16384);
		ck_assert_int_eq(detect_write(&df.d, data, 65536, 0, unmap), 0);
		memcpy(df.want, data, 65536);
		/* over data: whole clusters and a part */
		memset(data, 0, 12000);
		ck_assert_int_eq(detect_write(&df.d, data, 12000, 32768, unmap),
				 0);
		memset(df.want + 32768, 0, 12000);
		data[100] = 1;
		ck_assert_int_eq(detect_write(&df.d, data, 101, 131072, unmap),
				 0);
		df.want[131172] = 1;
		ck_assert(datafix_matches(&df));
		check_counts(0);
		/* nothing was there: nothing is taken */
		ck_assert_uint_eq(imgbuild_l2_get(&df.fx.b, 12288) &
					  ~IMGBUILD_COPIED & ~1ULL,
				  0);
		/* something was: kept or given back */
		ck_assert_uint_eq((imgbuild_l2_get(&df.fx.b, 32768) &
				   ~IMGBUILD_COPIED & ~1ULL) != 0,
				  !unmap);
		ck_assert_uint_ne(imgbuild_l2_get(&df.fx.b, 32768 + 8192), 0);
		datafix_close(&df);
	}
}
END_TEST

SUITE_MAIN("pack", content, packing, emptied, failures, zeroes)
