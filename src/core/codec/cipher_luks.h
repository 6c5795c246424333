/*
 * cipher_luks: from a passphrase to the cipher of a LUKS version 1 header, and
 * new headers and key slots. Buffers only: who calls reads and writes them.
 */
#pragma once

#include "core/codec/cipher.h"
#include "core/format/lukshdr.h"

/* Can the image be read at all? 0, or -ENOTSUP with a text that names what
 * stands against it (cipher, mode, IV generator, hash). */
int cipher_luks_check(const struct lukshdr *h, struct err *err);

/*
 * The master key (h->key_bytes at KEY) from slot I with a passphrase; MATERIAL
 * is what the slot holds, lukshdr_material_len() bytes rounded up to sectors;
 * it is overwritten. 0; -EKEYREJECTED: not with this passphrase; -EIO, -ENOMEM.
 */
int cipher_luks_unlock(const struct lukshdr *h, unsigned i, const void *pass,
		       size_t pass_len, uint8_t *material, uint8_t *key,
		       struct err *err);

/*
 * Fill slot I so that the passphrase gives KEY: salt and iterations (about MS
 * milliseconds of work, LUKSHDR_ITERATIONS_MAX at most) in H, the key material
 * in MATERIAL (as above). The slot does not become active. 0, -EIO, -ENOMEM.
 */
int cipher_luks_fill(struct lukshdr *h, unsigned i, const void *pass,
		     size_t pass_len, const uint8_t *key, unsigned ms,
		     uint8_t *material, struct err *err);

/*
 * A new header with a new master key (KEY, LUKSHDR_KEY_MAX bytes of room). The
 * names and key_bytes of H are the caller's; all slots become inactive.
 * *AREA_LEN: the bytes it takes in the image. -ENOTSUP, -EIO.
 */
int cipher_luks_make(struct lukshdr *h, uint8_t *key, unsigned ms,
		     uint64_t *area_len, struct err *err);

/* The cipher of the image's data. */
int cipher_luks_open(struct cipher **out, const struct lukshdr *h,
		     const uint8_t *key, struct err *err);
