/*
 * amend: change what can be changed of an image's format.
 */
#pragma once

#include "base/err.h"
#include "core/image/image.h"

enum amend_switch { AMEND_KEEP, AMEND_ON, AMEND_OFF };

struct amend_opts {
	unsigned version;	/* 2 or 3; 0: as it is */
	unsigned refcount_bits; /* 1..64, a power of two; 0: as it is */
	enum amend_switch lazy_refcounts;
	/* called now and then with 0..1000 permille; may be NULL */
	void (*progress)(void *arg, unsigned permille);
	void *progress_arg;
};

/*
 * Amend IMG, which is open to write with its backing files. It has the image
 * alone meanwhile. The content of the disk and of snapshots stays. Each step is
 * one that a crash leaves done or not done, and they come in this order: to
 * version 3, refcounts, lazy_refcounts, to version 2.
 *
 * Version 2 has neither zero clusters nor features: zero clusters become
 * unallocated, or zeroes where a backing file would show.
 *
 * 0; -EINVAL options that contradict each other; -ENOTSUP what stands against
 * it (features of the image, snapshots with zero clusters, bitmaps); -ERANGE,
 * -EFBIG: refcounts; -EROFS, -ENOSPC, -EUCLEAN, -EIO; each with text.
 */
int amend_image(struct image *img, const struct amend_opts *opts,
		struct err *err);
