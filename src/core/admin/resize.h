/*
 * resize: another size for the disk of an open image.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "core/image/image.h"

/*
 * Give the disk of IMG, which is open to write with its backing files, SIZE
 * bytes; rounded up to 512. It has the image alone meanwhile (gate.h). What is
 * new reads as zero, also where a backing file is longer than the disk was.
 * Smaller only with SHRINK: what lay behind the new end is lost.
 *
 * After an error the disk has the old size, or, when only the freeing of what
 * lay behind the new end has failed, or storing a bitmap, the new one.
 *
 * A crash leaves the old size or the new one. F beyond the commit: growing 1,
 * or 2 with a longer L1 table; shrinking 1, and 1 when the file gets shorter.
 *
 * 0; -EINVAL: smaller without SHRINK; -EFBIG: more than the format or its
 * cluster size can map; -ENOTSUP: snapshots that do not record their size;
 * -EROFS, -ENOSPC, -EUCLEAN, -EIO (for good); each with text.
 */
int resize_image(struct image *img, uint64_t size, bool shrink,
		 struct err *err);
