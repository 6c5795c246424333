/* Compressed clusters that are none, that expand without end, or that lie where
 * something else does. Snapshot tables. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hostile.h"
#include "lib/imgbuild_deflate.h"

#define CL 65536ULL
#define CO IMGBUILD_COPIED
#define OFFSET(e) ((e)&0x00fffffffffffe00ULL)

/* --- streams
 * ----------------------------------------------------------------------- */

static void bytes(struct bench *t, const void *stream, size_t len)
{
	imgbuild_stream(&t->b, 2 * CL, stream, len);
	hostile_finish(t);
}

static void start_zstd(struct bench *t)
{
	struct imgbuild_params p = {
		.cluster_bits = 16, .size = 4 << 20, .zstd = true};

	hostile_start(t, &p);
}

static void garbage(struct bench *t)
{
	unsigned char s[600];

	if (t->row->value)
		start_zstd(t);
	else
		hostile_start(t, NULL);
	memset(s, 0xff, sizeof(s));
	bytes(t, s, sizeof(s));
}

/* value: how much the stream expands to */
static void expands(struct bench *t)
{
	unsigned char *in = calloc(1, t->row->value + 1);
	unsigned char *out = malloc(1 << 20);
	size_t n;

	hostile_start(t, NULL);
	n = in && out ? imgbuild_deflate_zlib(out, 1 << 20, in, t->row->value)
		      : 0;
	if (!n || n > CL)
		abort();
	bytes(t, out, n);
	free(in);
	free(out);
}

/* A frame with a window of 2^value bytes: header, then one block that repeats a
 * byte. */
static void window(struct bench *t)
{
	unsigned char s[] = {0x28, 0xb5,
			     0x2f, 0xfd,
			     0x00, (unsigned char)((t->row->value - 10) << 3),
			     0x03, 0x00,
			     0x08, 0x7a};

	start_zstd(t);
	bytes(t, s, sizeof(s));
}

/* value: where the stream begins; arg: sectors beyond the first */
static void descriptor(struct bench *t)
{
	uint64_t value = t->row->value;

	hostile_start(t, NULL);
	hostile_finish(t);
	if (value == 1) /* the L2 table itself */
		value = OFFSET(imgbuild_l1_get(&t->b, 0));
	if (value == 2) /* up to it */
		value = OFFSET(imgbuild_l1_get(&t->b, 0)) - 1000;
	if (value == 3)
		value = OFFSET(imgbuild_l2_get(&t->b, 0));
	imgbuild_l2_set(&t->b, 2 * CL,
			IMGBUILD_COMPRESSED | (uint64_t)t->row->arg << 54 |
				value);
}

/* A stream with COPIED. */
static void copied(struct bench *t)
{
	unsigned char data[CL];

	hostile_start(t, NULL);
	memset(data, 'c', sizeof(data));
	imgbuild_compressed(&t->b, 2 * CL, data);
	hostile_finish(t);
	imgbuild_l2_set(&t->b, 2 * CL, imgbuild_l2_get(&t->b, 2 * CL) | CO);
}

/* A disk of 8 GiB whose 4096 clusters of 2 MiB are one stream of zeroes. */
static void all_equal(struct bench *t)
{
	struct imgbuild_params p = {.cluster_bits = 21, .size = 8ULL << 30};
	unsigned char *data = calloc(1, 2 << 20);
	uint64_t e;

	hostile_start(t, &p);
	imgbuild_compressed(&t->b, 2 << 21, data);
	e = imgbuild_l2_get(&t->b, 2 << 21);
	for (uint64_t i = 3; i < 4096; i++)
		imgbuild_l2_set(&t->b, i << 21, e);
	imgbuild_ref(&t->b, OFFSET(e & ((1ULL << 49) - 1)), 4093);
	hostile_finish(t);
	free(data);
	t->read_len = 64 << 20;
}

#define MET(t)                                                                 \
	{                                                                      \
		0, BROKEN, 0, -EUCLEAN, 0, -EUCLEAN, t                         \
	}
#define BAD_STREAM                                                             \
	{                                                                      \
		0, BROKEN, 0, -EIO, 0, -EIO, "cannot read the compressed"      \
	}

