/*
 * test_read: reads of every kind of cluster against memory, and reads that
 * must fail.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/data/read.h"
#include "datafix.h"
#include "suite.h"

static struct datafix df;

static void begin(size_t i)
{
	datafix_build_row(&df, i);
	datafix_mix(&df);
	datafix_open(&df);
}

START_TEST(content)
{
	for (size_t i = 0; i < datafix_rows(); i++) {
		begin(i);
		for (int k = 0; k < 8; k++)
			ck_assert_msg(datafix_matches(&df), "row %zu", i);
		datafix_close(&df);
	}
}
END_TEST

/* The file ends inside the last data cluster: the rest is zero. */
START_TEST(cut_data)
{
	struct imgbuild_params p = { .cluster_bits = 12, .refcount_order = 4,
				     .size = 65536 };
	unsigned char buf[4096];
	uint64_t at;

	datafix_build(&df, &p, 0);
	datafix_open(&df); /* refcounts first, so that data comes last */
	memset(buf, 'a', sizeof(buf));
	imgbuild_l2_set(&df.fx.b, 0, 0);
	at = imgbuild_data(&df.fx.b, 0, buf, sizeof(buf));
	ck_assert_uint_eq(at + 4096, hostmem_size(df.fx.mem));
	ck_assert_int_eq(hostmem_resize(df.fx.mem, at + 1000), 0);
	datafix_reopen(&df);
	memset(df.want, 'a', 1000);
	ck_assert(datafix_matches(&df));
	datafix_close(&df);
}
END_TEST

/* Another program cuts the file under an open image: what lies behind the end
 * is an error, never zeroes. */
START_TEST(cut_under_us)
{
	struct imgbuild_params p = { .cluster_bits = 12, .refcount_order = 4,
				     .size = 65536 };
	unsigned char buf[8192];
	uint64_t at;

	memset(buf, 'a', sizeof(buf));
	datafix_build(&df, &p, 0);
	at = imgbuild_data(&df.fx.b, 0, buf, 4096);
	ck_assert_uint_eq(imgbuild_data(&df.fx.b, 4096, buf, 4096), at + 4096);
	datafix_open(&df);
	ck_assert_int_eq(hostmem_resize(df.fx.mem, at + 1000), 0);
	ck_assert_int_eq(read_range(&df.d, buf, 2000, 0), 0);
	ck_assert_int_eq(buf[999], 'a');
	ck_assert_int_eq(buf[1000], 0);
	ck_assert_int_eq(read_range(&df.d, buf, 512, 4096 + 512), -EIO);
	ck_assert_int_eq(read_range(&df.d, buf, 8192, 0), -EIO);
	datafix_close(&df);
}
END_TEST

START_TEST(failures)
{
	struct hostfault_rule eio = { HOSTFAULT_PREAD, HOSTFAULT_ERROR, -EIO, 0,
				      HOSTFAULT_FOREVER };
	struct imgbuild_params p = { .cluster_bits = 12, .refcount_order = 4,
				     .size = 65536 };
	unsigned char buf[8192] = { 0 };

	datafix_build(&df, &p, 65536);
	imgbuild_data(&df.fx.b, 0, buf, 4096);
	imgbuild_stream(&df.fx.b, 4096, "not a deflate stream", 20);
	imgbuild_compressed(&df.fx.b, 8192, buf);
	datafix_open(&df);
	ck_assert_int_eq(read_range(&df.d, buf, 100, 4096), -EIO);
	ck_assert_int_eq(read_range(&df.d, buf, 4096, 4096), -EIO);
	ck_assert_int_eq(read_range(&df.d, buf, 4096, 8192), 0);
	df.d.codec = NULL;
	ck_assert_int_eq(read_range(&df.d, buf, 100, 8192), -ENOTSUP);
	df.fail_backing = true;
	ck_assert_int_eq(read_range(&df.d, buf, 100, 12288), -EIO);
	df.fail_backing = false;
	ck_assert_int_eq(read_range(&df.d, buf, 100, 12288), 0);
	hostfault_set(df.fx.fault, &eio);
	ck_assert_int_eq(read_range(&df.d, buf, 100, 0), -EIO);
	ck_assert_int_eq(read_range(&df.d, buf, 100, 12288), 0); /* not there */
	hostfault_set(df.fx.fault, NULL);
	ck_assert_int_eq(read_range(&df.d, buf, 100, 0), 0);
	ck_assert(!atomic_load(&df.fx.m.corrupt));
	datafix_close(&df);
}
END_TEST

SUITE_MAIN("read", content, cut_data, cut_under_us, failures)
