/*
 * test_alloc: which clusters are handed out, and when freed ones come back.
 */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "metafix.h"
#include "suite.h"

static struct metafix fx;

static void begin(unsigned order)
{
	struct imgbuild_params p = { .cluster_bits = 12,
				     .refcount_order = order, .size = 1 << 20,
				     .l1_entries = 600 /* two clusters */ };

	metafix_build(&fx, &p);
	(void)imgbuild_alloc(&fx.b, 20);
	metafix_open(&fx);
	fx.m.alloc.punch = true;
	lock_take(&fx.m.lock);
}

static void end(void)
{
	lock_drop(&fx.m.lock);
	metafix_close(&fx);
}

static void commit(void)
{
	lock_drop(&fx.m.lock);
	ck_assert_int_eq(writeback_all(&fx.m), 0);
	lock_take(&fx.m.lock);
}

static uint64_t count(uint64_t hidx)
{
	uint64_t v;

	ck_assert_int_eq(refcount_get_locked(&fx.m, hidx, &v), 0);
	return v;
}

START_TEST(runs)
{
	uint64_t end_of_file, hidx, n, at;
	bool fresh;

	begin(4);
	end_of_file = hostmem_size(fx.mem) / 4096;
	ck_assert_int_eq(alloc_run_locked(&fx.m, 10, &hidx, &n, &fresh), 0);
	ck_assert_uint_eq(hidx, end_of_file);
	ck_assert_uint_eq(n, 10);
	ck_assert(fresh);
	for (uint64_t i = 0; i < n; i++)
		ck_assert_uint_eq(count(hidx + i), 1);
	ck_assert_int_eq(alloc_exact_locked(&fx.m, 3, ROLE_L1, &at), 0);
	ck_assert_uint_eq(at, hidx + 10); /* from the hint on */
	alloc_give_back_locked(&fx.m, hidx + 2, 5);
	ck_assert_uint_eq(count(hidx + 3), 0);
	ck_assert_int_eq(alloc_run_locked(&fx.m, 3, &at, &n, &fresh), 0);
	ck_assert_uint_eq(at, hidx + 2);
	ck_assert_uint_eq(n, 3);
	ck_assert(!fresh); /* somebody may have written there */
	ck_assert_int_eq(alloc_exact_locked(&fx.m, 4, ROLE_L1, &at), 0);
	ck_assert_uint_eq(at, hidx + 13); /* two are free, not four */
	end();
}
END_TEST

/* A run never mixes clusters that read as zero with others. */
START_TEST(fresh_run_is_cut)
{
	uint64_t hidx, n;
	bool fresh;

	begin(4);
	imgbuild_refcount_set(&fx.b, hostmem_size(fx.mem) - 3 * 4096, 0);
	imgbuild_refcount_set(&fx.b, hostmem_size(fx.mem) - 2 * 4096, 0);
	/* refcount table and block are last: put holes before them instead */
	imgbuild_refcount_set(&fx.b, hostmem_size(fx.mem) - 3 * 4096, 0);
	imgbuild_refcount_set(&fx.b, hostmem_size(fx.mem) - 2 * 4096, 1);
	ck_assert_int_eq(hostmem_resize(fx.mem, hostmem_size(fx.mem) + 8192),
			 0);
	lock_drop(&fx.m.lock);
	metafix_reopen(&fx);
	lock_take(&fx.m.lock);
	ck_assert_int_eq(alloc_run_locked(&fx.m, 9, &hidx, &n, &fresh), 0);
	ck_assert_uint_eq(n, 1);
	ck_assert(!fresh);
	ck_assert_int_eq(alloc_run_locked(&fx.m, 9, &hidx, &n, &fresh), 0);
	ck_assert_uint_eq(n, 2); /* up to where the file ended */
	ck_assert(!fresh);
	ck_assert_int_eq(alloc_run_locked(&fx.m, 9, &hidx, &n, &fresh), 0);
	ck_assert_uint_eq(n, 9);
	ck_assert(fresh);
	end();
}
END_TEST

