/*
 * test_l2map: where a guest range is, and changes of it, against entries that
 * imgbuild wrote and bytes that the commit left. Clusters of 512 bytes: an L2
 * table has 64 entries and maps 32 KiB.
 */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "metafix.h"
#include "suite.h"

#define C 512ULL
#define OFFSET(e) ((e)&0x00fffffffffffe00ULL)

static struct metafix fx;
static unsigned char data[8192];

static void build(unsigned bits)
{
	struct imgbuild_params p = {
		.cluster_bits = bits, .refcount_order = 4, .size = 8 << 20};

	memset(data, 'x', sizeof(data));
	metafix_build(&fx, &p);
}

static struct extent look(uint64_t goff, uint64_t len)
{
	struct extent e;

	ck_assert_int_eq(l2map_lookup(&fx.m, goff, len, &e), 0);
	return e;
}

START_TEST(kinds)
{
	uint64_t at[5], clen;
	struct extent e;

	build(9);
	at[0] = imgbuild_data(&fx.b, 0, data, C);
	at[1] = imgbuild_data(&fx.b, C, data, C);
	imgbuild_zero_plain(&fx.b, 3 * C);
	imgbuild_zero_plain(&fx.b, 4 * C);
	at[2] = imgbuild_zero_alloc(&fx.b, 5 * C);
	at[3] = imgbuild_compressed(&fx.b, 6 * C, data);
	at[4] = imgbuild_compressed(&fx.b, 7 * C, data);
	metafix_open(&fx);

	ck_assert_uint_eq(at[1], at[0] + 2 * C - C); /* neighbours merge */
	e = look(100, 5 * C);
	ck_assert_int_eq(e.kind, L2ENTRY_PLAIN);
	ck_assert(e.copied);
	ck_assert_uint_eq(e.len, 2 * C - 100);
	ck_assert_uint_eq(e.hoff, at[0] + 100);
	e = look(100, 300);
	ck_assert_uint_eq(e.len, 300);
	e = look(2 * C, 5 * C);
	ck_assert_int_eq(e.kind, L2ENTRY_UNALLOCATED);
	ck_assert_uint_eq(e.len, C);
	e = look(3 * C + 1, 5 * C);
	ck_assert_int_eq(e.kind, L2ENTRY_ZERO_PLAIN);
	ck_assert_uint_eq(e.len, 2 * C - 1);
	e = look(5 * C + 7, 5 * C);
	ck_assert_int_eq(e.kind, L2ENTRY_ZERO_ALLOC);
	ck_assert_uint_eq(e.hoff, at[2] + 7);
	ck_assert_uint_eq(e.len, C - 7);
	for (unsigned i = 0; i < 2; i++) {
		e = look((6 + i) * C + 9, 5 * C);
		ck_assert_int_eq(e.kind, L2ENTRY_COMPRESSED);
		ck_assert_uint_eq(e.hoff, at[3 + i]); /* of the stream */
		ck_assert_uint_eq(e.len, C - 9);
		clen = 512 - e.hoff % 512;
		ck_assert(e.clen == clen || e.clen == clen + 512);
	}
	/* over the rest of this table and all tables that are not there */
	e = look(8 * C, (8 << 20) - 8 * C);
	ck_assert_int_eq(e.kind, L2ENTRY_UNALLOCATED);
	ck_assert_uint_eq(e.len, (8 << 20) - 8 * C);
	metafix_close(&fx);
}
END_TEST

/* A run over several L2 tables; over slices of one table. */
START_TEST(long_runs)
{
	uint64_t at, size;
	struct extent e;

	for (unsigned bits = 9; bits <= 13; bits += 4) {
		uint64_t n = bits == 9 ? 200 : 900; /* 13: 512 a slice */

		build(bits);
		size = fx.b.csize;
		metafix_open(&fx);
		at = metafix_take(&fx, n);
		for (uint64_t k = 0; k < n;) {
			uint64_t step = l2map_reach(&fx.m, k * size) / size;

			ck_assert_uint_eq(step, bits == 9 ? 64 - k % 64
							  : 512 - k % 512);
			step = step < n - k ? step : n - k;
			ck_assert_int_eq(metafix_change(&fx, k * size, step,
							L2MAP_DATA,
							at + k * size),
					 0);
			k += step;
		}
		e = look(0, 8 << 20);
		ck_assert_int_eq(e.kind, L2ENTRY_PLAIN);
		ck_assert_uint_eq(e.len, n * size);
		ck_assert_uint_eq(e.hoff, at);
		ck_assert(metafix_exact(&fx));
		for (uint64_t k = 0; k < n; k++)
			ck_assert_uint_eq(imgbuild_l2_get(&fx.b, k * size),
					  (at + k * size) | IMGBUILD_COPIED);
		metafix_close(&fx);
	}
}
END_TEST

