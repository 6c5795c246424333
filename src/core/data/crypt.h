/*
 * crypt: guest data in the host clusters of an encrypted image. Called by
 * payload.c only; everything above sees plain bytes.
 *
 * The unit of encryption is a sector of 512 bytes. A write that covers a part
 * of one reads it, changes it and writes it back, so writes of one sector wait
 * for each other (held by host offset in `writing`), and a read beside such a
 * write is made again: torn, the sector would decrypt to garbage in bytes that
 * nobody wrote.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "core/codec/cipher.h"
#include "core/data/inflight.h"

struct disk;

struct crypt {
	struct cipher *cipher;	/* NULL: opened without a key */
	bool guest_sectors;	/* numbered on the disk, not in the file */
	struct inflight writing; /* by host offset; level 2, no other held */
	/* writes of parts of sectors, begun and ended */
	atomic_uint begun, ended;
};

void crypt_init(struct crypt *c, struct cipher *cipher, bool guest_sectors);
void crypt_fini(struct crypt *c); /* frees the cipher */

/* As payload_read() and payload_write(), and -ENOKEY without a key. */
int crypt_read(struct disk *d, void *buf, size_t len, uint64_t hoff,
	       uint64_t goff);
int crypt_write(struct disk *d, const void *buf, size_t len, uint64_t hoff,
		uint64_t goff);
