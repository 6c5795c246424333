/*
 * test_refcount: counts of every width against an array, the search for free
 * clusters against a plain scan, coverage and growth of the refcount table.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "metafix.h"
#include "suite.h"

static struct metafix fx;

/* AREAS refcount blocks of 512 bytes, EXTRA clusters in use at the end. */
static void begin(unsigned order, uint64_t extra)
{
	struct imgbuild_params p = { .cluster_bits = 9, .refcount_order = order,
				     .size = 1 << 20 };

	metafix_build(&fx, &p);
	if (extra)
		(void)imgbuild_alloc(&fx.b, extra);
	metafix_open(&fx);
	lock_take(&fx.m.lock);
}

static void commit(void)
{
	lock_drop(&fx.m.lock);
	ck_assert_int_eq(writeback_all(&fx.m), 0);
	lock_take(&fx.m.lock);
}

static void end(void)
{
	lock_drop(&fx.m.lock);
	metafix_close(&fx);
}

static uint64_t count(uint64_t hidx)
{
	uint64_t v;

	ck_assert_int_eq(refcount_get_locked(&fx.m, hidx, &v), 0);
	return v;
}

START_TEST(widths)
{
	static uint64_t want[400];

	for (unsigned order = 0; order <= 6; order++) {
		uint64_t max = UINT64_MAX >> (64 - (1U << order));
		uint64_t n = 200;

		begin(order, n);
		for (uint64_t i = 0; i < n; i++) {
			want[i] = metafix_refcount(&fx, i);
			ck_assert_uint_eq(want[i], 1);
		}
		srand(order);
		for (unsigned step = 0; step < 400; step++) {
			uint64_t from = 10 + (uint64_t)rand() % 150;
			uint64_t len = 1 + (uint64_t)rand() % 30;
			bool add = rand() % 2, fits = true;
			int r = add ? 0 : -1;

			for (uint64_t i = from; i < from + len; i++)
				fits &= want[i] != (add ? max : 0);
			if (!add && !fits)
				continue; /* see sub_at_zero */
			r = add ? refcount_add_locked(&fx.m, from, len)
				: refcount_sub_locked(&fx.m, from, len);
			ck_assert_int_eq(r, fits ? 0 : -ERANGE);
			for (uint64_t i = from; fits && i < from + len; i++)
				want[i] += add ? 1 : UINT64_MAX;
		}
		for (uint64_t i = 0; i < n; i++)
			ck_assert_uint_eq(count(i), want[i]);
		commit();
		for (uint64_t i = 0; i < n; i++)
			ck_assert_uint_eq(metafix_refcount(&fx, i), want[i]);
		end();
	}
}
END_TEST

/* A run over two blocks whose second part is at the maximum. */
START_TEST(rollback_at_max)
{
	for (unsigned order = 3; order <= 6; order++) {
		uint64_t max = UINT64_MAX >> (64 - (1U << order));
		uint64_t per_block = 4096U >> order;

		begin(order, 3 * per_block);
		imgbuild_refcount_set(&fx.b, (per_block + 5) * 512, max);
		ck_assert_int_eq(refcount_add_locked(&fx.m, per_block - 9, 15),
				 -ERANGE);
		for (uint64_t i = per_block - 9; i < per_block + 5; i++)
			ck_assert_uint_eq(count(i), 1);
		ck_assert_uint_eq(count(per_block + 5), max);
		ck_assert_int_eq(refcount_add_locked(&fx.m, per_block - 9, 14),
				 0);
		ck_assert_uint_eq(count(per_block - 9), 2);
		end();
	}
}
END_TEST

START_TEST(sub_at_zero)
{
	begin(4, 700); /* blocks of 256 */
	imgbuild_refcount_set(&fx.b, 258 * 512, 0);
	ck_assert_int_eq(refcount_sub_locked(&fx.m, 250, 20), -EUCLEAN);
	ck_assert_uint_eq(count(250), 0);
	ck_assert_uint_eq(count(255), 0);
	ck_assert_uint_eq(count(256), 1);
	ck_assert_uint_eq(count(258), 0);
	/* an area without a block has nothing to subtract */
	ck_assert_int_eq(refcount_sub_locked(&fx.m, 60 * 256, 1), -EUCLEAN);
	ck_assert_uint_eq(count(60 * 256), 0);
	ck_assert_uint_eq(count(1ULL << 40), 0);
	end();
}
END_TEST

/* Plain scan: what refcount_find_free_locked() should say. */
static bool scan(const bool *used, uint64_t n, uint64_t from, uint64_t min,
		 uint64_t max, uint64_t *at, uint64_t *len)
{
	for (*at = from; *at < n; ++*at) {
		for (*len = 0; *at + *len < n && *len < max; ++*len)
			if (used[*at + *len])
				break;
		if (*len >= min)
			return true;
	}
	return false;
}