/* Entries that no valid image has. */
START_TEST(broken_entries)
{
	const uint64_t copied = IMGBUILD_COPIED;
	const uint64_t entries[] = {
		copied | (1ULL << 40), /* behind the end */
		copied | 0x200 | 2,    /* reserved bit */
		copied,		       /* COPIED on nothing */
		IMGBUILD_COMPRESSED | (1ULL << 30),
		copied | 1ULL << 56 | 0x2000,
	};

	for (unsigned i = 0; i < sizeof(entries) / sizeof(*entries); i++) {
		struct extent e;

		build(9);
		imgbuild_data(&fx.b, 0, data, C);
		imgbuild_data(&fx.b, C, data, C);
		imgbuild_l2_set(&fx.b, C, entries[i]);
		metafix_open(&fx);
		e = look(0, 5 * C); /* stops before it */
		ck_assert_uint_eq(e.len, C);
		ck_assert(!atomic_load(&fx.m.failed));
		ck_assert_int_eq(l2map_lookup(&fx.m, C, C, &e), -EUCLEAN);
		ck_assert(atomic_load(&fx.m.corrupt));
		ck_assert_int_eq(metafix_change(&fx, 0, 2, L2MAP_ZERO_UNMAP, 0),
				 -EUCLEAN);
		ck_assert_uint_eq(look(0, C).kind, L2ENTRY_PLAIN);
		metafix_close(&fx);
	}
}
END_TEST

/* Entries that point to the header and the L1 table; broken L1 entries. */
START_TEST(impossible_places)
{
	static const uint64_t l1[] = {0x201, 1ULL << 62};
	struct extent e;

	for (unsigned i = 0; i < 2; i++) {
		build(9);
		imgbuild_data(&fx.b, 0, data, C);
		imgbuild_l2_set(&fx.b, 0,
				i ? IMGBUILD_COPIED | fx.b.l1_off
				  : IMGBUILD_COMPRESSED | 100);
		metafix_open(&fx);
		ck_assert_int_eq(l2map_lookup(&fx.m, 0, C, &e), -EUCLEAN);
		metafix_close(&fx);
	}
	for (unsigned i = 0; i < 2; i++) {
		build(9);
		imgbuild_l1_set(&fx.b, 1, l1[i]);
		metafix_open(&fx);
		ck_assert_uint_eq(look(0, 1 << 20).len, 32768);
		ck_assert_int_eq(l2map_lookup(&fx.m, 32768, C, &e), -EUCLEAN);
		ck_assert_int_eq(
			metafix_change(&fx, 32768, 1, L2MAP_ZERO_UNMAP, 0),
			-EUCLEAN);
		metafix_close(&fx);
	}
}
END_TEST

/* Move the L1 table behind a cluster whose offset is returned. */
static uint64_t move_l1(void)
{
	uint64_t n = imgbuild_header_get(&fx.b, IMGBUILD_L1_ENTRIES);
	uint64_t at = imgbuild_alloc(&fx.b, 1 + n * 8 / C);

	for (uint64_t i = 0; i < n; i++)
		imgbuild_poke(&fx.b, at + C + i * 8, 8,
			      imgbuild_l1_get(&fx.b, i));
	imgbuild_header_set(&fx.b, IMGBUILD_L1_OFFSET, at + C);
	return at;
}

/* A stream may end where the cluster of the L1 table begins. */
START_TEST(stream_before_l1)
{
	struct extent e;
	uint64_t at;

	build(9);
	imgbuild_data(&fx.b, 0, data, C);
	at = move_l1();
	imgbuild_l2_set(&fx.b, 0, IMGBUILD_COMPRESSED | (at + 100));
	metafix_open(&fx);
	e = look(0, C);
	ck_assert_int_eq(e.kind, L2ENTRY_COMPRESSED);
	ck_assert_uint_eq(e.hoff + e.clen, at + C);
	metafix_close(&fx);
}
END_TEST

