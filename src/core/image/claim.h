/*
 * claim: tells the role map of an image that is opened to write (rolescan.h) of
 * what lies beyond the tables of core/meta: the encryption header, snapshots,
 * bitmaps.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

struct headerext_list;
struct image;

/* The header, its extensions EXT and img->bitmaps are read, meta is open.
 * -EUCLEAN with text: a cluster has two uses, a table is broken; -EIO, -ENOMEM.
 */
int claim_all(struct image *img, const struct headerext_list *ext,
	      uint64_t file_size, struct err *err);
