/*
 * keyslots: the passphrases of a LUKS image. It has eight key slots; each
 * active one lets one passphrase open it. The image is opened to be written,
 * and its data is not touched: .no_key and .no_backing of image_opts will do.
 *
 * Order of writes [R11]: key material and salt are stable before the slot that
 * needs them is marked active; a slot is stably inactive before its material is
 * overwritten. So a crash at any moment leaves every other passphrase valid,
 * and the one at hand either valid or not.
 */
#pragma once

#include "core/image/image.h"
#include "core/image/secret.h"

enum { KEYSLOTS_ANY = -1 };

/*
 * Let FRESH open the image, too, which HAVE opens. SLOT: 0 to 7, an inactive
 * one, or KEYSLOTS_ANY. MS: what opening costs (0: 2000 ms). *USED: the slot.
 * Two F. 0; -ENOTSUP: no LUKS image; -EKEYREJECTED: HAVE does not open it;
 * -EBUSY: the slot is active; -ENOSPC: all are; -EINVAL: no such slot, or QEMU
 * could not be given FRESH; -EROFS, -EUCLEAN, -EIO, -ENOMEM.
 */
int keyslots_add(struct image *img, const struct secret *have,
		 const struct secret *fresh, int slot, unsigned ms,
		 unsigned *used, struct err *err);

/*
 * Erase slot SLOT, or, with KEYSLOTS_ANY, all slots that GONE opens (GONE may
 * be NULL otherwise). The last active slot is never erased: -EBUSY. A slot that
 * is inactive already is overwritten all the same, so a call that was cut short
 * can be made again. Two F for each. Other errors as keyslots_add();
 * -EKEYREJECTED: GONE opens none.
 */
int keyslots_erase(struct image *img, const struct secret *gone, int slot,
		   struct err *err);