START_TEST(changes)
{
	static const struct {
		enum l2map_what what;
		/* data, zero-alloc, zero-plain, unallocated, compressed */
		uint64_t flags[5];
		bool keeps;
	} rows[] = {
		{L2MAP_ZERO_KEEP, {1, 1, 1, 1, 1}, true},
		{L2MAP_ZERO_UNMAP, {1, 1, 1, 1, 1}, false},
		{L2MAP_UNMAP, {0, 0, 0, 0, 0}, false},
	};

	for (unsigned i = 0; i < 3; i++) {
		uint64_t at[2], e;

		build(9);
		at[0] = imgbuild_data(&fx.b, 0, data, C);
		at[1] = imgbuild_zero_alloc(&fx.b, C);
		imgbuild_zero_plain(&fx.b, 2 * C);
		imgbuild_compressed(&fx.b, 4 * C, data);
		metafix_open(&fx);
		ck_assert_int_eq(metafix_change(&fx, 0, 5, rows[i].what, 0), 0);
		ck_assert_int_eq(metafix_change(&fx, 0, 5, rows[i].what, 0),
				 0); /* no-op */
		ck_assert(metafix_exact(&fx));
		for (unsigned k = 0; k < 5; k++) {
			e = imgbuild_l2_get(&fx.b, k * C);
			ck_assert_uint_eq(e & 1, rows[i].flags[k]);
			if (k < 2 && rows[i].keeps)
				ck_assert_uint_eq(e,
						  at[k] | IMGBUILD_COPIED | 1);
			else
				ck_assert_uint_eq(OFFSET(e), 0);
		}
		metafix_close(&fx);
	}
}
END_TEST

START_TEST(new_table)
{
	struct extent e;
	uint64_t at;

	build(9);
	metafix_open(&fx);
	ck_assert_int_eq(metafix_change(&fx, 0, 3, L2MAP_UNMAP, 0),
			 0); /* needs none */
	ck_assert_uint_eq(fx.m.l1.dirty_n, 0);
	at = metafix_take(&fx, 2);
	ck_assert_int_eq(metafix_change(&fx, 3 * C, 2, L2MAP_DATA, at), 0);
	ck_assert(l2map_is_new_table(&fx.m, OFFSET(l1table_get(&fx.m.l1, 0))));
	ck_assert(!l2map_is_new_table(&fx.m, at));
	e = look(3 * C, C * 9);
	ck_assert_uint_eq(e.len, 2 * C);
	ck_assert_uint_eq(imgbuild_l1_get(&fx.b, 0), 0); /* not committed */
	ck_assert(metafix_exact(&fx));
	ck_assert(
		!l2map_is_new_table(&fx.m, OFFSET(imgbuild_l1_get(&fx.b, 0))));
	ck_assert_uint_ne(imgbuild_l1_get(&fx.b, 0) & IMGBUILD_COPIED, 0);
	ck_assert_uint_eq(imgbuild_l2_get(&fx.b, 4 * C),
			  (at + C) | IMGBUILD_COPIED);
	metafix_close(&fx);
}
END_TEST

/* A table that a snapshot has too is copied; nothing in it stays COPIED, and
 * the snapshot's is as it was. */
START_TEST(shared_table)
{
	unsigned char before[512], after[512];
	uint64_t data_at, old, at;

	build(9);
	data_at = imgbuild_data(&fx.b, 0, data, C);
	imgbuild_data(&fx.b, C, data, C);
	imgbuild_compressed(&fx.b, 2 * C, data);
	imgbuild_snapshot(&fx.b, "1", "s");
	metafix_open(&fx);
	old = OFFSET(imgbuild_l1_get(&fx.b, 0));
	hostmem_read(fx.mem, before, 512, old);
	ck_assert(!look(0, C).copied);
	at = metafix_take(&fx, 1);
	ck_assert_int_eq(metafix_change(&fx, C, 1, L2MAP_DATA, at), 0);
	ck_assert_int_eq(metafix_change(&fx, 2 * C, 1, L2MAP_ZERO_KEEP, 0), 0);
	ck_assert_int_eq(writeback_all(&fx.m), 0);
	hostmem_read(fx.mem, after, 512, old);
	ck_assert_mem_eq(before, after, 512);
	ck_assert_uint_ne(OFFSET(imgbuild_l1_get(&fx.b, 0)), old);
	ck_assert_uint_eq(metafix_refcount(&fx, old / C), 1);
	ck_assert_uint_eq(imgbuild_l2_get(&fx.b, 0), data_at);
	ck_assert_uint_eq(metafix_refcount(&fx, data_at / C), 2);
	ck_assert_uint_eq(imgbuild_l2_get(&fx.b, C), at | IMGBUILD_COPIED);
	ck_assert_uint_eq(imgbuild_l2_get(&fx.b, 2 * C), 1);
	metafix_close(&fx);
}
END_TEST

/* Of an external data file COPIED says that cluster 0 is there. It outlives the
 * copy of a table that wrongly counts as shared, which no guest can see. */
