/*
 * imgbuild: makes qcow2 images field by field, from the specification alone. It
 * shares no code with src/core/format, so that a test never compares rawcow's
 * reader with rawcow's own writer, and any field can be given any value.
 *
 * Order of calls: imgbuild_init(), content in any order, imgbuild_finish()
 * (writes snapshot table and refcounts, after which the image is valid unless
 * something else was asked for), then pokes to break it. A host error or a
 * misuse aborts: nothing here returns an error. One thread.
 */
#pragma once

#include "core/host/hostfile.h"

#define IMGBUILD_COPIED (1ULL << 63)
#define IMGBUILD_COMPRESSED (1ULL << 62)
#define IMGBUILD_ZERO 1ULL
#define IMGBUILD_SUBCLUSTERS 0xffffffffULL /* bitmap: all have data */

/* The header's fields; offsets and widths are in imgbuild.c. */
enum imgbuild_field {
	IMGBUILD_MAGIC,
	IMGBUILD_VERSION,
	IMGBUILD_BACKING_OFFSET,
	IMGBUILD_BACKING_LEN,
	IMGBUILD_CLUSTER_BITS,
	IMGBUILD_SIZE,
	IMGBUILD_CRYPT,
	IMGBUILD_L1_ENTRIES,
	IMGBUILD_L1_OFFSET,
	IMGBUILD_REFTABLE_OFFSET,
	IMGBUILD_REFTABLE_CLUSTERS,
	IMGBUILD_SNAPSHOTS,
	IMGBUILD_SNAPSHOT_OFFSET,
	IMGBUILD_INCOMPAT,
	IMGBUILD_COMPAT,
	IMGBUILD_AUTOCLEAR,
	IMGBUILD_REFCOUNT_ORDER,
	IMGBUILD_HEADER_LEN,
	IMGBUILD_COMPRESSION, /* one byte */
	IMGBUILD_FIELDS
};

struct imgbuild_params {
	unsigned version;	 /* 2 or 3; 0: 3 */
	unsigned cluster_bits;	 /* 0: 16 */
	unsigned refcount_order; /* 4 in version 2 */
	uint64_t size;
	unsigned header_len; /* version 3; 0: 112 */
	bool zstd;	     /* compression type 1, with its feature bit */
	bool extended;	     /* extended L2 entries; cluster_bits >= 14 */
	unsigned l1_entries; /* 0: as SIZE needs */
	bool data_file;	     /* external data file: b->data, set after init */
	bool data_raw;	     /* and its autoclear bit */
};

struct imgbuild {
	struct hostfile *f; /* the caller's */
	struct hostfile *data; /* the caller's: external data file, or NULL */
	struct imgbuild_params p;
	uint64_t csize;
	unsigned esize;	   /* bytes of an L2 entry */
	uint64_t end;	   /* host offset of the next free cluster */
	uint64_t l1_off;
	uint64_t ext_end;  /* where the next header extension goes */
	uint64_t comp_next; /* host byte after the last compressed stream */
	uint64_t reftable_off;
	uint64_t *rc; /* refcounts, by host cluster, until finish */
	size_t rc_cap;
	unsigned char *snap; /* snapshot table until finish */
	size_t snap_len, snap_cap;
	unsigned snaps;
};

void imgbuild_init(struct imgbuild *b, struct hostfile *f,
		   const struct imgbuild_params *p);
void imgbuild_finish(struct imgbuild *b);
/* Free memory; the hostfile stays. */
void imgbuild_fini(struct imgbuild *b);
/* init, finish and fini: an empty, valid image. */
void imgbuild_minimal(struct hostfile *f, const struct imgbuild_params *p);

/* Any bytes anywhere, big-endian numbers of WIDTH 1, 2, 4 or 8 bytes. */
void imgbuild_poke(struct imgbuild *b, uint64_t off, unsigned width,
		   uint64_t value);
uint64_t imgbuild_peek(struct imgbuild *b, uint64_t off, unsigned width);
void imgbuild_header_set(struct imgbuild *b, enum imgbuild_field field,
			 uint64_t value);
uint64_t imgbuild_header_get(struct imgbuild *b, enum imgbuild_field field);
/* The same on an image that has no builder (F is any qcow2). */
void imgbuild_patch(struct hostfile *f, enum imgbuild_field field,
		    uint64_t value);

/* Append a header extension (padded), and an END after it. */
void imgbuild_ext(struct imgbuild *b, uint32_t type, const void *data,
		  uint32_t len);
/* Backing file: a format extension unless FORMAT is NULL, then the name. After
 * all other extensions. */
void imgbuild_backing(struct imgbuild *b, const char *name, const char *format);

/* N clusters at the end of the file with refcount 1 (after finish: 0, and not
 * covered by a refcount block perhaps); returns their offset. */
uint64_t imgbuild_alloc(struct imgbuild *b, uint64_t n);
/* Change or set the refcount of the cluster at HOFF; after finish the stored
 * one (which must exist). */
void imgbuild_ref(struct imgbuild *b, uint64_t hoff, int by);
void imgbuild_refcount_set(struct imgbuild *b, uint64_t hoff, uint64_t value);
uint64_t imgbuild_refcount_get(struct imgbuild *b, uint64_t hoff);

/* Raw entries. l2_set makes the L2 table if there is none, and a copy of one
 * that a snapshot shares. */
uint64_t imgbuild_l1_get(struct imgbuild *b, uint64_t idx);
void imgbuild_l1_set(struct imgbuild *b, uint64_t idx, uint64_t entry);
uint64_t imgbuild_l2_get(struct imgbuild *b, uint64_t goff); /* 0: no table */
void imgbuild_l2_set(struct imgbuild *b, uint64_t goff, uint64_t entry);
/* The bitmap of an extended entry; l2_set makes it 0. */
uint64_t imgbuild_bitmap_get(struct imgbuild *b, uint64_t goff);
void imgbuild_bitmap_set(struct imgbuild *b, uint64_t goff, uint64_t bitmap);

/* A guest cluster at GOFF; the refcount of what was mapped there goes down, its
 * room is not used again. Each returns the host offset. DATA has LEN bytes up to
 * a cluster, the rest is zero. With extended entries all subclusters are what
 * the name says. */
uint64_t imgbuild_data(struct imgbuild *b, uint64_t goff, const void *data,
		       size_t len);
/* Extended entries: as imgbuild_data(), with this bitmap. */
uint64_t imgbuild_subclusters(struct imgbuild *b, uint64_t goff,
			      const void *data, size_t len, uint64_t bitmap);
void imgbuild_zero_plain(struct imgbuild *b, uint64_t goff); /* version 3 */
/* Allocated under the zero flag; the host cluster is full of 0xee. */
uint64_t imgbuild_zero_alloc(struct imgbuild *b, uint64_t goff);
/* A whole cluster compressed with the image's type, packed behind the stream
 * before it, across cluster borders if the next cluster is free. Data that
 * cannot be compressed aborts. */
uint64_t imgbuild_compressed(struct imgbuild *b, uint64_t goff,
			     const void *data);
/* Any bytes as the stream; LEN is at least 1. */
uint64_t imgbuild_stream(struct imgbuild *b, uint64_t goff, const void *stream,
			 size_t len);

/* An internal snapshot of what is there: a copy of the L1 table, refcounts one
 * up, COPIED cleared. */
void imgbuild_snapshot(struct imgbuild *b, const char *id, const char *name);
