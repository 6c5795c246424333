/*
 * bitmapops: operations on bitmaps as a part of workloads. What an operation's
 * sec says: the bitmap, and of a merge also the other one.
 */
#pragma once

#include "bitmodel.h"
#include "core/image/image.h"
#include "workload.h"

bool bitmapops_has(enum workload_type type);

struct bitmodel_op bitmapops_decode(const struct workload_op *op);

/* Do it through the library under test. 0 or -errno with text. */
int bitmapops_run(struct image *img, const struct bitmodel_op *op,
		  struct err *err);

/* The model for an image of configuration CONFIG with SECTORS sectors, whose
 * versions 0 are INIT; NULL: it never has bitmaps. The caller frees with
 * bitmodel_fini() and free(). */
struct bitmodel *bitmapops_model(unsigned config, uint64_t sectors,
				 const uint32_t *init);