START_TEST(freed_later)
{
	uint64_t hidx, n, at;
	bool fresh;

	begin(4);
	ck_assert_int_eq(alloc_run_locked(&fx.m, 8, &hidx, &n, &fresh), 0);
	ck_assert_int_eq(refcount_add_locked(&fx.m, hidx + 5, 1), 0);
	commit();
	hostrecord_clear(fx.rec);
	ck_assert_int_eq(alloc_free_reserve_locked(&fx.m, 3), 0);
	alloc_free_later_locked(&fx.m, hidx, 2);
	alloc_free_later_locked(&fx.m, hidx + 2, 4); /* joins */
	ck_assert_uint_eq(fx.m.alloc.freed.n, 1);
	ck_assert_uint_eq(fx.m.alloc.freed.clusters, 6);
	ck_assert(alloc_has_freed_locked(&fx.m));
	ck_assert_uint_eq(count(hidx), 1);
	fx.m.alloc.hint = 0;
	ck_assert_int_eq(alloc_exact_locked(&fx.m, 1, ROLE_L1, &at), 0);
	ck_assert_uint_ge(at, hidx + 8); /* not yet */
	lock_drop(&fx.m.lock);
	alloc_mature(&fx.m); /* no commit: nothing is ripe */
	lock_take(&fx.m.lock);
	ck_assert_uint_eq(count(hidx), 1);
	ck_assert_uint_eq(hostrecord_len(fx.rec), 0);
	commit();
	ck_assert(!alloc_has_freed_locked(&fx.m));
	for (uint64_t i = 0; i < 8; i++)
		ck_assert_uint_eq(metafix_refcount(&fx, hidx + i),
				  i < 5 ? 0 : 1);
	ck_assert_int_eq(alloc_exact_locked(&fx.m, 5, ROLE_L1, &at), 0);
	ck_assert_uint_eq(at, hidx);
	end();
}
END_TEST

/* The punch comes after the sync of the removal and before the count that says
 * free; a cluster that somebody else still refers to is not touched. */
START_TEST(punch_order)
{
	struct hostrecord_entry e;
	bool synced = false, punched = false;
	uint64_t hidx, n;
	bool fresh;

	begin(4);
	ck_assert_int_eq(alloc_run_locked(&fx.m, 3, &hidx, &n, &fresh), 0);
	ck_assert_int_eq(refcount_add_locked(&fx.m, hidx + 1, 1), 0);
	commit();
	hostrecord_clear(fx.rec);
	ck_assert_int_eq(alloc_free_reserve_locked(&fx.m, 1), 0);
	alloc_free_later_locked(&fx.m, hidx, 3);
	atomic_store(&fx.m.data_unsynced, true); /* so that there is a sync */
	commit();
	ck_assert_uint_eq(metafix_count(&fx, HOSTRECORD_PUNCH), 2);
	for (uint64_t i = 0; i < hostrecord_len(fx.rec); i++) {
		hostrecord_get(fx.rec, i, &e);
		synced |= e.op == HOSTRECORD_SYNC_END;
		if (e.op == HOSTRECORD_WRITE)
			ck_assert(punched); /* the refcount block */
		if (e.op != HOSTRECORD_PUNCH)
			continue;
		punched = true;
		ck_assert(synced);
		ck_assert(e.off == hidx * 4096 || e.off == (hidx + 2) * 4096);
		ck_assert_uint_eq(e.len, 4096);
	}
	ck_assert_uint_eq(metafix_refcount(&fx, hidx), 0);
	ck_assert_uint_eq(metafix_refcount(&fx, hidx + 1), 1);
	end();
}
END_TEST

START_TEST(no_punch)
{
	struct hostfault_rule rule = { HOSTFAULT_FALLOC, HOSTFAULT_ERROR,
				       -EOPNOTSUPP, 0, HOSTFAULT_FOREVER };
	uint64_t hidx, n;
	bool fresh;

	begin(4);
	hostfault_set(fx.fault, &rule);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(alloc_run_locked(&fx.m, 2, &hidx, &n, &fresh),
				 0);
		ck_assert_int_eq(alloc_free_reserve_locked(&fx.m, 1), 0);
		alloc_free_later_locked(&fx.m, hidx, 2);
		commit();
		ck_assert_uint_eq(count(hidx), 0);
	}
	ck_assert_uint_eq(hostfault_calls(fx.fault), 1); /* it has learnt */
	end();
}
END_TEST

/* Where counts contradict the roots, nothing is handed out. */
START_TEST(root_is_free)
{
	uint64_t hidx, n;
	bool fresh;

	begin(4);
	imgbuild_refcount_set(&fx.b, fx.b.l1_off + 4096, 0);
	lock_drop(&fx.m.lock);
	metafix_reopen(&fx);
	lock_take(&fx.m.lock);
	ck_assert_int_eq(alloc_run_locked(&fx.m, 1, &hidx, &n, &fresh),
			 -EUCLEAN);
	ck_assert(atomic_load(&fx.m.corrupt));
	/* a count that is 0 already cannot be given back: it is logged */
	alloc_give_back_locked(&fx.m, fx.b.l1_off / 4096 + 1, 1);
	ck_assert_uint_eq(count(fx.b.l1_off / 4096 + 1), 0);
	end();
}
END_TEST

SUITE_MAIN("alloc", runs, fresh_run_is_cut, freed_later, punch_order, no_punch,
	   root_is_free)
