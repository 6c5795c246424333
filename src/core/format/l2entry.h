/*
 * l2entry: one entry of an L2 table (specification: "L2 table entry",
 * "Standard Cluster Descriptor", "Compressed Clusters Descriptor", "Extended L2
 * Entries") to and from what it means. Also the entries of L1 tables, which
 * share its layout.
 */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/be.h"
#include "core/format/geom.h"
#include "core/format/qcow2.h"

enum l2entry_kind {
	L2ENTRY_UNALLOCATED, /* backing file, or zero */
	L2ENTRY_PLAIN,	     /* hoff holds a cluster of data */
	L2ENTRY_ZERO_PLAIN,  /* zero, no cluster */
	L2ENTRY_ZERO_ALLOC,  /* zero, but hoff is reserved for it */
	L2ENTRY_COMPRESSED,  /* stream at hoff, at most clen bytes */
	L2ENTRY_RESERVED,    /* a subcluster that reads as L2ENTRY_UNALLOCATED,
				but hoff has room for it */
};

/* An entry as it is stored, in native byte order. */
struct l2entry_raw {
	uint64_t word;
	uint64_t bitmap; /* extended entries; 0 with standard ones */
};

struct l2entry {
	enum l2entry_kind kind; /* extended: of subcluster 0, see
				   l2entry_run(); COMPRESSED: of all */
	bool copied;   /* COPIED: refcount is exactly one; so it is for all that
			  have a place in an external data file */
	bool place;    /* hoff is a cluster; 0 can be one in a data file */
	uint64_t hoff; /* bytes; cluster-aligned unless compressed */
	uint32_t clen; /* compressed: bytes to the end of the last sector */
	uint32_t alloc; /* extended: bit X is 1 if subcluster X has data */
	uint32_t zero;	/* extended: bit X is 1 if subcluster X is zero */
};

/* Decode RAW. 0; -EUCLEAN: reserved bits set, offset not aligned, zero flag
 * in a version 2 image or an extended entry, COPIED on a compressed or
 * unallocated entry, a subcluster with data and zero or with data and no
 * cluster, a bitmap with a compressed entry, a compressed entry with an
 * external data file. Says nothing about the file's
 * size. */
int l2entry_decode(const struct geom *g, struct l2entry_raw raw,
		   struct l2entry *e);

/* The inverse; E is valid. Not for L2ENTRY_COMPRESSED. With extended entries
 * alloc and zero say it, not kind. */
struct l2entry_raw l2entry_encode(const struct geom *g,
				  const struct l2entry *e);

/* What subcluster SUB of an extended entry is, not compressed, and for how
 * many subclusters that holds: *N. */
enum l2entry_kind l2entry_sub_run(const struct l2entry *e, unsigned sub,
				  unsigned *n);

/* What stands at byte IN_CLUSTER of the cluster that E describes; *LEN: bytes
 * from there, at most to the cluster's end, of which the same is true. */
static inline enum l2entry_kind l2entry_run(const struct geom *g,
					    const struct l2entry *e,
					    uint64_t in_cluster, uint64_t *len)
{
	enum l2entry_kind kind = e->kind;
	uint64_t end = g->cluster_size;
	unsigned n;

	if (g->extended && kind != L2ENTRY_COMPRESSED) {
		unsigned sub = (unsigned)(in_cluster >> g->sub_bits);

		kind = l2entry_sub_run(e, sub, &n);
		end = (uint64_t)(sub + n) << g->sub_bits;
	}
	*len = end - in_cluster;
	return kind;
}

/* Does E name a host cluster, with or without data in it? Not for compressed
 * ones, which may name two. */
static inline bool l2entry_has_place(const struct l2entry *e)
{
	return e->place && e->kind != L2ENTRY_COMPRESSED;
}

/* How many clusters of the image E refers to; *HIDX is the first of them. */
static inline uint64_t l2entry_clusters(const struct geom *g,
					const struct l2entry *e,
					uint64_t *hidx)
{
	*hidx = e->hoff >> g->cluster_bits;
	if (g->data_file)
		return 0;
	if (e->kind != L2ENTRY_COMPRESSED)
		return e->hoff != 0;
	return ((e->hoff + e->clen - 1) >> g->cluster_bits) - *hidx + 1;
}

/* The entry's word for a compressed cluster: a stream of LEN bytes (1 ..
 * cluster size) at HOFF. *WORD on 0; -ERANGE if the descriptor cannot express
 * it. The bitmap of an extended entry is then 0. */
int l2entry_encode_compressed(const struct geom *g, uint64_t hoff,
			      uint32_t len, uint64_t *word);

/* L1: *L2_HOFF is 0 for none. -EUCLEAN: reserved bits or misaligned. */
int l2entry_decode_l1(const struct geom *g, uint64_t raw, uint64_t *l2_hoff,
		      bool *copied);

static inline uint64_t l2entry_encode_l1(uint64_t l2_hoff, bool copied)
{
	return l2_hoff | (copied ? QCOW2_ENTRY_COPIED : 0);
}

/* Word I of a table in memory, as other threads may be changing it. Acquire
 * and release: what an entry points to was written before it appeared. */
static inline uint64_t l2entry_load_word(const void *table, uint64_t i)
{
	const uint64_t *p = (const uint64_t *)table + i;

	return be64toh(__atomic_load_n(p, __ATOMIC_ACQUIRE));
}

static inline void l2entry_store_word(void *table, uint64_t i, uint64_t word)
{
	__atomic_store_n((uint64_t *)table + i, htobe64(word),
			 __ATOMIC_RELEASE);
}

/* Entry I of an L2 table in memory. Each word is whole; for both of a table
 * that others change see core/meta/l2slice.h. */
static inline struct l2entry_raw l2entry_load(const struct geom *g,
					      const void *table, uint64_t i)
{
	if (!g->extended)
		return (struct l2entry_raw){ l2entry_load_word(table, i), 0 };
	return (struct l2entry_raw){ l2entry_load_word(table, 2 * i),
				     l2entry_load_word(table, 2 * i + 1) };
}

static inline void l2entry_store(const struct geom *g, void *table, uint64_t i,
				 struct l2entry_raw raw)
{
	if (!g->extended) {
		l2entry_store_word(table, i, raw.word);
		return;
	}
	l2entry_store_word(table, 2 * i, raw.word);
	l2entry_store_word(table, 2 * i + 1, raw.bitmap);
}
