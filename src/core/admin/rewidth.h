/*
 * rewidth: other refcounts for an image: of another width, in new blocks and a
 * new table at the end of the file.
 */
#pragma once

#include "base/err.h"
#include "core/image/image.h"

/*
 * Give IMG refcounts of 1 << ORDER bits. The caller has it alone, with nothing
 * dirty (gate_quiesce()). Table, width and place change by one write of sector 0
 * [R7], when all new blocks are stable [R1]; the old ones are free from then on.
 * 2 F. PROGRESS (may be NULL) gets 0..1000 permille.
 *
 * 0; -ERANGE: a count does not fit; -EFBIG: the table would be longer than the
 * format allows; -ENOSPC; in these cases nothing has changed; -EUCLEAN, -EIO;
 * each with text.
 */
int rewidth_image(struct image *img, unsigned order,
		  void (*progress)(void *arg, unsigned permille), void *arg,
		  struct err *err);