const struct row hostile_stream_rows[] = {
	{.name = "deflate: garbage", .make = garbage, .want = BAD_STREAM},
	{.name = "deflate: one byte short",
	 .make = expands,
	 .value = CL - 1,
	 .want = BAD_STREAM},
	{.name = "deflate: a bomb",
	 .make = expands,
	 .value = 16 << 20,
	 .want = {0, 0, 0, 0, 0, 0, NULL}},
#if HAVE_ZSTD
	{.name = "zstd: garbage",
	 .make = garbage,
	 .value = 1,
	 .want = BAD_STREAM},
	{.name = "zstd: window of 128 MiB",
	 .make = window,
	 .value = 27,
	 .want = BAD_STREAM},
	{.name = "zstd: window of 2 TiB",
	 .make = window,
	 .value = 41,
	 .want = BAD_STREAM},
#endif
	{.name = "stream behind the end",
	 .make = descriptor,
	 .value = 1ULL << 40,
	 .want = {0, BROKEN, 0, -EUCLEAN, -EUCLEAN, 0, "outside the file"}},
	{.name = "stream over the end",
	 .make = descriptor,
	 .value = 3,
	 .arg = 255,
	 .want = {0, BROKEN, 0, -EIO, -EUCLEAN, 0, "data and compressed"}},
	{.name = "stream in the header",
	 .make = descriptor,
	 .value = 100,
	 .want = {0, BROKEN, 0, -EUCLEAN, -EUCLEAN, 0,
		  "the header and compressed data"}},
	{.name = "stream in an L2 table",
	 .make = descriptor,
	 .value = 1,
	 .want = {0, BROKEN, 0, -EIO, -EUCLEAN, 0,
		  "an L2 table and compressed data"}},
	{.name = "stream into an L2 table",
	 .make = descriptor,
	 .value = 2,
	 .arg = 3,
	 .want = {0, BROKEN, 0, -EIO, -EUCLEAN, 0, "compressed data"}},
	{.name = "stream with COPIED", .make = copied, .want = MET("L2 entry")},
	{.name = "4096 entries, one stream",
	 .make = all_equal,
	 .want = {0, 0, 0, 0, 0, 0, NULL}},
	{0},
};

/* --- snapshots
 * ------------------------------------------------------------------------ */

static void start_snapshot(struct bench *t, const char *id, const char *name)
{
	hostile_start(t, NULL);
	imgbuild_snapshot(&t->b, id, name);
	hostile_finish(t);
}

/* arg: offset in the record, value: what is written there (8 bytes) */
static void record(struct bench *t)
{
	start_snapshot(t, "1", "s");
	imgbuild_poke(&t->b,
		      imgbuild_header_get(&t->b, IMGBUILD_SNAPSHOT_OFFSET) +
			      t->row->arg,
		      t->row->arg == 0 || t->row->arg == 48 ? 8 : 4,
		      t->row->value);
}

static void escapes(struct bench *t)
{
	start_snapshot(t, "\033[31m", "\033]0;owned\007\r\n\033[2J");
}

/* Two snapshots share an L1 table, or have the disk's. */
static void shared_l1(struct bench *t)
{
	uint64_t at, l1;

	hostile_start(t, NULL);
	imgbuild_snapshot(&t->b, "1", "a");
	imgbuild_snapshot(&t->b, "2", "b");
	hostile_finish(t);
	at = imgbuild_header_get(&t->b, IMGBUILD_SNAPSHOT_OFFSET);
	l1 = t->row->value ? t->b.l1_off : imgbuild_peek(&t->b, at, 8);
	/* the second record: 40 bytes, extra data, "1a", padding */
	imgbuild_poke(
		&t->b,
		at + ((40 + imgbuild_peek(&t->b, at + 36, 4) + 2 + 7) & ~7ULL),
		8, l1);
}

/* 65536 records in a hole of the file. */
static void hole(struct bench *t)
{
	uint64_t at;

	hostile_start(t, NULL);
	hostile_finish(t);
	at = imgbuild_alloc(&t->b, 1);
	if (hostfile_truncate(t->f, at + (64 << 20)) < 0)
		abort();
	imgbuild_header_set(&t->b, IMGBUILD_SNAPSHOTS, 65536);
	imgbuild_header_set(&t->b, IMGBUILD_SNAPSHOT_OFFSET, at);
}