START_TEST(find_free)
{
	static bool used[4000];

	for (unsigned order = 0; order <= 6; order++) {
		uint64_t n = 900, per_block = 4096U >> order;

		begin(order, n);
		memset(used, 0, sizeof(used));
		srand(order);
		for (uint64_t i = 0; i < n; i++) {
			if (rand() % 3 == 0 && i > 20)
				imgbuild_refcount_set(&fx.b, i * 512, 0);
			used[i] = metafix_refcount(&fx, i);
		}
		for (uint64_t i = n; i < n + 2 * per_block && i < 4000; i++)
			used[i] = metafix_refcount(&fx, i);
		lock_drop(&fx.m.lock);
		metafix_reopen(&fx);
		lock_take(&fx.m.lock);
		for (unsigned k = 0; k < 300; k++) {
			uint64_t from = (uint64_t)rand() % 1100;
			uint64_t min = 1 + (uint64_t)rand() % (k % 3 ? 4 : 40);
			uint64_t max = min + (uint64_t)rand() % 20;
			uint64_t at, len, hidx, got;

			ck_assert(scan(used, 4000, from, min, max, &at, &len));
			ck_assert_int_eq(refcount_find_free_locked(&fx.m, from,
								   min, max,
								   &hidx, &got),
					 0);
			ck_assert_uint_eq(hidx, at);
			ck_assert_uint_eq(got, len);
		}
		end();
	}
}
END_TEST

/* 64 clusters a block, 64 blocks a table cluster: one table cluster covers
 * 2 MiB of the file. */
START_TEST(growth)
{
	uint64_t clusters, last_clusters = 1;
	unsigned grown = 0;
	unsigned high;

	begin(6, 0);
	for (unsigned i = 0; i < 5000; i++) {
		uint64_t hidx, n;
		bool fresh;

		ck_assert_int_eq(alloc_run_locked(&fx.m, 9, &hidx, &n, &fresh),
				 0);
		clusters = fx.m.refcount.clusters;
		grown += clusters != last_clusters;
		last_clusters = clusters;
		if (i % 100 == 99) {
			commit();
			ck_assert_uint_eq(imgbuild_header_get(
						  &fx.b,
						  IMGBUILD_REFTABLE_CLUSTERS),
					  clusters);
		}
	}
	ck_assert_uint_ge(grown, 3);
	commit();
	/* the runs are what is counted and not referred to; all else is exact */
	ck_assert_uint_eq(metafix_compare(&fx, &high), 0);
	ck_assert_uint_ge(high, 5000);
	lock_drop(&fx.m.lock);
	metafix_reopen(&fx);
	lock_take(&fx.m.lock);
	for (uint64_t i = 0; i < 40000; i += 7)
		ck_assert_uint_eq(count(i), metafix_refcount(&fx, i));
	end();
}
END_TEST

/* A block, then a table, does not fit on the host: nothing has changed. */
START_TEST(host_full)
{
	uint64_t n, hidx, free_at, far = 64 * 64 + 5;
	unsigned high;

	for (unsigned room = 0; room < 12; room++) {
		bool changed;
		int r;

		begin(6, 63 - 6); /* the first area is full */
		ck_assert_int_eq(refcount_find_free_locked(&fx.m, 0, 1, 1,
							   &free_at, &n),
				 0);
		hostfault_limit(fx.fault, hostmem_size(fx.mem) + room * 512);
		r = refcount_cover_locked(&fx.m, far, 3, &changed);
		ck_assert(r == -ENOSPC || (r == 0 && room > 2));
		if (r == 0) {
			end();
			break;
		}
		/* the table may have found room, the block behind it not */
		ck_assert(fx.m.refcount.n == 64 ||
			  fx.m.refcount.hoff != fx.b.reftable_off);
		ck_assert_uint_eq(count(far), 0);
		commit();
		ck_assert_uint_eq(metafix_compare(&fx, &high), 0);
		ck_assert_uint_eq(high, 63 - 6);
		hostfault_limit(fx.fault, UINT64_MAX);
		ck_assert_int_eq(refcount_cover_locked(&fx.m, far, 3, &changed),
				 0);
		ck_assert(changed);
		ck_assert_uint_gt(fx.m.refcount.n, 64);
		ck_assert_int_eq(refcount_cover_locked(&fx.m, far, 3, &changed),
				 0);
		ck_assert(!changed);
		ck_assert_int_eq(refcount_add_locked(&fx.m, far, 3), 0);
		commit();
		ck_assert_uint_eq(metafix_refcount(&fx, far + 2), 1);
		ck_assert_uint_eq(metafix_compare(&fx, &high), 0);
		ck_assert_uint_eq(high, 63 - 6);
		ck_assert_int_eq(refcount_find_free_locked(&fx.m, 0, 1, 1,
							   &hidx, &n),
				 0);
		end();
	}
}
END_TEST

