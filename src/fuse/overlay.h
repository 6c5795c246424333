/*
 * overlay: -o cow. The image stays as it is; what is written goes to a qcow2
 * file of its own, whose backing file the image is.
 */
#pragma once

#include "core/image/image.h"
#include "fuse/opts.h"

/*
 * Open the overlay that O asks for over O->image: the file O->cow_file, made if
 * it is missing or empty and continued if the image is its backing file; or,
 * without a name, a file that vanishes with the mount. Errors as image_open(),
 * with text; -EEXIST: the file is something else. A file that was made here
 * is removed again on failure, and else noted in *FRESH.
 */
int overlay_open(struct image **out, const struct opts *o, bool *fresh,
		 struct err *err);
