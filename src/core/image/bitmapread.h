/*
 * bitmapread: the bits of persistent bitmaps from the image file.
 */
#pragma once

#include "base/err.h"
#include "core/image/bitmaps.h"

/* Read the bits that B's table names into new words of B. -EUCLEAN: the table
 * is broken; -ENOMEM, -EIO, with text. */
int bitmapread_load(struct image *img, struct bitmap *b, struct err *err);

/* Call FN for each run of equal bits of B, in memory or not. Stops at what FN
 * returns unless 0. Errors as bitmapread_load(). */
int bitmapread_each(struct image *img, const struct bitmap *b,
		    int (*fn)(void *arg, uint64_t bit, uint64_t n, bool set),
		    void *arg, struct err *err);

/* The table of E, which bitmapdir_check() has found inside the file, as it is
 * stored; the caller frees. -EIO, -ENOMEM with text. */
int bitmapread_table(struct image *img, const struct bitmapdir_entry *e,
		     uint64_t **table, struct err *err);

/* Bytes of the image file now. -EIO with text. */
int bitmapread_file_size(struct image *img, uint64_t *size, struct err *err);
