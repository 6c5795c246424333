/*
 * checklive: the check of an image that is in use.
 *
 * The image is had alone (gate.h) for two short times: at the beginning, while
 * everything is committed and all tables but the L2 tables are read, which takes
 * as long as reading the refcount blocks (32 MiB for each TiB with the usual
 * sizes); and at the end, for a commit. Between them requests go on, and the
 * refcounts that change are noted (core/meta/refwatch.h). What is found about
 * clusters with such counts is dropped: they were in motion, and no more can be
 * said of them. If one of them holds a table that was read, the whole walk is not
 * to be trusted and is made again; the third time the image is had alone
 * throughout. So it is at once if more is found than can be remembered, since
 * then nobody knows what of it was in motion.
 */
#pragma once

#include <stdbool.h>

#include "core/admin/check.h"
#include "core/image/image.h"

struct checklive_result {
	struct check_result res;
	uint64_t moving; /* clusters that were not judged */
	bool alone;	 /* requests had to wait throughout */
};

/* Check IMG. 0 when that could be done; -EIO: a commit failed; else as
 * check_image(). May be called by any thread, outside a request. */
int checklive_run(struct image *img, const struct check_opts *opts,
		  struct checklive_result *out, struct err *err);
