/* Fields of the header and its extensions beyond their limits. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "hostile.h"

#define CL 65536ULL

static void field(struct bench *t)
{
	hostile_start(t, NULL);
	hostile_finish(t);
	imgbuild_header_set(&t->b, t->row->field, t->row->value);
}

/* A snapshot table somewhere, with one record to be read. */
static void one_snapshot(struct bench *t)
{
	hostile_start(t, NULL);
	hostile_finish(t);
	imgbuild_header_set(&t->b, IMGBUILD_SNAPSHOTS, 1);
	imgbuild_header_set(&t->b, IMGBUILD_SNAPSHOT_OFFSET, t->row->value);
}

static void cut(struct bench *t)
{
	hostile_start(t, NULL);
	hostile_finish(t);
	if (hostfile_truncate(t->f, t->row->value) < 0)
		_exit(1);
}

static void compression(struct bench *t)
{
	hostile_start(t, NULL);
	hostile_finish(t);
	imgbuild_header_set(&t->b, IMGBUILD_INCOMPAT, 8);
	imgbuild_header_set(&t->b, IMGBUILD_COMPRESSION, t->row->value);
}

static void small_extended(struct bench *t)
{
	struct imgbuild_params p = {.cluster_bits = 13, .size = 1 << 20};

	hostile_start(t, &p);
	hostile_finish(t);
	imgbuild_header_set(&t->b, IMGBUILD_INCOMPAT, 16);
}

/* value: length of the name; arg: its offset */
static void backing_name(struct bench *t)
{
	hostile_start(t, NULL);
	imgbuild_ext(&t->b, 0xe2792aca, "raw", 3);
	hostile_finish(t);
	for (unsigned i = 0; i < 2000; i++)
		imgbuild_poke(&t->b, 60000 + i, 1, 'x');
	imgbuild_header_set(&t->b, IMGBUILD_BACKING_OFFSET, t->row->arg);
	imgbuild_header_set(&t->b, IMGBUILD_BACKING_LEN, t->row->value);
}

/* value: the extension's length as it is stored */
static void ext_len(struct bench *t)
{
	hostile_start(t, NULL);
	imgbuild_ext(&t->b, t->row->arg, "0123456789abcdef", 16);
	imgbuild_poke(&t->b, t->b.ext_end - 20, 4, t->row->value);
	hostile_finish(t);
}

static void ext_many(struct bench *t)
{
	hostile_start(t, NULL);
	for (unsigned i = 0; i < 65; i++)
		imgbuild_ext(&t->b, t->row->value ? 7 : 1000 + i, "x", 1);
	hostile_finish(t);
}

/* A feature whose name talks to the terminal. */
static void feature_name(struct bench *t)
{
	unsigned char f[48] = {0,   40, 27, ']', '0', ';',
			       'x', 7,	27, '[', '2', 'J'};

	hostile_start(t, NULL);
	imgbuild_ext(&t->b, 0x6803f857, f, sizeof(f));
	hostile_finish(t);
	imgbuild_header_set(&t->b, IMGBUILD_INCOMPAT, 1ULL << 40);
}

#define ALL(e, t)                                                              \
	{                                                                      \
		e, e, e, 0, e, 0, t                                            \
	}
#define FIELD(n, f, v, e, t)                                                   \
	{                                                                      \
		.name = n, .make = field, .field = IMGBUILD_##f, .value = v,   \
		.want = ALL(e, t)                                              \
	}
#define BAD(n, f, v, t) FIELD(n, f, v, -EUCLEAN, t)
/* info shows what cannot be opened */
#define UNKNOWN(n, v, t)                                                       \
	{                                                                      \
		.name = n, .make = field, .field = IMGBUILD_INCOMPAT,          \
		.value = v, .want = {                                          \
			0,                                                     \
			-ENOTSUP,                                              \
			-ENOTSUP,                                              \
			0,                                                     \
			-ENOTSUP,                                              \
			0,                                                     \
			t                                                      \
		}                                                              \
	}
