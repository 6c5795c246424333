/*
 * L1, L2 and refcount tables that contradict themselves or each other, streams
 * that are none, snapshots.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hostile.h"

#define CL 65536ULL
#define CO IMGBUILD_COPIED
#define OFFSET(e) ((e)&0x00fffffffffffe00ULL)
#define FAR (1ULL << 40)

/* --- where entries lead
 * ---------------------------------------------------------- */

/* Places in the sound image, for an entry to lead to. */
enum place {
	SELF,
	OTHER_L2,
	L1_TABLE,
	REFTABLE,
	REFBLOCK,
	SNAPTABLE,
	SNAP_L1,
	SNAP_L2,
	SNAP_DATA,
	OWN_DATA,
	BEHIND,
	LAST_SECTOR,
	NOWHERE,
};

static uint64_t place(struct bench *t, enum place p)
{
	struct imgbuild *b = &t->b;
	uint64_t snaps = imgbuild_header_get(b, IMGBUILD_SNAPSHOT_OFFSET);
	uint64_t l1 = imgbuild_peek(b, snaps, 8);
	uint64_t l2 = OFFSET(imgbuild_peek(b, l1, 8));
	uint64_t table = imgbuild_header_get(b, IMGBUILD_REFTABLE_OFFSET);
	struct host_stat st;

	if (hostfile_stat(t->f, &st) < 0)
		abort();
	switch (p) {
	case SELF:
		return OFFSET(imgbuild_l1_get(b, 0));
	case OTHER_L2:
		return OFFSET(imgbuild_l1_get(b, 1));
	case L1_TABLE:
		return b->l1_off;
	case REFTABLE:
		return table;
	case REFBLOCK:
		return imgbuild_peek(b, table, 8);
	case SNAPTABLE:
		return snaps;
	case SNAP_L1:
		return l1;
	case SNAP_L2:
		return l2;
	case SNAP_DATA:
		return OFFSET(imgbuild_peek(b, l2 + 8, 8));
	case OWN_DATA:
		return OFFSET(imgbuild_l2_get(b, 0));
	case BEHIND:
		return st.size + 8 * CL;
	case LAST_SECTOR:
		return FAR;
	case NOWHERE:
		break;
	}
	return 0;
}

/* What no write of the guest may ever change. */
static void guard_tables(struct bench *t)
{
	static const enum place places[] = {L1_TABLE, REFTABLE, SNAPTABLE,
					    SNAP_L1,  SNAP_L2,	SNAP_DATA};

	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		hostile_guard(t, place(t, places[i]), CL);
}

/* With two L2 tables and a snapshot, which shares cluster 1. */
static void start_full(struct bench *t)
{
	struct imgbuild_params p = {.cluster_bits = 16, .size = 1ULL << 30};

	hostile_start(t, &p);
	imgbuild_data(&t->b, 600 << 20, "x", 1);
	imgbuild_snapshot(&t->b, "1", "s");
	imgbuild_data(&t->b, 0, "y", 1);
	imgbuild_data(&t->b, 600 << 20, "y", 1);
	hostile_finish(t);
	guard_tables(t);
	hostile_guard(t, place(t, OTHER_L2), CL);
	t->read_len = 4 << 20;
}

/* arg: where the entry of guest cluster 1 leads; value: its flags */
static void l2_leads(struct bench *t)
{
	start_full(t);
	imgbuild_l2_set(&t->b, CL, place(t, t->row->arg) | t->row->value);
}

/* arg: where the third entry of the L1 table leads; value: its flags */
static void l1_leads(struct bench *t)
{
	struct imgbuild_params p = {.cluster_bits = 16, .size = 2ULL << 30};

	hostile_start(t, &p);
	imgbuild_data(&t->b, 600 << 20, "x", 1);
	imgbuild_snapshot(&t->b, "1", "s");
	imgbuild_data(&t->b, 0, "y", 1);
	hostile_finish(t);
	guard_tables(t);
	imgbuild_l1_set(&t->b, 3, place(t, t->row->arg) | t->row->value);
}

