/*
 * test_writeback: what a commit writes, in which order, with how many syncs,
 * seen in the log of the host file.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/meta/atonce.h"
#include "metafix.h"
#include "suite.h"

#define C 512ULL
#define OFFSET(e) ((e) & 0x00fffffffffffe00ULL)

static struct metafix fx;
static unsigned char data[512];

static void build(unsigned order, uint64_t extra)
{
	struct imgbuild_params p = { .cluster_bits = 9,
				     .refcount_order = order, .size = 8 << 20 };

	metafix_build(&fx, &p);
	if (extra)
		(void)imgbuild_alloc(&fx.b, extra);
	imgbuild_data(&fx.b, 0, data, C);
	metafix_open(&fx);
	hostrecord_clear(fx.rec);
}

static void end(void)
{
	metafix_close(&fx);
}

/* What a guest write to an unallocated cluster does; -ENOSPC, -EIO, ... */
static int write_new(uint64_t goff)
{
	uint64_t hidx, n;
	bool fresh;
	int r;

	lock_take(&fx.m.lock);
	r = l2map_prepare_locked(&fx.m, goff);
	if (r == 0)
		r = alloc_run_locked(&fx.m, 1, &hidx, &n, &fresh);
	if (r == 0)
		r = hostfile_pwrite_full(fx.file, data, C, hidx * C);
	atomic_store(&fx.m.new_unsynced, true);
	if (r == 0)
		r = metafix_change_locked(&fx, goff, 1, L2MAP_DATA, hidx * C);
	atomic_store(&fx.m.data_unsynced, true);
	lock_drop(&fx.m.lock);
	return r;
}

static void discard(uint64_t goff)
{
	lock_take(&fx.m.lock);
	ck_assert_int_eq(metafix_change_locked(&fx, goff, 1, L2MAP_UNMAP, 0),
			 0);
	lock_drop(&fx.m.lock);
}

/* How many syncs ended before the first write to HOFF; -1: there is none. */
static int syncs_before(uint64_t hoff)
{
	struct hostrecord_entry e;
	int syncs = 0;

	for (uint64_t i = 0; i < hostrecord_len(fx.rec); i++) {
		hostrecord_get(fx.rec, i, &e);
		syncs += e.op == HOSTRECORD_SYNC_END;
		if (e.op == HOSTRECORD_WRITE && hoff >= e.off &&
		    hoff < e.off + e.len)
			return syncs;
	}
	return -1;
}

static unsigned syncs(void)
{
	return metafix_count(&fx, HOSTRECORD_SYNC_END);
}

START_TEST(nothing)
{
	build(4, 0);
	ck_assert_int_eq(writeback_flush(&fx.m), 0);
	ck_assert_int_eq(writeback_all(&fx.m), 0);
	ck_assert_uint_eq(hostrecord_len(fx.rec), 0);
	end();
}
END_TEST

START_TEST(in_place)
{
	build(4, 0);
	atomic_store(&fx.m.data_unsynced, true);
	ck_assert_int_eq(writeback_flush(&fx.m), 0);
	ck_assert_str_eq(metafix_log(&fx), "S");
	ck_assert_int_eq(writeback_flush(&fx.m), 0);
	ck_assert_str_eq(metafix_log(&fx), "S");
	end();
}
END_TEST

/* Two syncs; counts and the new table before the first, entries after it. */
START_TEST(allocating)
{
	uint64_t old_table, new_table, block;

	build(4, 0);
	old_table = OFFSET(imgbuild_l1_get(&fx.b, 0));
	block = metafix_be64(&fx, fx.b.reftable_off);
	for (unsigned i = 1; i < 6; i++)
		ck_assert_int_eq(write_new(i * C), 0);
	for (unsigned i = 0; i < 5; i++)
		ck_assert_int_eq(write_new(40000 / C * C + i * C), 0);
	hostrecord_clear(fx.rec);
	ck_assert_int_eq(writeback_flush(&fx.m), 0);
	ck_assert_uint_eq(syncs(), 2);
	new_table = OFFSET(imgbuild_l1_get(&fx.b, 1));
	ck_assert_int_eq(syncs_before(block), 0);
	ck_assert_int_eq(syncs_before(new_table), 0);
	ck_assert_int_eq(syncs_before(old_table), 1);
	ck_assert_int_eq(syncs_before(fx.b.l1_off), 1);
	ck_assert_int_eq(syncs_before(0), -1);
	ck_assert_uint_eq(atomic_load(&fx.m.wb.syncs), 2);
	ck_assert_uint_eq(atomic_load(&fx.m.wb.commits), 1);
	end();
}
END_TEST

