/*
 * relayout: what lies in the first cluster behind the header's fields: the
 * extensions and the backing file's name, changed so that a crash leaves the
 * old ones or the new ones.
 */
#pragma once

#include "base/err.h"
#include "core/image/image.h"
#include "core/format/header.h"

struct relayout {
	struct header header;	/* the new fields; where the name is, is put in
				   by relayout_header() */
	const char *backing;	/* NULL: no backing file */
	const char *format;	/* of it; NULL: not recorded */
	bool keep_backing;	/* name and format are as they were */
	bool refuse_bitmaps;	/* -ENOTSUP if there are persistent bitmaps */
};

/*
 * Write header, extensions and backing name anew. The caller has the image
 * alone, with nothing dirty (gate_quiesce()). All extensions are kept byte for
 * byte, but for the format of the backing file, and the names of feature bits,
 * which version 2 does not have and which go where room is short.
 *
 * All that tells the old from the new is in sector 0, written once [R7]; what it
 * refers to in later sectors is put where nothing was, and is stable before [R1].
 * 2 F; 1 when all fits sector 0; 3 when extensions had to be moved there first.
 *
 * 0; -ENOSPC: the first cluster has no room for it; -EUCLEAN; -EIO for good;
 * each with text.
 */
int relayout_header(struct image *img, const struct relayout *to,
		    struct err *err);

/* What relayout_header() refuses without a look at the room; nothing is
 * written. */
int relayout_check(struct image *img, const struct relayout *to,
		   struct err *err);
