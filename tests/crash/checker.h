/*
 * checker: what a qcow2 image in memory is, by the specification alone. It
 * shares no code with src/, so that one mistake cannot hide in both.
 *
 * Every host cluster gets exactly one role; references are counted and compared
 * with the refcounts. Corrupt: a role clash, a pointer that is unaligned, has
 * reserved bits or leaves the file, a count below the references, COPIED with
 * more than one reference, the dirty or corrupt bit. A count above the
 * references is a leak. COPIED clear with one reference, or set with one
 * reference and a count above, is benign.
 *
 * What is mapped is told in units: clusters, or with extended L2 entries
 * subclusters.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guestcrypt.h"

enum checker_role {
	CHECKER_FREE,
	CHECKER_HEADER,
	CHECKER_REFTABLE,
	CHECKER_REFBLOCK,
	CHECKER_L1,
	CHECKER_L2,
	CHECKER_SNAPTABLE,
	CHECKER_SNAP_L1,
	CHECKER_DATA,
	CHECKER_COMPRESSED,
	CHECKER_BITMAP, /* directory, tables, data */
	CHECKER_CRYPTO, /* LUKS header, key slots: nothing is written there */
	CHECKER_ROLES
};

/* The names of the bitmaps that are looked at; others are only walked. */
#define CHECKER_BITMAP_NAMES "adx"
#define CHECKER_BITMAPS 3

#define CHECKER_TREES 4 /* the active one and up to three snapshots */

struct checker_head {
	uint32_t version, cluster_bits, refcount_order, l1_entries;
	uint32_t reftable_clusters, snapshots;
	uint64_t size, l1_off, reftable_off, snap_off;
	uint64_t incompatible, autoclear, backing_off;
	unsigned compression;
	unsigned unit_bits; /* log2 of the bytes of a unit */
	unsigned entry_size; /* bytes of an L2 entry: 8 or 16 */
	bool data_file;	    /* guest data is outside, */
	uint64_t data_base; /* at this offset of what was given as the image */
	enum guestcrypt crypt; /* of plain clusters */
	uint64_t crypto_off, crypto_len; /* area of the LUKS header; 0: none */
};

enum checker_kind {
	CHECKER_UNALLOCATED,
	CHECKER_PLAIN,
	CHECKER_ZERO,
	CHECKER_STREAM, /* of the cluster; its first unit tells */
	CHECKER_STREAM_PART, /* a later unit of such a cluster */
};

/* What a unit is. */
struct checker_ref {
	enum checker_kind kind;
	uint64_t hoff; /* 0: none */
	uint64_t len;  /* STREAM: bytes to the end of its last sector */
};

struct checker_bitmap {
	bool there;
	bool clean; /* not in use: it says that it is right */
	bool notes; /* changes; the flag auto */
	unsigned granularity; /* bits */
	uint8_t *bits;	      /* as stored; if it is clean */
	uint64_t cap;
};

/* One workspace for many images; no allocation once it has grown. */
struct checker {
	struct checker_head h;
	/* by host cluster */
	uint8_t *role;
	uint16_t *stamp; /* tree that used the cluster last */
	uint32_t *refs;
	uint64_t cap, n;
	/* by guest unit: the L2 entry without COPIED, as a standard entry would
	 * say it of a cluster as small as the unit */
	uint64_t *map[CHECKER_TREES];
	uint64_t map_cap, map_n;
	unsigned trees;
	uint32_t tree_id[CHECKER_TREES]; /* of a snapshot; 0: the active one */
	uint64_t tree_size[CHECKER_TREES]; /* bytes of its disk */
	uint64_t *copied; /* clusters that the active tree marks COPIED */
	size_t n_copied, copied_cap;
	uint64_t leaks, benign;
	bool bitmaps; /* they count: the autoclear bit is set */
	struct checker_bitmap bitmap[CHECKER_BITMAPS];
	/* what must be so in every image, see struct enumerate; NULL: not */
	const char *backing_name;
	char text[200]; /* of the first fault */
	/* Where an external data file is appended to the image, behind its LEN;
	 * 0: an image that has one is not understood. Set by the caller. */
	uint64_t data_base;
	/* told of each table that the walk meets; may be NULL */
	void (*table)(void *arg, enum checker_role role, uint64_t off,
		      uint64_t len);
	void *table_arg;
};

void checker_init(struct checker *c);
void checker_fini(struct checker *c);

/* After checker_run(): would who trusts bitmap I, which notes changes, miss one
 * of guest sector SEC? */
bool checker_misses(const struct checker *c, unsigned i, uint64_t sec);

/* 0, or -1 with c->text. Streams are not decompressed. On 0 the maps, roles and
 * counts are those of this image. */
int checker_run(struct checker *c, const uint8_t *img, uint64_t len);

/* As checker_run(), and every compressed cluster must decompress. */
int checker_run_deep(struct checker *c, const uint8_t *img, uint64_t len);

void checker_decode(const struct checker_head *h, uint64_t raw,
		    struct checker_ref *ref);

/* What the guest reads as its sector SEC of DATA, a sector at HOFF of a plain
 * cluster: DATA itself, or decrypted in BUF. */
const uint8_t *checker_plain(const struct checker_head *h, const uint8_t *data,
			     uint64_t hoff, uint64_t sec, uint8_t buf[512]);

/* Produce OUT_LEN bytes from the stream; 0 or -1. */
int checker_inflate(unsigned compression, void *out, size_t out_len,
		    const void *in, size_t in_len);

/*
 * The guest sector SEC of tree TREE, after checker_run(). Returns false when
 * the backing file has to answer; OUT is then zero.
 */
bool checker_read(const struct checker *c, const uint8_t *img, uint64_t len,
		  unsigned tree, uint64_t sec, uint8_t out[512]);
