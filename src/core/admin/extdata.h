/*
 * extdata: the external data file of an image whose disk gets another size. The
 * caller has the image alone.
 */
#pragma once

#include "core/image/image.h"

/* Make the data file long enough for a disk of SIZE bytes, which has OLD now;
 * what a raw one gets reads as zero. Stable with the next commit. -ENOSPC, also
 * for a device that is too small; -EIO. */
int extdata_grow(struct image *img, uint64_t old, uint64_t size);

/* Map the clusters of [FROM, TO), which a raw data file holds already, so that
 * they are there for those, too, who follow the tables after somebody wrote to
 * the raw file alone. As qemu-img does. Errors of a write. */
int extdata_map(struct image *img, uint64_t from, uint64_t to);

/* The disk has SIZE bytes, stably: cut off what lies behind. */
int extdata_shrink(struct image *img, uint64_t size);

/* Nothing of the disk is mapped any more, stably: give back the room that it had
 * in the data file, which keeps its length. Where the host cannot, the old bytes
 * stay, and nothing refers to them. */
void extdata_empty(struct image *img);
