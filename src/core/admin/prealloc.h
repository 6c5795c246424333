/*
 * prealloc: clusters for a range of a disk before anything is written there.
 */
#pragma once

#include "base/err.h"
#include "core/admin/create.h"
#include "core/image/image.h"

struct prealloc_opts {
	enum create_prealloc mode;
	/* called between steps, rising, up to 1000; may be NULL */
	void (*progress)(void *arg, unsigned permille);
	void *progress_arg;
};

/* Can prealloc_range() do anything with IMG? -ENOTSUP with text. */
int prealloc_check(const struct image *img, struct err *err);

/*
 * Give the clusters of [FROM, TO) that hold nothing, and read as zero, a place
 * in the file, as OPTS say; the one that FROM lies in is left as it is. Nobody
 * else uses IMG. They read as zero as before.
 *
 * 0; -ENOTSUP as prealloc_check(); -ENOSPC:
 * some clusters have got their place; -EROFS, -EIO, -EUCLEAN, -ENOMEM; each with
 * text.
 */
int prealloc_range(struct image *img, uint64_t from, uint64_t to,
		   const struct prealloc_opts *opts, struct err *err);