/* 500 records, each with names of 2 times 65535 zero bytes from a hole. */
static void long_names(struct bench *t)
{
	uint64_t at, step = 40 + 2 * 65535 + 2;

	hostile_start(t, NULL);
	hostile_finish(t);
	at = imgbuild_alloc(&t->b, 1);
	if (hostfile_truncate(t->f, at + 70000000) < 0)
		abort();
	for (unsigned i = 0; i < 500; i++)
		imgbuild_poke(&t->b, at + i * step + 12, 4, 0xffffffff);
	imgbuild_header_set(&t->b, IMGBUILD_SNAPSHOTS, 500);
	imgbuild_header_set(&t->b, IMGBUILD_SNAPSHOT_OFFSET, at);
}

/* Snapshots whose L1 tables are 32 MiB each, all in one hole. */
static void huge_l1s(struct bench *t)
{
	uint64_t at, table;

	hostile_start(t, NULL);
	hostile_finish(t);
	table = imgbuild_alloc(&t->b, 1);
	at = imgbuild_alloc(&t->b, 1);
	if (hostfile_truncate(t->f, at + (t->row->value << 25)) < 0)
		abort();
	for (unsigned i = 0; i < t->row->value; i++) {
		imgbuild_poke(&t->b, table + i * 40, 8,
			      at + ((uint64_t)i << 25));
		imgbuild_poke(&t->b, table + i * 40 + 8, 4, 4 << 20);
	}
	imgbuild_header_set(&t->b, IMGBUILD_SNAPSHOTS, t->row->value);
	imgbuild_header_set(&t->b, IMGBUILD_SNAPSHOT_OFFSET, table);
}

/* The table is broken: info says so, the disk can be read. */
#define TABLE(n, off, v, txt)                                                  \
	{                                                                      \
		.name = n, .make = record, .arg = off, .value = v, .want = {   \
			-EUCLEAN,                                              \
			BROKEN,                                                \
			0,                                                     \
			0,                                                     \
			-EUCLEAN,                                              \
			0,                                                     \
			txt                                                    \
		}                                                              \
	}

const struct row hostile_snapshot_rows[] = {
	TABLE("snapshot L1 misaligned", 0, CL + 512, "l1_table_offset"),
	TABLE("snapshot L1 behind the end", 0, 1ULL << 40, "l1_table_offset"),
	TABLE("snapshot L1 wraps", 0, -CL, "l1_table_offset"),
	TABLE("snapshot L1 of 2^32-1", 8, UINT32_MAX, "l1_size"),
	TABLE("snapshot L1 of 4194305", 8, 4194305, "l1_size"),
	TABLE("snapshot L1 over the end", 8, 4194304, "l1_table_offset"),
	TABLE("snapshot extra data 1025", 36, 1025, "extra data"),
	TABLE("snapshot extra data 2^32-1", 36, UINT32_MAX, "extra data"),
	TABLE("snapshot disk 2^64-1", 48, UINT64_MAX, "disk size"),
	{.name = "snapshot names with escapes",
	 .make = escapes,
	 .want = {0, 0, 0, 0, 0, 0, NULL}},
	{.name = "two snapshots, one L1",
	 .make = shared_l1,
	 .want = {0, BROKEN, 0, 0, -EUCLEAN, 0, "at once"}},
	{.name = "snapshot with the disk's L1",
	 .make = shared_l1,
	 .value = 1,
	 .want = {0, BROKEN, 0, 0, -EUCLEAN, 0, "at once"}},
	{.name = "65536 snapshots in a hole",
	 .make = hole,
	 .want = {0, BROKEN, 0, 0, 0, -EUCLEAN, "free cluster in use"}},
	{.name = "snapshot names of 64 MiB",
	 .make = long_names,
	 .want = {0, BROKEN, 0, 0, 0, -EUCLEAN, "free cluster in use"}},
	{.name = "snapshot L1 tables of 512 MiB",
	 .make = huge_l1s,
	 .value = 16,
	 .want = {0, BROKEN, 0, 0, 0, -EUCLEAN, NULL}},
	{.name = "snapshot L1 tables of 544 MiB",
	 .make = huge_l1s,
	 .value = 17,
	 .want = {-EUCLEAN, BROKEN, 0, 0, -EUCLEAN, 0, "512 MiB"}},
	{0},
};
