/*
 * bitmap: operations on the persistent bitmaps of an image that is open to
 * write, mounted or not (specification: "Bitmaps"). Each has the image alone
 * (core/image/gate.h) and is durable when it returns; a crash leaves the
 * bitmaps as before or after.
 *
 * Who only works on bitmaps opens the image with defer_bitmaps. A bitmap that
 * was not stored (in use), whose table is broken, or that is beyond what rawcow
 * knows, can be removed and nothing else.
 *
 * Errors common to all, with text: -EROFS; -ENOENT: no such name; -ENOTSUP: the
 * bitmap cannot be used, or version 2; -EUCLEAN: tables are broken; -ENOSPC,
 * -ENOMEM; -EIO for good.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "core/image/image.h"

/*
 * A new bitmap NAME (1 to 1,023 bytes), empty, which notes changes from now on.
 * A bit stands for GRANULARITY bytes, a power of two from 512 to 2 GiB; 0: the
 * cluster size, but at least 4 KiB and at most 64 KiB. -EEXIST; -EINVAL;
 * -EMFILE: there are 65,535; -EFBIG.
 */
int bitmap_add(struct image *img, const char *name, uint64_t granularity,
	       struct err *err);

/* Remove it, whatever its state. */
int bitmap_remove(struct image *img, const char *name, struct err *err);

/* Nothing is dirty any more. */
int bitmap_clear(struct image *img, const char *name, struct err *err);

/* Note changes from now on, or no longer. */
int bitmap_enable(struct image *img, const char *name, struct err *err);
int bitmap_disable(struct image *img, const char *name, struct err *err);

/*
 * Make dirty in NAME what is dirty in the bitmap FROM of SOURCE: another image,
 * whose disk has the same size, or IMG itself.
 */
int bitmap_merge(struct image *img, const char *name, struct image *source,
		 const char *from, struct err *err);