/* arg: where entry 1 of the refcount table leads */
static void block_leads(struct bench *t)
{
	start_full(t);
	imgbuild_poke(&t->b, place(t, REFTABLE) + 8, 8,
		      place(t, t->row->arg) | t->row->value);
}

/* arg: whose count is set to value */
static void count(struct bench *t)
{
	start_full(t);
	imgbuild_refcount_set(&t->b, place(t, t->row->arg), t->row->value);
}

static void header_count(struct bench *t)
{
	hostile_start(t, NULL);
	hostile_finish(t);
	imgbuild_refcount_set(&t->b, 0, 0);
}

static void zero_flag_v2(struct bench *t)
{
	struct imgbuild_params p = {
		.version = 2, .cluster_bits = 16, .size = 4 << 20};

	hostile_start(t, &p);
	imgbuild_l2_set(&t->b, CL, 1);
	hostile_finish(t);
}

/* A refcount table of 8 MiB whose entries all name one block. */
static void one_block(struct bench *t)
{
	uint64_t *e = malloc(8 << 20);
	uint64_t table, block;

	hostile_start(t, NULL);
	table = imgbuild_alloc(&t->b, 128);
	hostile_finish(t);
	block = imgbuild_peek(&t->b, place(t, REFTABLE), 8);
	for (unsigned i = 0; e && i < 1 << 20; i++)
		e[i] = __builtin_bswap64(block);
	if (!e || hostfile_pwrite_full(t->f, e, 8 << 20, table) < 0)
		abort();
	free(e);
	imgbuild_header_set(&t->b, IMGBUILD_REFTABLE_OFFSET, table);
	imgbuild_header_set(&t->b, IMGBUILD_REFTABLE_CLUSTERS, 128);
}

/* A disk of 2^45 bytes whose L1 entries all name one L2 table. */
static void one_l2(struct bench *t)
{
	struct imgbuild_params p = {.cluster_bits = 16, .size = 1ULL << 45};
	uint64_t *e = malloc((1 << 16) * 8);
	uint64_t l2;

	hostile_start(t, &p);
	hostile_finish(t);
	l2 = place(t, SELF) | t->row->value;
	for (unsigned i = 0; e && i < 1 << 16; i++)
		e[i] = __builtin_bswap64(l2);
	if (!e || hostfile_pwrite_full(t->f, e, (1 << 16) * 8, t->b.l1_off) < 0)
		abort();
	free(e);
	t->read_len = 4 << 20;
}

/* The largest L1 table, a hole of the file, for the largest disk. */
static void largest(struct bench *t)
{
	struct imgbuild_params p = {.cluster_bits = 21, .size = 1 << 30};
	uint64_t at;

	hostile_start(t, &p);
	hostile_finish(t);
	at = imgbuild_alloc(&t->b, 16);
	if (hostfile_truncate(t->f, at + (32 << 20)) < 0)
		abort();
	imgbuild_header_set(&t->b, IMGBUILD_L1_OFFSET, at);
	imgbuild_header_set(&t->b, IMGBUILD_L1_ENTRIES, 4 << 20);
	imgbuild_header_set(&t->b, IMGBUILD_SIZE, 1ULL << 61);
	t->read_len = 4 << 20;
}

/* Data in a sparse file of 2^45 bytes, each cluster a gigabyte from the next:
 * a map of the clusters must not grow with that. */
static void far_apart(struct bench *t)
{
	hostile_start(t, NULL);
	hostile_finish(t);
	if (hostfile_truncate(t->f, 1ULL << 43) < 0)
		abort();
	for (uint64_t i = 3; i < 64; i++)
		imgbuild_l2_set(&t->b, i * CL, (i << 36) | CO);
}

static void marked(struct bench *t)
{
	hostile_start(t, NULL);
	hostile_finish(t);
	imgbuild_header_set(&t->b, IMGBUILD_INCOMPAT, t->row->value);
}

#define L2(n, p, fl, ...)                                                      \
	{                                                                      \
		.name = n, .make = l2_leads, .arg = p, .value = fl,            \
		.want = __VA_ARGS__                                            \
	}
