/*
 * rebase: another backing file for an image.
 */
#pragma once

#include "base/err.h"
#include "core/image/image.h"

/*
 * Record NAME, whose format is FORMAT ("raw", "qcow2"), as the backing file of
 * IMG, which is open to write, without its backing files. NULL: it has none from
 * now on. Neither the old nor the new file is looked at: where IMG holds nothing
 * the disk shows what the new one does. F and crashes: relayout.h.
 *
 * 0; -EINVAL a name or format that cannot be; -ENOSPC no room in the header
 * cluster; -EROFS, -EIO; each with text.
 */
int rebase_image(struct image *img, const char *name, const char *format,
		 struct err *err);
