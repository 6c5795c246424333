/*
 * bitmapext: the bitmaps extension in the header cluster (specification:
 * "Header extensions", "Bitmaps extension").
 *
 * An extension that is there is switched by one write where its data lies in
 * one sector, as nearly always; else its autoclear bit is off meanwhile. A new
 * one is written behind the end marker, which nobody reads, and then made true
 * by writing over the marker. So each crash state has the old directory, the
 * new one, or (autoclear bit off) none. A backing file's name that stands in
 * the way is first copied further back. A list that ends at that name, without
 * a marker, gets one with the sector that names the copy.
 */
#pragma once

#include "base/err.h"
#include "core/format/bitmapdir.h"
#include "core/image/image.h"

/*
 * Make the header name the directory D, which is stable; NULL: there is none
 * any more. The caller has the image alone, and all is committed. -ENOSPC with
 * text: the header cluster has no room; -ENOTSUP: version 2; -EUCLEAN: broken
 * extensions, or no end marker and no place for one; nothing was written then.
 * -EIO for good.
 */
int bitmapext_put(struct image *img, const struct bitmapdir *d,
		  struct err *err);
