/*
 * test_write: random writes against memory: into mapped, compressed, zero,
 * shared and unallocated clusters; and that refcounts are exact afterwards.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "core/data/write.h"
#include "datafix.h"
#include "suite.h"

static struct datafix df;

static void begin(size_t i)
{
	datafix_build_row(&df, i);
	datafix_mix(&df);
	datafix_open(&df);
}

static int write_some(uint64_t off, uint64_t len)
{
	static unsigned char buf[DATAFIX_MAX];
	int r;

	for (uint64_t i = 0; i < len; i++)
		buf[i] = (unsigned char)rand();
	r = write_range(&df.d, buf, len, off);
	if (r == 0)
		memcpy(df.want + off, buf, len);
	return r;
}

START_TEST(content)
{
	for (size_t i = 0; i < datafix_rows(); i++) {
		unsigned high;

		begin(i);
		for (int k = 0; k < 60; k++) {
			uint64_t off = (uint64_t)rand() % df.fx.b.p.size;
			uint64_t len = 1 + (uint64_t)rand() % 9000;

			len = NUM_MIN(len, df.fx.b.p.size - off);
			ck_assert_int_eq(write_some(off, len), 0);
			if (k % 10 == 0)
				ck_assert_int_eq(writeback_flush(&df.fx.m), 0);
		}
		ck_assert_msg(datafix_matches(&df), "row %zu", i);
		ck_assert_int_eq(writeback_all(&df.fx.m), 0);
		ck_assert_uint_eq(metafix_compare(&df.fx, &high), 0);
		ck_assert_uint_eq(high, 0);
		datafix_reopen(&df);
		ck_assert_msg(datafix_matches(&df), "row %zu", i);
		datafix_close(&df);
	}
}
END_TEST

/* No write path syncs; clusters that are the image's own stay where they are,
 * shared ones do not. */
START_TEST(places)
{
	struct imgbuild_params p = { .cluster_bits = 12, .refcount_order = 4,
				     .size = 65536 };
	uint64_t own, reserved, shared;

	datafix_build(&df, &p, 0);
	shared = imgbuild_data(&df.fx.b, 0, "a", 1);
	df.want[0] = 'a';
	imgbuild_snapshot(&df.fx.b, "1", "s");
	own = imgbuild_data(&df.fx.b, 4096, "b", 1);
	df.want[4096] = 'b';
	reserved = imgbuild_zero_alloc(&df.fx.b, 8192);
	datafix_open(&df);
	ck_assert_int_eq(write_some(100, 12000), 0);
	ck_assert_uint_eq(metafix_count(&df.fx, HOSTRECORD_SYNC_BEGIN), 0);
	ck_assert(datafix_matches(&df));
	ck_assert_int_eq(writeback_all(&df.fx.m), 0);
	ck_assert_uint_ne(imgbuild_l2_get(&df.fx.b, 0) & ~IMGBUILD_COPIED,
			  shared);
	ck_assert_uint_eq(imgbuild_l2_get(&df.fx.b, 4096),
			  own | IMGBUILD_COPIED);
	ck_assert_uint_eq(imgbuild_l2_get(&df.fx.b, 8192),
			  reserved | IMGBUILD_COPIED);
	ck_assert_uint_eq(imgbuild_peek(&df.fx.b, shared, 2), 'a' << 8);
	ck_assert_uint_eq(metafix_refcount(&df.fx, shared / 4096), 1);
	datafix_close(&df);
}
END_TEST

/* A write that fails leaves the old content and leaks nothing. */
START_TEST(failures)
{
	struct hostfault_rule rule = { HOSTFAULT_ALL & ~HOSTFAULT_SYNC,
				       HOSTFAULT_ERROR, -EIO, 0, 1 };
	bool hit = true;

	for (rule.skip = 0; hit; rule.skip++) {
		struct imgbuild_params p = { .cluster_bits = 12,
					     .refcount_order = 4,
					     .size = 65536 };
		unsigned char fill[4096];
		unsigned high;

		memset(fill, 5, sizeof(fill));
		datafix_build(&df, &p, 0);
		imgbuild_compressed(&df.fx.b, 4096, fill);
		memcpy(df.want + 4096, fill, 4096);
		datafix_open(&df);
		hostfault_set(df.fx.fault, &rule);
		hit = write_some(4196, 500) != 0;
		ck_assert_int_eq(hit, hostfault_hits(df.fx.fault) == 1);
		hostfault_set(df.fx.fault, NULL);
		ck_assert(datafix_matches(&df));
		ck_assert_int_eq(writeback_all(&df.fx.m), 0);
		ck_assert_uint_eq(metafix_compare(&df.fx, &high), 0);
		ck_assert_uint_eq(high, 0);
		datafix_close(&df);
	}
	ck_assert_uint_ge(rule.skip, 3);
}
END_TEST

START_TEST(backing_fails)
{
	struct imgbuild_params p = { .cluster_bits = 12, .refcount_order = 4,
				     .size = 65536 };

	datafix_build(&df, &p, 65536);
	datafix_open(&df);
	df.fail_backing = true;
	ck_assert_int_eq(write_some(100, 100), -EIO);
	ck_assert_int_eq(write_some(8192, 4096), 0); /* needs none of it */
	df.fail_backing = false;
	ck_assert(datafix_matches(&df));
	datafix_close(&df);
}
END_TEST

/* What a write that failed has changed in place can be read, so a sync makes it
 * stay. */
START_TEST(half_done)
{
	struct hostfault_rule rule = { HOSTFAULT_PWRITE, HOSTFAULT_ERROR, -EIO,
				       1, 1 };
	struct imgbuild_params p = { .cluster_bits = 12, .refcount_order = 4,
				     .size = 65536 };

	datafix_build(&df, &p, 0);
	datafix_open(&df);
	/* two clusters that are no neighbours in the file */
	ck_assert_int_eq(write_some(4096, 4096), 0);
	ck_assert_int_eq(write_some(0, 4096), 0);
	ck_assert_int_eq(writeback_all(&df.fx.m), 0);
	hostrecord_clear(df.fx.rec);
	hostfault_set(df.fx.fault, &rule);
	ck_assert_int_eq(write_some(0, 8192), -EIO);
	ck_assert_uint_eq(hostfault_hits(df.fx.fault), 1);
	ck_assert_int_eq(writeback_flush(&df.fx.m), 0);
	ck_assert_str_eq(metafix_log(&df.fx), "WWS");
	datafix_close(&df);
}
END_TEST

SUITE_MAIN("write", content, places, failures, backing_fails, half_done)