/* Removals need no counts before them; the counts follow later. */
START_TEST(discards_only)
{
	uint64_t block, hidx;

	build(4, 0);
	block = metafix_be64(&fx, fx.b.reftable_off);
	hidx = OFFSET(imgbuild_l2_get(&fx.b, 0)) / C;
	discard(0);
	ck_assert_int_eq(writeback_flush(&fx.m), 0);
	ck_assert_uint_eq(syncs(), 1);
	ck_assert_int_eq(syncs_before(block), -1);
	ck_assert_uint_eq(metafix_refcount(&fx, hidx), 1);
	ck_assert_int_eq(writeback_flush(&fx.m), 0); /* nothing to flush */
	ck_assert_uint_eq(syncs(), 1);
	ck_assert_int_eq(writeback_all(&fx.m), 0);
	ck_assert_uint_eq(metafix_refcount(&fx, hidx), 0);
	ck_assert_int_eq(syncs_before(block), 1);
	end();
}
END_TEST

/* Entries in an area whose block is not hooked yet: block, hook, entry, with a
 * sync after each. */
START_TEST(urgent)
{
	uint64_t area = 0, table;

	build(6, 0); /* 64 clusters a block */
	while (!fx.m.refcount.urgent) {
		ck_assert_int_eq(write_new((1 + area) * C), 0);
		ck_assert_uint_lt(++area, 2000);
	}
	table = fx.m.refcount.hoff;
	ck_assert_uint_eq(table, fx.b.reftable_off); /* not moved */
	hostrecord_clear(fx.rec);
	lock_take(&fx.m.lock);
	area = fx.m.refcount.unhooked[0];
	lock_drop(&fx.m.lock);
	ck_assert_int_eq(writeback_flush(&fx.m), 0);
	ck_assert_uint_eq(syncs(), 3);
	ck_assert_int_eq(syncs_before(metafix_be64(&fx, table + area * 8)), 0);
	ck_assert_int_eq(syncs_before(table + area / 64 * C), 1);
	ck_assert_int_eq(syncs_before(OFFSET(imgbuild_l1_get(&fx.b, 0))), 2);
	end();
}
END_TEST

/* The table moves: its new place is written and synced before the header
 * names it, and the old one is freed after that. */
START_TEST(table_growth)
{
	uint64_t old, moved, goff = C;
	unsigned high, n = 0;

	build(6, 3700);
	old = fx.b.reftable_off;
	while (fx.m.refcount.hoff == old) {
		ck_assert_int_eq(write_new(goff), 0);
		goff += C;
		if (++n % 8 == 0 && fx.m.refcount.hoff == old)
			ck_assert_int_eq(writeback_flush(&fx.m), 0);
	}
	moved = fx.m.refcount.hoff;
	ck_assert_uint_eq(imgbuild_header_get(&fx.b, IMGBUILD_REFTABLE_OFFSET),
			  old);
	hostrecord_clear(fx.rec);
	ck_assert_int_eq(writeback_flush(&fx.m), 0);
	ck_assert_uint_eq(imgbuild_header_get(&fx.b, IMGBUILD_REFTABLE_OFFSET),
			  moved);
	ck_assert_int_ge(syncs_before(moved), 0);
	ck_assert_int_gt(syncs_before(0), syncs_before(moved));
	ck_assert_uint_eq(metafix_refcount(&fx, old / C), 1);
	ck_assert_int_eq(writeback_all(&fx.m), 0);
	ck_assert_uint_eq(metafix_refcount(&fx, old / C), 0);
	ck_assert_uint_eq(metafix_compare(&fx, &high), 0);
	ck_assert_uint_eq(high, 3700);
	end();
}
END_TEST

/* It moves for the copy of a shared L2 table: two frees, of both old tables, that
 * each have room in the list, wherever its end is. */
START_TEST(growth_for_copy)
{
	struct imgbuild_params p = { .cluster_bits = 9, .refcount_order = 6,
				     .size = 8 << 20 };
	const uint64_t span = 64 * C;

	for (uint64_t extra = 3660; extra < 3820; extra++) {
		uint64_t old, i = 0;

		metafix_build(&fx, &p);
		for (i = 0; i < 100; i++) {
			imgbuild_data(&fx.b, i * span, data, C);
			imgbuild_l1_set(&fx.b, i, imgbuild_l1_get(&fx.b, i) &
							  ~QCOW2_ENTRY_COPIED);
		}
		(void)imgbuild_alloc(&fx.b, extra);
		metafix_open(&fx);
		old = fx.m.refcount.hoff;
		for (i = 0; fx.m.refcount.hoff == old; i++) {
			ck_assert_uint_lt(i, 100);
			ck_assert_int_eq(write_new(i * span + C), 0);
			ck_assert_uint_le(fx.m.alloc.freed.n,
					  fx.m.alloc.freed.cap);
		}
		metafix_close(&fx);
	}
}
END_TEST

