/*
 * bitmapstore: persistent bitmaps to the image file (from it: bitmapread). Nothing that is
 * in use on disk is written over but the flags of directory entries, each of
 * which lies in one sector. All need the image alone, or no request yet.
 */
#pragma once

#include "base/err.h"
#include "core/image/bitmaps.h"

/* Write the directory's flags in place and sync them: in use, or not, for the
 * bitmaps that are in memory. 0, -EIO, -ENOMEM. */
int bitmapstore_put_flags(struct image *img, bool in_use);

/*
 * Store what has changed in new clusters, with a new directory that leaves out
 * WITHOUT (may be NULL), and switch to it in an order that no crash breaks; then
 * free what was there before. Tracked bitmaps are marked in use if
 * img->bitmaps.in_use. All else is committed on the way. On error, with text,
 * what was stored before is still there, unless a sync failed; -EIO also if
 * tables overlap (state_finish_roles()).
 */
int bitmapstore_put(struct image *img, const struct bitmap *without,
		    struct err *err);
