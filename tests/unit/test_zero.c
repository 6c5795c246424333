/*
 * test_zero: random zeroing and discarding, mixed with writes, against memory;
 * what stays mapped and what is freed.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "core/data/write.h"
#include "core/data/zero.h"
#include "datafix.h"
#include "suite.h"

static struct datafix df;

static void begin(size_t i)
{
	datafix_build_row(&df, i);
	datafix_mix(&df);
	datafix_open(&df);
}

static void zero(uint64_t off, uint64_t len, bool unmap)
{
	ck_assert_int_eq(zero_range(&df.d, off, len, unmap), 0);
	memset(df.want + off, 0, len);
}

START_TEST(content)
{
	for (size_t i = 0; i < datafix_rows(); i++) {
		uint64_t size;
		unsigned high;

		begin(i);
		size = df.fx.b.p.size;
		for (int k = 0; k < 60; k++) {
			uint64_t off = (uint64_t)rand() % size;
			uint64_t len = 1 + (uint64_t)rand() % 20000;

			if (rand() % 3 == 0)
				off = num_round_down(off, df.fx.b.csize);
			len = NUM_MIN(len, size - off);
			zero(off, len, rand() % 2);
			off = (uint64_t)rand() % (size - 10);
			ck_assert_int_eq(write_range(&df.d, "0123456789", 10,
						     off),
					 0);
			memcpy(df.want + off, "0123456789", 10);
		}
		zero(size - 700, 700, true); /* the end inside a cluster */
		ck_assert_msg(datafix_matches(&df), "row %zu", i);
		ck_assert_int_eq(writeback_all(&df.fx.m), 0);
		ck_assert_uint_eq(metafix_compare(&df.fx, &high), 0);
		ck_assert_uint_eq(high, 0);
		zero(0, size, true);
		ck_assert_int_eq(writeback_all(&df.fx.m), 0);
		datafix_reopen(&df);
		ck_assert_msg(datafix_matches(&df), "row %zu", i);
		datafix_close(&df);
	}
}
END_TEST

/* What one cluster's entry is after zeroing it: by version, backing file and
 * whether it is to be unmapped. */
START_TEST(entries)
{
	static const struct {
		unsigned version;
		bool backing, unmap, flag, place;
	} want[] = {
		{ 3, false, false, true, true },  { 3, false, true, false, false },
		{ 3, true, false, true, true },	  { 3, true, true, true, false },
		{ 2, false, false, false, true }, { 2, false, true, false, false },
		{ 2, true, false, false, true },  { 2, true, true, false, true },
	};

	for (size_t i = 0; i < sizeof(want) / sizeof(*want); i++) {
		struct imgbuild_params p = { .version = want[i].version,
					     .cluster_bits = 12,
					     .refcount_order = 4,
					     .size = 65536 };
		uint64_t at, e;

		datafix_build(&df, &p, want[i].backing ? 65536 : 0);
		at = imgbuild_data(&df.fx.b, 4096, "abc", 3);
		datafix_open(&df);
		zero(4096, 4096, want[i].unmap);
		ck_assert_int_eq(writeback_all(&df.fx.m), 0);
		e = imgbuild_l2_get(&df.fx.b, 4096);
		ck_assert_msg((e & 1) == want[i].flag, "row %zu", i);
		ck_assert_msg((e & ~(IMGBUILD_COPIED | 1)) ==
				      (want[i].place ? at : 0),
			      "row %zu", i);
		ck_assert_uint_eq(metafix_refcount(&df.fx, at / 4096),
				  want[i].place);
		if (!want[i].backing)
			memset(df.want + 4096, 0, 4096);
		ck_assert(datafix_matches(&df));
		datafix_close(&df);
	}
}
END_TEST

START_TEST(failures)
{
	struct hostfault_rule eio = { HOSTFAULT_PREAD, HOSTFAULT_ERROR, -EIO, 0,
				      HOSTFAULT_FOREVER };
	struct imgbuild_params p = { .cluster_bits = 12, .refcount_order = 4,
				     .size = 65536 };

	datafix_build(&df, &p, 0);
	imgbuild_data(&df.fx.b, 0, "abc", 3);
	memcpy(df.want, "abc", 3);
	datafix_open(&df);
	hostfault_set(df.fx.fault, &eio);
	ck_assert_int_eq(zero_range(&df.d, 0, 100, true), -EIO);
	ck_assert_int_eq(zero_range(&df.d, 0, 8192, true), -EIO);
	hostfault_set(df.fx.fault, NULL);
	ck_assert(datafix_matches(&df));
	datafix_close(&df);
}
END_TEST

/* A data file that is longer than the disk, such as a device, keeps what it has
 * behind it, also where the disk ends within a cluster. */
START_TEST(behind_disk)
{
	const struct imgbuild_params p = { .cluster_bits = 12,
					   .refcount_order = 4,
					   .size = 8192 + 512,
					   .data_file = true };
	unsigned char c = 0;

	datafix_build(&df, &p, 0);
	ck_assert_int_eq(hostmem_write(df.fx.data_mem, "b", 1, p.size), 0);
	datafix_open(&df);
	ck_assert_int_eq(write_range(&df.d, "x", 1, p.size - 1), 0);
	zero(8192, 512, true);
	hostmem_read(df.fx.data_mem, &c, 1, p.size);
	ck_assert_int_eq(c, 'b');
	hostmem_read(df.fx.data_mem, &c, 1, p.size - 1);
	ck_assert_int_eq(c, 0);
	datafix_close(&df);
}
END_TEST

SUITE_MAIN("zero", content, entries, failures, behind_disk)