/* The same when entries of this commit depend on the moved table. */
START_TEST(urgent_growth)
{
	uint64_t old, moved, goff = C;

	build(6, 3700);
	old = fx.b.reftable_off;
	while (fx.m.refcount.hoff == old || !fx.m.refcount.urgent) {
		ck_assert_int_eq(write_new(goff), 0);
		goff += C;
		ck_assert_uint_lt(goff, 4 << 20);
	}
	moved = fx.m.refcount.hoff;
	hostrecord_clear(fx.rec);
	ck_assert_int_eq(writeback_flush(&fx.m), 0);
	ck_assert_uint_eq(syncs(), 3);
	ck_assert_int_eq(syncs_before(moved), 0);
	ck_assert_int_eq(syncs_before(0), 1);
	ck_assert_int_eq(syncs_before(fx.b.l1_off), 2);
	end();
}
END_TEST

START_TEST(failed_sync)
{
	struct hostfault_rule rule = { HOSTFAULT_SYNC, HOSTFAULT_ERROR, -EIO, 0,
				       1 };

	for (unsigned nth = 0; nth < 2; nth++) {
		uint64_t changes;

		build(4, 0);
		rule.skip = nth;
		ck_assert_int_eq(write_new(C), 0);
		discard(0);
		hostfault_set(fx.fault, &rule);
		ck_assert_int_eq(writeback_flush(&fx.m), -EIO);
		ck_assert(atomic_load(&fx.m.failed));
		changes = hostrecord_len(fx.rec);
		atomic_store(&fx.m.data_unsynced, true);
		ck_assert_int_eq(writeback_flush(&fx.m), -EIO);
		ck_assert_int_eq(writeback_all(&fx.m), -EIO);
		ck_assert_int_eq(atonce_features(&fx.m, 2, 0, 0), -EIO);
		alloc_mature(&fx.m);
		ck_assert_uint_eq(hostrecord_len(fx.rec), changes);
		end();
	}
}
END_TEST

START_TEST(failed_write)
{
	struct hostfault_rule rule = { HOSTFAULT_PWRITE, HOSTFAULT_ERROR, -EIO,
				       0, 1 };
	bool hit = true;

	for (rule.skip = 0; hit; rule.skip++) {
		build(4, 0);
		ck_assert_int_eq(write_new(C), 0);
		ck_assert_int_eq(write_new(1 << 20), 0);
		hostfault_set(fx.fault, &rule);
		hit = writeback_flush(&fx.m) == -EIO;
		ck_assert_int_eq(hit, hostfault_hits(fx.fault) == 1);
		ck_assert_int_eq(hit, atomic_load(&fx.m.failed));
		end();
	}
	ck_assert_uint_ge(rule.skip, 4);
}
END_TEST

START_TEST(truncated_under_us)
{
	build(4, 0);
	ck_assert_int_eq(write_new(C), 0);
	ck_assert_int_eq(writeback_flush(&fx.m), 0);
	ck_assert_int_eq(hostmem_resize(fx.mem, hostmem_size(fx.mem) - C), 0);
	ck_assert_int_eq(write_new(2 * C), 0);
	ck_assert_int_eq(hostmem_resize(fx.mem, 4 * C), 0);
	hostrecord_clear(fx.rec);
	ck_assert_int_eq(writeback_flush(&fx.m), -EIO);
	ck_assert_uint_eq(hostrecord_len(fx.rec), 0);
	ck_assert(atomic_load(&fx.m.failed));
	end();
}
END_TEST

/* Bits go to sector 0 at once and synced; roots that wait do not. */
START_TEST(features)
{
	build(4, 0);
	ck_assert_int_eq(atonce_features(&fx.m, 2, 0, 1), 0);
	ck_assert_str_eq(metafix_log(&fx), "WS");
	ck_assert_int_eq(atonce_features(&fx.m, 8, 1, 6), 0);
	ck_assert_uint_eq(imgbuild_header_get(&fx.b, IMGBUILD_INCOMPAT), 10);
	ck_assert_uint_eq(imgbuild_header_get(&fx.b, IMGBUILD_AUTOCLEAR), 6);
	end();
}
END_TEST

#define THREADS 6
#define ROUNDS	30
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static uint64_t next_goff;

static void *write_and_flush(void *arg)
{
	int *bad = arg;

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t goff;

		pthread_mutex_lock(&turn);
		goff = next_goff += C;
		pthread_mutex_unlock(&turn);
		*bad |= write_new(goff) != 0;
		*bad |= writeback_flush(&fx.m) != 0;
		/* durable now: the entry is on disk */
		*bad |= !imgbuild_l2_get(&fx.b, goff);
	}
	return NULL;
}

