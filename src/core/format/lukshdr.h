/*
 * lukshdr: the LUKS version 1 header that a qcow2 image points to with the
 * extension "full disk encryption header pointer", to and from bytes (the LUKS
 * on-disk format, version 1). No I/O, no keys, no ciphers.
 *
 * AREA is the run of bytes in the image that the extension names; the header is
 * at its start, and all offsets count from there.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/format/headerext.h"

enum {
	LUKSHDR_LEN = 592,
	LUKSHDR_SLOTS = 8,
	LUKSHDR_STRIPES = 4000, /* the one value that QEMU reads, too */
	LUKSHDR_KEY_MAX = 64,	/* bytes; two AES-256 keys */
	LUKSHDR_SALT_LEN = 32,
	LUKSHDR_DIGEST_LEN = 20,
	LUKSHDR_NAME_MAX = 31,
};

/* Rounds of PBKDF2 that a header may ask for: some 10 s of work. A header
 * could name 2^32 of them for each slot, which is hours. */
#define LUKSHDR_ITERATIONS_MAX 20000000U
/* The longest area that is looked at. */
#define LUKSHDR_AREA_MAX (16U << 20)

struct lukshdr_slot {
	bool active;
	uint32_t iterations;
	uint8_t salt[LUKSHDR_SALT_LEN];
	uint32_t material_sector; /* of 512 bytes */
	uint32_t stripes;
};

struct lukshdr {
	/* as in the header, NUL-terminated, printable */
	char cipher[LUKSHDR_NAME_MAX + 1]; /* "aes" */
	char mode[LUKSHDR_NAME_MAX + 1];   /* "xts-plain64" */
	char hash[LUKSHDR_NAME_MAX + 1];   /* "sha256" */
	char uuid[40];
	uint32_t payload_sector;
	uint32_t key_bytes;
	uint8_t digest[LUKSHDR_DIGEST_LEN];
	uint8_t digest_salt[LUKSHDR_SALT_LEN];
	uint32_t digest_iterations;
	struct lukshdr_slot slot[LUKSHDR_SLOTS];
};

/* The mode taken apart: "cbc-essiv:sha256". Missing parts are empty. */
struct lukshdr_mode {
	char mode[LUKSHDR_NAME_MAX + 1];
	char ivgen[LUKSHDR_NAME_MAX + 1];
	char ivgen_hash[LUKSHDR_NAME_MAX + 1];
};

/*
 * The area that extension EXT names in a file of FILE_SIZE. 0, or -EUCLEAN:
 * wrong length, not aligned to a cluster, too small, too big, not in the file.
 */
int lukshdr_area(const struct headerext *ext, uint64_t cluster_size,
		 uint64_t file_size, uint64_t *hoff, uint64_t *len,
		 struct err *err);

/* The extension's data: 16 bytes to OUT. */
void lukshdr_put_area(uint8_t out[16], uint64_t hoff, uint64_t len);

/*
 * Decode and validate LUKSHDR_LEN bytes of an area of AREA_LEN bytes. 0;
 * -ENOTSUP another version than 1, or more iterations than
 * LUKSHDR_ITERATIONS_MAX; -EUCLEAN: no LUKS header, names that do not end, key
 * size, stripes, key material outside the area, over the header, or over that
 * of another slot. The text names the field.
 */
int lukshdr_decode(struct lukshdr *h, const uint8_t buf[LUKSHDR_LEN],
		   uint64_t area_len, struct err *err);

void lukshdr_encode(const struct lukshdr *h, uint8_t buf[LUKSHDR_LEN]);

/* Where slot I is described in the header: its first byte. */
size_t lukshdr_slot_at(unsigned i);

/* Bytes of a slot's key material, without padding. */
size_t lukshdr_material_len(const struct lukshdr *h);

/* Place the slots of a new header for H->key_bytes; all become inactive.
 * Returns the length of the area. */
uint64_t lukshdr_lay_out(struct lukshdr *h);

void lukshdr_parse_mode(const char *text, struct lukshdr_mode *m);
