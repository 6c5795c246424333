/*
 * test_extl2: extended L2 entries in l2map: what lookups say of subclusters,
 * what each change leaves in the two words of an entry and in the refcounts,
 * and that a reader never sees half of a change.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "core/meta/l2map_priv.h"
#include "core/meta/l2slice.h"
#include "metafix.h"
#include "suite.h"

#define C 16384ULL
#define S 512ULL
#define COPIED IMGBUILD_COPIED
#define ALL 0xffffffffULL
#define ZERO(bits) ((uint64_t)(bits) << 32)

static struct metafix fx;
static unsigned char data[C];

static void build(void)
{
	struct imgbuild_params p = { .cluster_bits = 14, .refcount_order = 4,
				     .size = 8 << 20, .extended = true };

	memset(data, 'x', sizeof(data));
	metafix_build(&fx, &p);
}

/* Runs inside a cluster, and over the border to the next one. */
START_TEST(lookups)
{
	static const struct {
		uint64_t at, len;
		enum l2entry_kind kind;
	} want[] = {
		{ 0, 2, L2ENTRY_PLAIN },      { 2, 3, L2ENTRY_RESERVED },
		{ 5, 1, L2ENTRY_ZERO_ALLOC }, { 6, 25, L2ENTRY_RESERVED },
		{ 31, 33, L2ENTRY_PLAIN },    { 64, 2, L2ENTRY_UNALLOCATED },
		{ 66, 62, L2ENTRY_ZERO_PLAIN },
	};
	uint64_t first;

	build();
	first = imgbuild_subclusters(&fx.b, 0, data, C,
				     0x80000003 | ZERO(1 << 5));
	imgbuild_subclusters(&fx.b, C, data, C, ALL);
	imgbuild_zero_plain(&fx.b, 2 * C);
	imgbuild_bitmap_set(&fx.b, 2 * C, ZERO(ALL << 2));
	imgbuild_zero_plain(&fx.b, 3 * C);
	metafix_open(&fx);
	for (size_t i = 0; i < sizeof(want) / sizeof(*want); i++) {
		struct extent e;

		ck_assert_int_eq(l2map_lookup(&fx.m, want[i].at * S + 7,
					      4 * C - want[i].at * S - 7, &e),
				 0);
		ck_assert_int_eq(e.kind, want[i].kind);
		ck_assert_uint_eq(e.len, want[i].len * S - 7);
		if (i < 5)
			ck_assert_uint_eq(e.hoff, first + want[i].at * S + 7);
		ck_assert_int_eq(e.copied, i < 5);
	}
	metafix_close(&fx);
}
END_TEST