START_TEST(group_commit)
{
	pthread_t t[THREADS];
	int bad[THREADS] = { 0 };
	unsigned high;

	build(4, 0);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, write_and_flush, &bad[i]);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(t[i], NULL);
		ck_assert_int_eq(bad[i], 0);
	}
	ck_assert_uint_le(atomic_load(&fx.m.wb.commits), THREADS * ROUNDS);
	ck_assert_int_eq(writeback_all(&fx.m), 0);
	ck_assert_uint_eq(metafix_compare(&fx, &high), 0);
	ck_assert_uint_eq(high, 0);
	end();
}
END_TEST

/* Much that waits asks for a commit, then makes writers wait for it. */
START_TEST(pressure)
{
	unsigned n = 0;

	build(4, 0);
	ck_assert_int_eq(writeback_pressure(&fx.m), WRITEBACK_CALM);
	for (; writeback_pressure(&fx.m) == WRITEBACK_CALM && n < 250; n++)
		ck_assert_int_eq(write_new(n * 32768), 0);
	ck_assert_int_eq(writeback_pressure(&fx.m), WRITEBACK_WANTED);
	for (; writeback_pressure(&fx.m) != WRITEBACK_URGENT && n < 250; n++)
		ck_assert_int_eq(write_new(n * 32768), 0);
	ck_assert_int_eq(writeback_pressure(&fx.m), WRITEBACK_URGENT);
	ck_assert_int_eq(writeback_flush(&fx.m), 0);
	ck_assert_int_eq(writeback_pressure(&fx.m), WRITEBACK_CALM);
	end();
}
END_TEST

static const struct host_ops *quiet_ops;
static bool busy;

/* Somebody has written in place during the sync. */
static int busy_sync(void *ctx)
{
	if (busy && syncs() < 100)
		atomic_store(&fx.m.data_unsynced, true);
	return quiet_ops->sync(ctx);
}

/* Writers that never stop do not keep a commit going, and what was freed before
 * it is free; when they stop nothing is left behind. */
START_TEST(settle)
{
	struct hostfile *file, f;
	struct host_ops ops;
	bool freed;

	build(4, 0);
	file = fx.m.file;
	quiet_ops = file->ops;
	f = *file;
	ops = *quiet_ops;
	ops.sync = busy_sync;
	f.ops = &ops;
	fx.m.file = &f;
	busy = true;
	atomic_store(&fx.m.data_unsynced, true);
	ck_assert_int_eq(writeback_settle(&fx.m), 0);
	ck_assert_uint_eq(syncs(), 1);
	discard(0);
	ck_assert_int_eq(writeback_settle(&fx.m), 0);
	ck_assert_uint_le(syncs(), 3);
	lock_take(&fx.m.lock);
	freed = alloc_has_freed_locked(&fx.m);
	lock_drop(&fx.m.lock);
	ck_assert(!freed);
	busy = false;
	ck_assert_int_eq(writeback_settle(&fx.m), 0);
	ck_assert(metafix_exact(&fx));
	fx.m.file = file;
	end();
}
END_TEST

static bool freed_or_ripe(bool *ripe)
{
	bool any;

	lock_take(&fx.m.lock);
	any = alloc_has_freed_locked(&fx.m);
	*ripe = fx.m.alloc.ripe.n;
	lock_drop(&fx.m.lock);
	return any;
}

static void *do_mature(void *done)
{
	alloc_mature(&fx.m);
	atomic_store((atomic_bool *)done, true);
	return NULL;
}

/* Clusters that one thread is giving back: another one that needs room knows of
 * them, and can wait for them. */
START_TEST(maturing)
{
	atomic_bool done[2] = { false, false };
	struct epoch_ticket t;
	pthread_t th[2];
	bool ripe = true;

	build(4, 0);
	discard(0);
	t = epoch_enter(&fx.m.epoch);
	ck_assert_int_eq(writeback_flush(&fx.m), 0);
	/* the entry's removal is on disk; a request may still read there */
	ck_assert(freed_or_ripe(&ripe));
	ck_assert(ripe);
	pthread_create(&th[0], NULL, do_mature, &done[0]);
	while (ripe)
		ck_assert(freed_or_ripe(&ripe));
	pthread_create(&th[1], NULL, do_mature, &done[1]);
	usleep(20000);
	ck_assert(freed_or_ripe(&ripe));
	ck_assert(!atomic_load(&done[0]) && !atomic_load(&done[1]));
	epoch_leave(&fx.m.epoch, t);
	pthread_join(th[1], NULL);
	ck_assert(!freed_or_ripe(&ripe));
	pthread_join(th[0], NULL);
	end();
}
END_TEST

SUITE_MAIN("writeback", nothing, in_place, allocating, discards_only, urgent,
	   table_growth, growth_for_copy, urgent_growth, failed_sync, failed_write,
	   truncated_under_us, features, group_commit, pressure, settle,
	   maturing)