#define SNAP(n, v)                                                             \
	{                                                                      \
		.name = n, .make = one_snapshot, .value = v,                   \
		.want = ALL(-EUCLEAN, "snapshots_offset")                      \
	}
#define CUT(n, v, e, t)                                                        \
	{                                                                      \
		.name = n, .make = cut, .value = v, .want = ALL(e, t)          \
	}
#define NAME(n, off, len, t)                                                   \
	{                                                                      \
		.name = n, .make = backing_name, .arg = off, .value = len,     \
		.want = ALL(-EUCLEAN, t)                                       \
	}
/* a broken list of extensions is for check a defect */
#define EXT(n, fn, ty, v, t)                                                   \
	{                                                                      \
		.name = n, .make = fn, .arg = ty, .value = v, .want = {        \
			-EUCLEAN,                                              \
			BROKEN,                                                \
			-EUCLEAN,                                              \
			0,                                                     \
			-EUCLEAN,                                              \
			0,                                                     \
			t                                                      \
		}                                                              \
	}

const struct row hostile_header_rows[] = {
	FIELD("magic", MAGIC, 0x514649fa, -EMEDIUMTYPE, "not a qcow2"),
	FIELD("version 0", VERSION, 0, -ENOTSUP, "version"),
	FIELD("version 1", VERSION, 1, -ENOTSUP, "version"),
	FIELD("version 4", VERSION, 4, -ENOTSUP, "version"),
	FIELD("version -1", VERSION, UINT32_MAX, -ENOTSUP, "version"),
	BAD("cluster_bits 0", CLUSTER_BITS, 0, "cluster_bits"),
	BAD("cluster_bits 8", CLUSTER_BITS, 8, "cluster_bits"),
	BAD("cluster_bits 22", CLUSTER_BITS, 22, "cluster_bits"),
	BAD("cluster_bits 64", CLUSTER_BITS, 64, "cluster_bits"),
	BAD("cluster_bits -1", CLUSTER_BITS, UINT32_MAX, "cluster_bits"),
	BAD("size -1", SIZE, UINT64_MAX, "size"),
	BAD("size 2^63-1", SIZE, INT64_MAX, "size"),
	BAD("size 2^62, short L1", SIZE, 1ULL << 62, "l1_size"),
	BAD("size, L1 one short", SIZE, (512ULL << 20) + 1, "l1_size"),
	BAD("crypt_method 3", CRYPT, 3, "crypt_method"),
	BAD("crypt_method -1", CRYPT, UINT32_MAX, "crypt_method"),
	BAD("l1_size 0", L1_ENTRIES, 0, "l1_size"),
	BAD("l1_size 4194305", L1_ENTRIES, 4194305, "l1_size"),
	BAD("l1_size 2^29", L1_ENTRIES, 1 << 29, "l1_size"),
	BAD("l1_size -1", L1_ENTRIES, UINT32_MAX, "l1_size"),
	BAD("L1 at 0", L1_OFFSET, 0, "l1_table_offset"),
	BAD("L1 misaligned", L1_OFFSET, CL + 8, "l1_table_offset"),
	BAD("L1 past the end", L1_OFFSET, 1ULL << 40, "l1_table_offset"),
	BAD("L1 at 2^63", L1_OFFSET, 1ULL << 63, "l1_table_offset"),
	BAD("L1 wraps", L1_OFFSET, -CL, "l1_table_offset"),
	BAD("L1 longer than the file", L1_ENTRIES, 4194304, "l1_table_offset"),
	BAD("refcount table at 0", REFTABLE_OFFSET, 0, "refcount_table_offset"),
	BAD("refcount table misaligned", REFTABLE_OFFSET, CL + 1,
	    "refcount_table_offset"),
	BAD("refcount table past the end", REFTABLE_OFFSET, 1ULL << 50,
	    "refcount_table_offset"),
	BAD("refcount table wraps", REFTABLE_OFFSET, -CL,
	    "refcount_table_offset"),
	BAD("no refcount table", REFTABLE_CLUSTERS, 0,
	    "refcount_table_clusters"),
	BAD("refcount table 129", REFTABLE_CLUSTERS, 129,
	    "refcount_table_clusters"),
	BAD("refcount table 2^31", REFTABLE_CLUSTERS, 1U << 31,
	    "refcount_table_clusters"),
	BAD("refcount table longer than the file", REFTABLE_CLUSTERS, 128,
	    "refcount_table_offset"),
	BAD("refcount_order 7", REFCOUNT_ORDER, 7, "refcount_order"),
	BAD("refcount_order 64", REFCOUNT_ORDER, 64, "refcount_order"),
	BAD("refcount_order -1", REFCOUNT_ORDER, UINT32_MAX, "refcount_order"),
	BAD("65537 snapshots", SNAPSHOTS, 65537, "nb_snapshots"),
	BAD("2^32-1 snapshots", SNAPSHOTS, UINT32_MAX, "nb_snapshots"),
	SNAP("snapshot table at 0", 0),
	SNAP("snapshot table misaligned", CL + 8),
	SNAP("snapshot table past the end", 1ULL << 45),
	SNAP("snapshot table wraps", -CL),
	BAD("header_length 0", HEADER_LEN, 0, "header_length"),
	BAD("header_length 96", HEADER_LEN, 96, "header_length"),
	BAD("header_length 105", HEADER_LEN, 105, "header_length"),
	BAD("header_length above a cluster", HEADER_LEN, CL + 8,
	    "header_length"),
	BAD("header_length -8", HEADER_LEN, UINT32_MAX - 7, "header_length"),
	UNKNOWN("incompatible bit 5", 1 << 5, "bit 5"),
	UNKNOWN("incompatible bit 63", 1ULL << 63, "bit 63"),
	UNKNOWN("all incompatible bits", ~0xdULL, "unknown"),
	BAD("compression bit, no type", INCOMPAT, 8, "compression_type"),
	BAD("compression type, no bit", COMPRESSION, 1, "compression_type"),
	{.name = "compression type 2",
	 .make = compression,
	 .value = 2,
	 .want = ALL(-ENOTSUP, "compression_type")},
	{.name = "extended L2, 8 KiB",
	 .make = small_extended,
	 .want = ALL(-EUCLEAN, "cluster_bits")},
	CUT("empty file", 0, -EMEDIUMTYPE, "not a qcow2"),
	CUT("1 byte", 1, -EMEDIUMTYPE, "not a qcow2"),
	CUT("71 bytes", 71, -EMEDIUMTYPE, "not a qcow2"),
	CUT("72 bytes", 72, -EUCLEAN, "72 bytes"),
	CUT("103 bytes", 103, -EUCLEAN, "103 bytes"),
	CUT("header only", 512, -EUCLEAN, "l1_table_offset"),
	NAME("backing name behind the cluster", 65537, 10, "backing"),
	NAME("backing name over the end", 65530, 10, "backing"),
	NAME("backing name of 1024", 60000, 1024, "backing"),
	NAME("backing name of 2^32-1", 60000, UINT32_MAX, "backing"),
	NAME("backing name in the header", 8, 10, "backing"),
	NAME("backing name with NUL", 59995, 100, "NUL"),
	EXT("backing name in an extension", backing_name, 120, 3, "extension"),
	EXT("extension of 2^32-1", ext_len, 77, UINT32_MAX, "extension"),
	EXT("extension over the end", ext_len, 77, CL - 112, "extension"),
	EXT("backing format of 16", ext_len, 0xe2792aca, 16, "format"),
	EXT("65 extensions", ext_many, 0, 0, "extension"),
	EXT("an extension twice", ext_many, 0, 1, "twice"),
	{.name = "feature name with escapes",
	 .make = feature_name,
	 .want = {0, -ENOTSUP, -ENOTSUP, 0, -ENOTSUP, 0, "x1b"}},
	{0},
};
