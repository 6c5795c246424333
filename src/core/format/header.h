/*
 * header: the qcow2 header (specification: "Header", "Additional fields",
 * "Header padding") to and from bytes. No I/O.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/format/geom.h"

struct header {
	uint32_t version;
	uint64_t backing_offset; /* 0: no backing file */
	uint32_t backing_size;	 /* bytes of the name */
	uint32_t cluster_bits;
	uint64_t size; /* virtual size, bytes, as stored */
	uint32_t crypt_method;
	uint32_t l1_entries;
	uint64_t l1_offset;
	uint64_t reftable_offset;
	uint32_t reftable_clusters;
	uint32_t nb_snapshots;
	uint64_t snapshots_offset;
	/* version 3; version 2 decodes to the values it implies */
	uint64_t incompatible;
	uint64_t compatible;
	uint64_t autoclear;
	uint32_t refcount_order;
	uint32_t header_len;
	uint8_t compression; /* enum qcow2_compression */
};

/*
 * Decode and validate LEN bytes from the start of an image. LEN must cover the
 * first cluster where the file has one (up to 2 MiB), at least 72 bytes else.
 * FILE_SIZE is the image file's length. Checks every limit of docs/format.md
 * that concerns the header alone: magic, version, cluster_bits, header_length,
 * sizes, alignment and that every table lies inside the file.
 *
 * Unknown incompatible bits are NOT an error here (feature_refusal() names
 * them). 0; -EMEDIUMTYPE "not a qcow2 image" (bad magic, shorter than 72
 * bytes); -ENOTSUP version; -EUCLEAN a field beyond its limit, text names it.
 */
int header_decode(struct header *h, const void *buf, size_t len,
		  uint64_t file_size, struct err *err);

/*
 * Write the fields of H over BUF, which holds at least h->header_len bytes.
 * Bytes of the header that rawcow does not know (between 112 and header_len)
 * are left as they are, as the specification asks.
 */
void header_encode(const struct header *h, void *buf);

/* Is the external data file, read alone as raw, the disk? A backing file stands
 * against that, whatever the bit says: unallocated clusters would show it. */
bool header_data_raw(const struct header *h);

/* The geometry of a decoded header. The size is rounded down to a sector, as
 * QEMU does. */
void header_geom(const struct header *h, struct geom *g);
