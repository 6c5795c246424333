/*
 * unlock: from an encrypted image's header and a passphrase to its cipher.
 * Reads the file, never writes it.
 */
#pragma once

#include "core/codec/cipher_luks.h"
#include "core/format/header.h"
#include "core/format/headerext.h"
#include "core/host/hostfile.h"
#include "core/image/secret.h"

/* A LUKS header and where it stands. */
struct unlock_luks {
	struct lukshdr h;
	uint64_t hoff, len; /* its area in the image file */
};

/* Read and validate the LUKS header that EXT points to (NULL: missing).
 * 0, -EUCLEAN, -ENOTSUP, -EIO. */
int unlock_read(struct unlock_luks *l, struct hostfile *file,
		const struct headerext *ext, uint64_t cluster_size,
		struct err *err);

/*
 * Try SECRET on all active key slots. The master key goes to KEY (secmem of
 * LUKSHDR_KEY_MAX bytes), the slot that gave it to *SLOT. -EKEYREJECTED: it
 * fits none; -ENOKEY: no slot is active; -EIO, -ENOTSUP, -ENOMEM.
 */
int unlock_master(const struct unlock_luks *l, struct hostfile *file,
		  const struct secret *secret, uint8_t *key, unsigned *slot,
		  struct err *err);

/*
 * The cipher of an image with header H. Also -ENOKEY: SECRET is NULL. A wrong
 * password of the old AES method cannot be told: that method has no check.
 */
int unlock_image(struct cipher **out, struct hostfile *file,
		 const struct header *h, const struct headerext_list *ext,
		 const struct secret *secret, struct err *err);