/* One entry, WORD 1 stands for the cluster that it has at first. */
START_TEST(changes)
{
	static const struct {
		uint64_t bitmap;
		bool place, copied;
		enum l2map_what what;
		unsigned from, n;
		uint64_t want;
		bool kept;
	} rows[] = {
		{ 1, true, true, L2MAP_ZERO_KEEP, 0, 1, ZERO(1), true },
		{ 1, true, false, L2MAP_ZERO_KEEP, 0, 1, ZERO(1), false },
		{ 3, true, false, L2MAP_ZERO_KEEP, 0, 1, 2 | ZERO(1), true },
		{ 1, true, true, L2MAP_ZERO_UNMAP, 0, 1, ZERO(1), false },
		{ 3, true, true, L2MAP_ZERO_UNMAP, 0, 1, 2 | ZERO(1), true },
		{ 3, true, true, L2MAP_UNMAP, 1, 31, 1, true },
		{ 3, true, true, L2MAP_UNMAP, 0, 32, 0, false },
		{ ZERO(4), true, true, L2MAP_UNMAP, 2, 1, 0, true },
		{ ZERO(4), true, true, L2MAP_UNMAP, 0, 32, 0, false },
		{ ZERO(4), true, true, L2MAP_ZERO_KEEP, 8, 2, ZERO(0x304), true },
		{ 0, true, true, L2MAP_ZERO_UNMAP, 0, 32, ZERO(ALL), false },
		{ 0, false, false, L2MAP_ZERO_UNMAP, 30, 2, ZERO(3U << 30), false },
		{ ZERO(ALL), false, false, L2MAP_UNMAP, 4, 1, ZERO(~16U), false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		uint64_t at = 0, word;

		build();
		if (rows[i].place)
			at = imgbuild_subclusters(&fx.b, 0, data, C,
						  rows[i].bitmap);
		else
			imgbuild_zero_plain(&fx.b, 0);
		word = at | (rows[i].copied ? COPIED : 0);
		imgbuild_l2_set(&fx.b, 0, word);
		imgbuild_bitmap_set(&fx.b, 0, rows[i].bitmap);
		metafix_open(&fx);
		ck_assert_int_eq(metafix_change(&fx, rows[i].from * S,
						rows[i].n, rows[i].what, 0),
				 0);
		ck_assert(metafix_exact(&fx));
		ck_assert_msg(imgbuild_bitmap_get(&fx.b, 0) == rows[i].want,
			      "row %zu: %#llx", i,
			      (unsigned long long)imgbuild_bitmap_get(&fx.b, 0));
		ck_assert_msg(imgbuild_l2_get(&fx.b, 0) ==
				      (rows[i].kept ? word : 0), "row %zu", i);
		metafix_close(&fx);
	}
}
END_TEST

/* Data: into the cluster that is there, into new ones over a border, in the
 * place of a stream. */
START_TEST(installs)
{
	uint64_t own, at;

	build();
	own = imgbuild_subclusters(&fx.b, 0, data, C, 1 | ZERO(6));
	imgbuild_compressed(&fx.b, 4 * C, data);
	metafix_open(&fx);
	ck_assert_int_eq(metafix_change(&fx, S, 1, L2MAP_DATA, own + S), 0);
	at = metafix_take(&fx, 2);
	ck_assert_int_eq(
		metafix_change(&fx, 2 * C - S, 3, L2MAP_DATA, at + C - S), 0);
	ck_assert_int_eq(metafix_change(&fx, 4 * C, 32, L2MAP_DATA,
					metafix_take(&fx, 1)),
			 0);
	ck_assert(metafix_exact(&fx));
	ck_assert_uint_eq(imgbuild_l2_get(&fx.b, 0), own | COPIED);
	ck_assert_uint_eq(imgbuild_bitmap_get(&fx.b, 0), 3 | ZERO(4));
	ck_assert_uint_eq(imgbuild_l2_get(&fx.b, C), at | COPIED);
	ck_assert_uint_eq(imgbuild_bitmap_get(&fx.b, C), 1ULL << 31);
	ck_assert_uint_eq(imgbuild_l2_get(&fx.b, 2 * C), (at + C) | COPIED);
	ck_assert_uint_eq(imgbuild_bitmap_get(&fx.b, 2 * C), 3);
	ck_assert_uint_eq(imgbuild_bitmap_get(&fx.b, 4 * C), ALL);
	metafix_close(&fx);
}
END_TEST

START_TEST(broken)
{
	static const uint64_t bitmaps[] = { 1 | ZERO(1), ZERO(ALL) | 1U << 31 };
	struct extent e;

	for (unsigned i = 0; i < 2; i++) {
		build();
		imgbuild_subclusters(&fx.b, 0, data, C, bitmaps[i]);
		metafix_open(&fx);
		ck_assert_int_eq(l2map_lookup(&fx.m, 0, C, &e), -EUCLEAN);
		ck_assert_int_eq(metafix_change(&fx, 0, 32, L2MAP_UNMAP, 0),
				 -EUCLEAN);
		metafix_close(&fx);
	}
}
END_TEST

/* --- half a change -------------------------------------------------------------- */

#define SWITCHES 2000 /* of the state, as the reader sees it */
#define LOADS 5000000 /* where threads take turns there are few */

static struct slice *shared;
static const struct l2entry_raw states[2] = { { COPIED | 4 * C, ALL },
					      { 0, ZERO(ALL) } };
static atomic_bool stop;

static void *store(void *arg)
{
	(void)arg;
	lock_take(&fx.m.lock);
	for (unsigned i = 0; !atomic_load(&stop); i++)
		l2slice_store(&fx.g, shared, 3, states[i & 1]);
	lock_drop(&fx.m.lock);
	return NULL;
}

START_TEST(halves)
{
	unsigned switches = 0, torn = 0, before = 1, n;
	pthread_t t;
	uint64_t i;

	build();
	imgbuild_data(&fx.b, 0, data, C);
	metafix_open(&fx);
	ck_assert_int_eq(l2map_slice_of(&fx.m, imgbuild_l1_get(&fx.b, 0) & ~COPIED,
					0, &shared, &i), 0);
	l2slice_store(&fx.g, shared, 3, states[1]);
	ck_assert_int_eq(pthread_create(&t, NULL, store, NULL), 0);
	for (n = 0; n < LOADS && switches < SWITCHES; n++) {
		struct l2entry_raw raw = l2slice_load(&fx.g, shared, 3);
		unsigned now = raw.word == 0;

		switches += now != before;
		before = now;
		torn += raw.bitmap != states[now].bitmap;
	}
	atomic_store(&stop, true);
	ck_assert_int_eq(pthread_join(t, NULL), 0);
	ck_assert_uint_eq(torn, 0);
	tablecache_put(fx.m.l2, shared);
	metafix_close(&fx);
}
END_TEST

SUITE_MAIN("extl2", lookups, changes, installs, broken, halves)
