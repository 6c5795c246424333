/*
 * geom: the sizes that follow from a header, and index arithmetic. Filled once
 * at open and const afterwards, so it needs no lock. Offsets: goff is a guest
 * byte offset, hoff a host byte offset; gidx and hidx count clusters.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct geom {
	uint64_t size;		/* virtual disk size in bytes */
	unsigned version;	/* 2 or 3 */
	unsigned cluster_bits;	/* 9..21 */
	uint64_t cluster_size;	/* 512..2 MiB */
	bool extended;		/* extended L2 entries, with subclusters */
	unsigned sub_bits;	/* log2 of the bytes that are mapped as one: of
				   a subcluster, without them of a cluster */
	uint64_t sub_size;	/* 512..64 KiB, or cluster_size */
	unsigned entry_bits;	/* log2 of bytes in an L2 entry: 3 or 4 */
	unsigned l2_bits;	/* log2 of entries in an L2 table */
	uint64_t l2_entries;
	unsigned refcount_order; /* 0..6 */
	unsigned refcount_bits;	/* 1..64 */
	uint64_t refcount_max;
	unsigned refblock_bits; /* log2 of entries in a refcount block */
	uint64_t refblock_entries;
	unsigned slice_bits;	/* tables are cached in slices: min(4 KiB,
				   cluster) */
	uint64_t slice_size;
	uint8_t compression;	/* enum qcow2_compression */
	bool data_file;		/* guest data lies in an external data file, at
				   the host offset that is its guest offset */
	bool data_raw;		/* and that file alone is the disk, as raw */
};

/* CLUSTER_BITS and REFCOUNT_ORDER are in range (header_decode checks). */
void geom_init(struct geom *g, unsigned version, unsigned cluster_bits,
	       unsigned refcount_order, uint8_t compression, uint64_t size);

/* The image has extended L2 entries: follows geom_init(), with CLUSTER_BITS of
 * QCOW2_EXTL2_CLUSTER_BITS_MIN at least. */
void geom_extend(struct geom *g);

/* L1 entries that SIZE bytes of guest disk need; SIZE <= QCOW2_MAX_SIZE. */
uint64_t geom_l1_entries(const struct geom *g, uint64_t size);

static inline uint64_t geom_gidx(const struct geom *g, uint64_t goff) { return goff >> g->cluster_bits; }
static inline uint64_t geom_in_cluster(const struct geom *g, uint64_t off) { return off & (g->cluster_size - 1); }
static inline uint64_t geom_l1_index(const struct geom *g, uint64_t goff) { return goff >> (g->cluster_bits + g->l2_bits); }
static inline uint64_t geom_l2_index(const struct geom *g, uint64_t goff) { return (goff >> g->cluster_bits) & (g->l2_entries - 1); }
/* Entries in a slice of an L2 table. */
static inline uint64_t geom_slice_entries(const struct geom *g) { return g->slice_size >> g->entry_bits; }
/* Bytes of guest disk that one L2 table maps. */
static inline uint64_t geom_l2_span(const struct geom *g) { return g->cluster_size << g->l2_bits; }
/* Clusters needed for LEN bytes. */
static inline uint64_t geom_clusters(const struct geom *g, uint64_t len) { return (len >> g->cluster_bits) + ((len & (g->cluster_size - 1)) != 0); }