START_TEST(table_of_data_file)
{
	struct imgbuild_params p = { .cluster_bits = 9, .refcount_order = 4,
				     .size = 8 << 20, .data_file = true };
	uint64_t old;

	memset(data, 'x', sizeof(data));
	metafix_build(&fx, &p);
	imgbuild_data(&fx.b, 0, data, C);
	imgbuild_data(&fx.b, C, data, C);
	old = OFFSET(imgbuild_l1_get(&fx.b, 0));
	imgbuild_l1_set(&fx.b, 0, old);
	metafix_open(&fx);
	ck_assert_int_eq(metafix_change(&fx, 2 * C, 1, L2MAP_DATA, 2 * C), 0);
	ck_assert_int_eq(writeback_all(&fx.m), 0);
	ck_assert_uint_ne(OFFSET(imgbuild_l1_get(&fx.b, 0)), old);
	for (uint64_t i = 0; i < 3; i++) {
		ck_assert_uint_eq(imgbuild_l2_get(&fx.b, i * C),
				  i * C | IMGBUILD_COPIED);
		ck_assert(look(i * C, C).kind == L2ENTRY_PLAIN);
	}
	metafix_close(&fx);
}
END_TEST

/* Streams share host clusters: each takes back its own reference only. */
START_TEST(compressed_frees)
{
	uint64_t at[3];

	build(12);
	for (unsigned i = 0; i < 3; i++)
		at[i] = imgbuild_compressed(&fx.b, i * 4096, data);
	metafix_open(&fx);
	ck_assert_uint_eq(at[0] / 4096, at[2] / 4096);
	ck_assert_uint_eq(metafix_refcount(&fx, at[0] / 4096), 3);
	ck_assert_int_eq(metafix_change(&fx, 4096, 1, L2MAP_ZERO_UNMAP, 0), 0);
	ck_assert(metafix_exact(&fx));
	ck_assert_uint_eq(metafix_refcount(&fx, at[0] / 4096), 2);
	ck_assert_int_eq(metafix_change(&fx, 0, 3, L2MAP_UNMAP, 0), 0);
	ck_assert(metafix_exact(&fx));
	ck_assert_uint_eq(metafix_refcount(&fx, at[0] / 4096), 0);
	metafix_close(&fx);
}
END_TEST

/* No room, no read: all stays as it was. */
START_TEST(failures)
{
	struct hostfault_rule eio = {HOSTFAULT_PREAD, HOSTFAULT_ERROR, -EIO, 0,
				     HOSTFAULT_FOREVER};
	struct extent e;

	build(9);
	imgbuild_data(&fx.b, 0, data, C);
	imgbuild_snapshot(&fx.b, "1", "s");
	metafix_open(&fx);
	hostfault_limit(fx.fault, hostmem_size(fx.mem));
	ck_assert_int_eq(metafix_change(&fx, 32768, 1, L2MAP_ZERO_UNMAP, 0),
			 -ENOSPC);
	ck_assert_int_eq(metafix_change(&fx, 0, 1, L2MAP_ZERO_UNMAP, 0),
			 -ENOSPC);
	ck_assert_int_eq(look(0, C).kind, L2ENTRY_PLAIN);
	hostfault_limit(fx.fault, UINT64_MAX);
	metafix_reopen(&fx);
	hostfault_set(fx.fault, &eio);
	ck_assert_int_eq(l2map_lookup(&fx.m, 0, C, &e), -EIO);
	ck_assert_int_eq(metafix_change(&fx, 0, 1, L2MAP_ZERO_UNMAP, 0), -EIO);
	hostfault_set(fx.fault, NULL);
	ck_assert_int_eq(metafix_change(&fx, 0, 1, L2MAP_ZERO_UNMAP, 0), 0);
	ck_assert(!atomic_load(&fx.m.corrupt));
	metafix_close(&fx);
}
END_TEST

/* The L1 table may be a hole of the host file: no room for its entry is this
 * request's error, not the commit's. */
START_TEST(no_room_for_l1)
{
	struct hostfault_rule full = {HOSTFAULT_FALLOC, HOSTFAULT_ERROR,
				      -ENOSPC, 0, HOSTFAULT_FOREVER};

	build(9);
	metafix_open(&fx);
	hostfault_set(fx.fault, &full);
	ck_assert_int_eq(metafix_change(&fx, 32768, 1, L2MAP_ZERO_UNMAP, 0),
			 -ENOSPC);
	ck_assert_uint_eq(fx.m.l1.dirty_n, 0);
	hostfault_set(fx.fault, NULL);
	ck_assert_int_eq(metafix_change(&fx, 32768, 1, L2MAP_ZERO_UNMAP, 0), 0);
	ck_assert_int_eq(writeback_flush(&fx.m), 0);
	metafix_close(&fx);
}
END_TEST

SUITE_MAIN("l2map", kinds, long_runs, broken_entries, impossible_places,
	   stream_before_l1, changes, new_table, shared_table,
	   table_of_data_file, compressed_frees, failures, no_room_for_l1)
