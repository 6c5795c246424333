/*
 * merge: what "rawcow commit" does: write what an image has over its backing
 * file into that file.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "core/image/image.h"

struct merge_opts {
	unsigned depth; /* of the base: 1 is the image's own backing file; what
			   lies between is merged as well. The image was opened
			   with write_depth = depth */
	bool keep;	/* do not empty the image afterwards */
	/* called now and then with 0..1000 permille; may be NULL */
	void (*progress)(void *arg, unsigned permille);
	void *progress_arg;
};

/*
 * Write all that the disk of IMG (open to write) shows and its base does not
 * hold into the base, which grows if the disk is larger; make it durable; then,
 * unless KEEP is set, unmap everything in IMG, so that it shows the base. The
 * disk shows the same at any time, also in every crash state of the files [R9]:
 * 1 F for the base after its own commits, 2 for IMG. An external data file of the
 * base is written and synced with it; one of IMG is punched when nothing refers to
 * it any more, stably [R5].
 *
 * 0; -EINVAL no backing file at that depth; -EROFS; -ENOTSUP the image has
 * internal snapshots, which the base's change would change; -ENOSPC, -EIO,
 * -EUCLEAN, -EFBIG: the image is as it was, and so is what it shows; each with
 * text that names the file.
 */
int merge_image(struct image *img, const struct merge_opts *opts,
		struct err *err);

/* How deep the file with this identity lies in the chain of IMG; 0: nowhere
 * behind it. */
unsigned merge_depth(struct image *img, uint64_t dev, uint64_t ino);