#define L1(n, p, fl, ...)                                                      \
	{                                                                      \
		.name = n, .make = l1_leads, .arg = p, .value = fl,            \
		.want = __VA_ARGS__                                            \
	}
#define BLOCK(n, p, fl, ...)                                                   \
	{                                                                      \
		.name = n, .make = block_leads, .arg = p, .value = fl,         \
		.want = __VA_ARGS__                                            \
	}
#define COUNT(n, p, v, ...)                                                    \
	{                                                                      \
		.name = n, .make = count, .arg = p, .value = v,                \
		.want = __VA_ARGS__                                            \
	}
/* opened to write: refused; read-only it shows the bytes of a table */
#define CLASH(t)                                                               \
	{                                                                      \
		0, BROKEN, 0, 0, -EUCLEAN, 0, t                                \
	}
/* the entry is impossible by itself */
#define IMPOSSIBLE(t)                                                          \
	{                                                                      \
		0, BROKEN, 0, -EUCLEAN, -EUCLEAN, 0, t                         \
	}
/* found when it is met */
#define MET(t)                                                                 \
	{                                                                      \
		0, BROKEN, 0, -EUCLEAN, 0, -EUCLEAN, t                         \
	}

const struct row hostile_table_rows[] = {
	L2("L2 maps itself", SELF, CO, CLASH("an L2 table and data")),
	L2("L2 maps itself, not COPIED", SELF, 0,
	   CLASH("an L2 table and shared data")),
	L2("L2 maps another L2", OTHER_L2, CO, CLASH("an L2 table and data")),
	L2("L2 maps itself, zero flag", SELF, CO | 1, CLASH("an L2 table and")),
	L2("data in the L1 table", L1_TABLE, CO,
	   IMPOSSIBLE("the L1 table and data")),
	L2("data in the refcount table", REFTABLE, CO,
	   CLASH("the refcount table and data")),
	L2("data in a refcount block", REFBLOCK, CO,
	   CLASH("a refcount block and data")),
	L2("data in the snapshot table", SNAPTABLE, CO,
	   CLASH("the snapshot table and data")),
	L2("data in a snapshot's L1", SNAP_L1, CO,
	   CLASH("the L1 table of a snapshot and data")),
	L2("data in a snapshot's L2", SNAP_L2, CO,
	   CLASH("an L2 table of a snapshot and data")),
	L2("COPIED on a snapshot's data", SNAP_DATA, CO,
	   CLASH("shared data and data")),
	L2("two entries for one cluster", OWN_DATA, CO, CLASH("data and data")),
	L2("data behind the end", BEHIND, CO, IMPOSSIBLE("outside the file")),
	L2("data far behind the end", LAST_SECTOR, CO,
	   IMPOSSIBLE("outside the file")),
	L2("COPIED on nothing", NOWHERE, CO, MET("L2 entry")),
	L2("data misaligned", OWN_DATA, CO | 512, MET("L2 entry")),
	L2("reserved bit 1", OWN_DATA, CO | 2, MET("L2 entry")),
	L2("reserved bit 56", OWN_DATA, CO | 1ULL << 56, MET("L2 entry")),
	L2("reserved bit 61", OWN_DATA, CO | 1ULL << 61, MET("L2 entry")),
	L1("two L1 entries for one L2", SELF, CO,
	   CLASH("an L2 table and an L2 table")),
	L1("COPIED on a snapshot's L2", SNAP_L2, CO,
	   CLASH("an L2 table of a snapshot")),
	L1("L2 in the L1 table", L1_TABLE, CO,
	   IMPOSSIBLE("the L1 table and an L2")),
	L1("L2 in the refcount table", REFTABLE, CO,
	   CLASH("the refcount table and an L2 table")),
	L1("L2 in a refcount block", REFBLOCK, CO,
	   IMPOSSIBLE("a refcount block and an L2 table")),
	L1("L2 in the snapshot table", SNAPTABLE, 0,
	   IMPOSSIBLE("the snapshot table")),
	L1("L2 in data", OWN_DATA, CO, IMPOSSIBLE("an L2 table and data")),
	L1("L2 behind the end", BEHIND, CO, IMPOSSIBLE("outside the file")),
	L1("L2 misaligned", SELF, CO | 512,
	   {0, BROKEN, 0, -EUCLEAN, 0, 0, "L1 entry"}),
	L1("L1 entry, reserved bit", SELF, CO | 1,
	   {0, BROKEN, 0, -EUCLEAN, 0, 0, "L1 entry"}),
	L1("L1 entry, compressed flag", SELF, 1ULL << 62,
	   {0, BROKEN, 0, -EUCLEAN, 0, 0, "L1 entry"}),
	BLOCK("refcount block twice", REFBLOCK, 0,
	      CLASH("a refcount block and")),
	BLOCK("refcount block in the header", NOWHERE, 512,
	      {0, BROKEN, 0, 0, 0, 0, NULL}),
	BLOCK("refcount block in the L1 table", L1_TABLE, 0,
	      CLASH("the L1 table and")),
	BLOCK("refcount block in data", OWN_DATA, 0,
	      CLASH("a refcount block and data")),
	BLOCK("refcount block behind the end", BEHIND, 0,
	      {0, BROKEN, 0, 0, 0, 0, NULL}),
	COUNT("count 0: the L1 table", L1_TABLE, 0,
	      {0, BROKEN, 0, 0, -EUCLEAN, 0, "refcount"}),
	COUNT("count 0: the refcount table", REFTABLE, 0,
	      {0, BROKEN, 0, 0, -EUCLEAN, 0, "refcount"}),
	COUNT("count 0: the refcount block", REFBLOCK, 0,
	      {0, BROKEN, 0, 0, 0, -EUCLEAN, "free cluster in use"}),
	COUNT("count 0: an L2 table", SELF, 0,
	      {0, BROKEN, 0, 0, 0, -EUCLEAN, "free cluster in use"}),
	COUNT("count 0: data", OWN_DATA, 0,
	      {0, BROKEN, 0, 0, 0, -EUCLEAN, "free cluster in use"}),
	COUNT("count 0: a snapshot's L2", SNAP_L2, 0,
	      {0, BROKEN, 0, 0, 0, -EUCLEAN, "free cluster in use"}),
	COUNT("count 0: the snapshot table", SNAPTABLE, 0,
	      {0, BROKEN, 0, 0, 0, -EUCLEAN, "free cluster in use"}),
	COUNT("count 65535: data", OWN_DATA, 65535,
	      {0, BROKEN, 0, 0, 0, 0, NULL}),
	{.name = "count 0: the header",
	 .make = header_count,
	 .want = {0, BROKEN, 0, 0, -EUCLEAN, 0, "refcount"}},
	{.name = "zero flag in version 2",
	 .make = zero_flag_v2,
	 .want = MET("L2 entry")},
	{.name = "8 MiB of one refcount block",
	 .make = one_block,
	 .want = CLASH("a refcount block and a refcount block")},
	{.name = "65536 L1 entries, one L2",
	 .make = one_l2,
	 .value = CO,
	 .want = CLASH("an L2 table and an L2 table")},
	{.name = "65536 L1 entries, one shared L2",
	 .make = one_l2,
	 .want = {0, BROKEN, 0, 0, -EUCLEAN, 0, "more references"}},
	{.name = "largest L1 table, a hole",
	 .make = largest,
	 .want = {0, BROKEN, 0, 0, -EUCLEAN, 0, NULL}},
	{.name = "clusters far apart",
	 .make = far_apart,
	 .want = {0, BROKEN, 0, 0, 0, 0, NULL}},
	{.name = "dirty",
	 .make = marked,
	 .value = 1,
	 .want = {0, 0, 0, 0, 0, -EROFS, "dirty"}},
	{.name = "corrupt",
	 .make = marked,
	 .value = 2,
	 .want = {0, 0, 0, 0, 0, -EROFS, "corrupt"}},
	{0},
};
