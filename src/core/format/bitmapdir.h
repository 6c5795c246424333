/*
 * bitmapdir: persistent bitmaps as bytes (specification: "Bitmaps extension",
 * "Bitmap directory", "Bitmap table"). No I/O.
 *
 * Two kinds of faults are told apart. What contradicts itself is invalid
 * (-EUCLEAN). What is well-formed but beyond what rawcow knows (another type,
 * flags or extra data of a newer program) is kept byte for byte and not used:
 * bitmapdir_unusable() says why.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/format/geom.h"

#define BITMAPDIR_EXT_LEN 24 /* bytes of the header extension's data */

/* flags of an entry */
#define BITMAPDIR_IN_USE (1U << 0)
#define BITMAPDIR_AUTO (1U << 1)
#define BITMAPDIR_EXTRA_COMPATIBLE (1U << 2)
#define BITMAPDIR_FLAGS 7U

#define BITMAPDIR_TYPE_DIRTY 1
#define BITMAPDIR_GRANULARITY_MIN 9 /* bits; QEMU's limits too */
#define BITMAPDIR_GRANULARITY_MAX 31
#define BITMAPDIR_NAME_MAX 1023U
#define BITMAPDIR_DATA_MAX (512ULL << 20) /* bytes that one table names */

/* The header extension. */
struct bitmapdir {
	uint32_t n;	 /* bitmaps */
	uint64_t len;	 /* bytes of the directory */
	uint64_t off;	 /* host offset */
};

struct bitmapdir_entry {
	uint64_t table_off;	/* host offset */
	uint32_t table_entries;
	uint32_t flags;
	uint8_t type, granularity_bits;
	uint16_t name_len;
	uint32_t extra_len;
	const uint8_t *extra;	/* into the buffer that was decoded */
	const char *name;	/* the same; not NUL-terminated */
};

/* Decode LEN bytes of the extension. -EUCLEAN with text: a length other than
 * 24, a field beyond its limit, a directory outside a file of FILE_SIZE. */
int bitmapdir_decode_ext(struct bitmapdir *d, const void *data, uint32_t len,
			 const struct geom *g, uint64_t file_size,
			 struct err *err);
void bitmapdir_encode_ext(const struct bitmapdir *d,
			  uint8_t out[BITMAPDIR_EXT_LEN]);

/*
 * Decode the entry at *POS in BUF, which holds the LEN bytes of a directory,
 * and move *POS behind it and its padding. -EUCLEAN with text: it runs past the
 * directory; *POS stays.
 */
int bitmapdir_decode(struct bitmapdir_entry *e, const void *buf, size_t len,
		     size_t *pos, struct err *err);

/*
 * Is E valid? Its table lies in a file of FILE_SIZE, whose last cluster may be
 * cut short, its name is not empty, and unless it is in use its table has a
 * place for each granule of the disk. -EUCLEAN with text.
 */
int bitmapdir_check(const struct bitmapdir_entry *e, const struct geom *g,
		    uint64_t file_size, struct err *err);

/* Add a table of N entries to *BYTES, which all tables of an image have so far.
 * -EUCLEAN with text: that is more than they may have. */
int bitmapdir_add_table(uint64_t *bytes, uint64_t n, struct err *err);

/* NULL, or why rawcow can neither read nor keep this valid bitmap: what a newer
 * program may have written. */
const char *bitmapdir_unusable(const struct bitmapdir_entry *e);

/* Bytes of the entry that bitmapdir_encode() makes of E, padding included. */
size_t bitmapdir_size(const struct bitmapdir_entry *e);
/* Write E to OUT (bitmapdir_size() bytes). */
void bitmapdir_encode(const struct bitmapdir_entry *e, void *out);
/* Where in an encoded entry its flags stand: 4 bytes, big-endian, that never
 * cross a sector when the entry is aligned to 8. */
#define BITMAPDIR_FLAGS_AT 12

/* What an entry of a bitmap table stands for: a cluster of bits. */
enum bitmapdir_kind {
	BITMAPDIR_ZEROES,
	BITMAPDIR_ONES,
	BITMAPDIR_DATA, /* at the host offset */
};

/* -EUCLEAN: reserved bits, not aligned, or not wholly in a file of FILE_SIZE
 * (whose last cluster may be cut short). *HOFF is 0 unless DATA. */
int bitmapdir_table_decode(uint64_t raw, const struct geom *g,
			   uint64_t file_size, enum bitmapdir_kind *kind,
			   uint64_t *hoff);

/* Bits of a bitmap for a disk of SIZE bytes; bytes that hold them; entries of
 * its table, at least one. */
uint64_t bitmapdir_bits(uint64_t size, unsigned granularity_bits);
uint64_t bitmapdir_bytes(uint64_t size, unsigned granularity_bits);
uint64_t bitmapdir_table_need(const struct geom *g, unsigned granularity_bits);
