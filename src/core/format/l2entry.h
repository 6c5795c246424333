/*
 * l2entry: one entry of an L2 table (specification: "L2 table entry",
 * "Standard Cluster Descriptor", "Compressed Clusters Descriptor") to and from
 * what it means. Also the entries of L1 tables, which share its layout.
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
};

struct l2entry {
	enum l2entry_kind kind;
	bool copied;   /* COPIED: refcount is exactly one */
	uint64_t hoff; /* bytes; cluster-aligned unless compressed */
	uint32_t clen; /* compressed: bytes to the end of the last sector */
};

/* Decode RAW (native order). 0; -EUCLEAN: reserved bits set, offset not
 * aligned, zero flag in a version 2 image, COPIED on a compressed or
 * unallocated entry. Says nothing about the file's size. */
int l2entry_decode(const struct geom *g, uint64_t raw, struct l2entry *e);

/* The inverse; E is valid. Not for L2ENTRY_COMPRESSED. */
uint64_t l2entry_encode(const struct l2entry *e);

/* The raw entry of a compressed cluster: a stream of LEN bytes (1 .. cluster
 * size) at HOFF. *RAW on 0; -ERANGE if the descriptor cannot express it. */
int l2entry_encode_compressed(const struct geom *g, uint64_t hoff,
			      uint32_t len, uint64_t *raw);

/* L1: *L2_HOFF is 0 for none. -EUCLEAN: reserved bits or misaligned. */
int l2entry_decode_l1(const struct geom *g, uint64_t raw, uint64_t *l2_hoff,
		      bool *copied);

static inline uint64_t l2entry_encode_l1(uint64_t l2_hoff, bool copied)
{
	return l2_hoff | (copied ? QCOW2_ENTRY_COPIED : 0);
}

/* Entry I of a table in memory, as other threads may be changing it. Acquire
 * and release: what an entry points to was written before it appeared. */
static inline uint64_t l2entry_load(const void *table, uint64_t i)
{
	const uint64_t *p = (const uint64_t *)table + i;

	return be64toh(__atomic_load_n(p, __ATOMIC_ACQUIRE));
}

static inline void l2entry_store(void *table, uint64_t i, uint64_t raw)
{
	__atomic_store_n((uint64_t *)table + i, htobe64(raw), __ATOMIC_RELEASE);
}