/* All that the table can count is in use, so that the larger one must lie in
 * areas of its own; the host has room for their blocks only. */
START_TEST(host_full_behind_table)
{
	uint64_t hidx, used = 4096 - 67; /* header, L1, table, 64 blocks */
	unsigned high;

	for (unsigned room = 0; room < 3; room++) {
		begin(6, used);
		ck_assert_uint_eq(hostmem_size(fx.mem), 4096 * 512);
		hostfault_limit(fx.fault, (4096 + room) * 512);
		for (int i = 0; i < 2; i++)
			ck_assert_int_eq(alloc_exact_locked(&fx.m, 1, ROLE_L1, &hidx),
					 -ENOSPC);
		ck_assert_uint_eq(fx.m.refcount.n, 64);
		ck_assert_uint_eq(fx.m.refcount.unhooked_n, 0);
		ck_assert_uint_eq(count(4096), 0);
		commit();
		ck_assert_uint_eq(fx.m.refcount.hoff, fx.b.reftable_off);
		hostfault_limit(fx.fault, UINT64_MAX);
		ck_assert_int_eq(alloc_exact_locked(&fx.m, 1, ROLE_L1, &hidx), 0);
		ck_assert_uint_ge(hidx, 4096);
		commit();
		ck_assert_uint_eq(metafix_refcount(&fx, hidx), 1);
		ck_assert_uint_eq(metafix_compare(&fx, &high), 0);
		ck_assert_uint_eq(high, used + 1);
		end();
	}
}
END_TEST

START_TEST(too_far)
{
	uint64_t hidx, n;

	begin(6, 0);
	ck_assert_int_eq(refcount_cover_locked(&fx.m, 1ULL << 40, 1, NULL),
			 -ENOSPC);
	ck_assert_int_eq(refcount_find_free_locked(&fx.m, 0, 1ULL << 50,
						   1ULL << 50, &hidx, &n),
			 -ENOSPC);
	end();
}
END_TEST

START_TEST(broken_table)
{
	static const uint64_t entries[] = { 0x201, 1ULL << 40 };
	uint64_t v, n;

	for (unsigned i = 0; i < 2; i++) {
		begin(6, 30);
		imgbuild_poke(&fx.b, fx.b.reftable_off + 8, 8, entries[i]);
		lock_drop(&fx.m.lock);
		metafix_reopen(&fx);
		lock_take(&fx.m.lock);
		ck_assert_int_eq(refcount_get_locked(&fx.m, 70, &v), -EUCLEAN);
		ck_assert_int_eq(refcount_add_locked(&fx.m, 60, 10), -EUCLEAN);
		ck_assert_uint_eq(count(63), 0); /* undone */
		ck_assert_int_eq(refcount_find_free_locked(&fx.m, 70, 1, 1, &v,
							   &n),
				 -EUCLEAN);
		ck_assert(atomic_load(&fx.m.corrupt));
		end();
	}
}
END_TEST

/* Only use of an area that is not hooked on disk is urgent; the reserve makes
 * that rare. */
START_TEST(hooks)
{
	struct refcount_cut cut;
	uint64_t area = 3;

	begin(6, 30);
	ck_assert_int_eq(refcount_cover_locked(&fx.m, area * 64, 1, NULL), 0);
	ck_assert(!fx.m.refcount.hooked[area]);
	refcount_note_use_locked(&fx.m, 5, 10);
	ck_assert(!fx.m.refcount.urgent);
	refcount_note_use_locked(&fx.m, area * 64 - 1, 2);
	ck_assert(fx.m.refcount.urgent);
	refcount_take_cut(&fx.m, &cut);
	ck_assert(cut.urgent && !cut.grown);
	ck_assert_uint_eq(cut.n, 1);
	ck_assert_uint_eq(cut.areas[0], area);
	refcount_cut_fini(&cut);
	ck_assert(fx.m.refcount.hooked[area] && !fx.m.refcount.urgent);
	/* below half of an area: nothing; above: the next one's block */
	refcount_reserve_locked(&fx.m, 31);
	ck_assert_uint_eq(fx.m.refcount.unhooked_n, 0);
	refcount_reserve_locked(&fx.m, 32);
	ck_assert_uint_eq(fx.m.refcount.unhooked_n, 1);
	ck_assert_uint_ne(fx.m.refcount.table[1], 0);
	refcount_reserve_locked(&fx.m, 60);
	ck_assert_uint_eq(fx.m.refcount.unhooked_n, 1);
	end();
}
END_TEST

SUITE_MAIN("refcount", widths, rollback_at_max, sub_at_zero, find_free, growth,
	   host_full,
	   host_full_behind_table, too_far, broken_table, hooks)
