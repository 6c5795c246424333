/*
 * imgmake: start images for the crash test, written field by field without
 * the library under test.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "guestcrypt.h"
#include "oracle.h"

struct imgmake {
	unsigned version, cluster_bits, refcount_order;
	uint64_t clusters; /* of the guest disk */
	/*
	 * One character a guest cluster, '.' where it ends: 'd' data, 'c'
	 * compressed, 'z' zero, 'a' zero with a cluster, '.' nothing, 's'
	 * (extended) subclusters in turn with data, zero and neither.
	 */
	const char *preset;
	bool extended;		  /* L2 entries; cluster_bits 14 at least */
	bool snapshot;		  /* an internal snapshot shares everything */
	uint64_t autoclear;	  /* bits to set (version 3) */
	/* two bitmaps with this many granularity bits, 0: none. "a" notes
	 * changes and is empty, "d" is disabled and has IMGMAKE_BITS */
	unsigned bitmaps;
	/* an unknown header extension of so many bytes (a multiple of 8) in
	 * front of the others moves them to the edge of a sector */
	unsigned ext_fill;
	uint64_t backing_sectors; /* 0: no backing file */
	/* leaked clusters, so that the file ends just below this offset: brings
	 * the growth of refcount structures near */
	uint64_t pad_to;
	bool data_file, data_raw; /* external data file; 'c' is 'd' then */
	enum guestcrypt crypt;	  /* of all but 'c': streams are never encrypted */
	/* how it is mounted */
	bool compress;
};

struct imgmake_out {
	uint8_t *img;
	uint64_t len;
	uint8_t *data; /* the data file, as long as the disk; or NULL */
	uint64_t leaks;	    /* made by pad_to */
	uint32_t *init;	    /* version 0 of each guest sector */
	uint64_t sectors;
};

#define IMGMAKE_BACKING_NAME "base.raw"
#define IMGMAKE_BITS 0xa5 /* the first byte of bitmap "d" */
#define IMGMAKE_DATA_NAME "data.raw"

void imgmake_build(const struct imgmake *m, struct imgmake_out *out);
void imgmake_free(struct imgmake_out *out);
