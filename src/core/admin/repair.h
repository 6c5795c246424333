/*
 * repair: what check found, made right (problem.h says what is done about
 * each). Rounds of a walk and what it calls for, until a walk calls for
 * nothing: tables that were broken may have hidden others.
 *
 * Order of one round (docs/durability.md): new tables and copies; or else
 * counts that are too low are raised, F; broken entries are set right, F;
 * and if there was none, COPIED, F; then counts that are too high are lowered,
 * F. So the image is no worse than before at each moment.
 */
#pragma once

#include "core/admin/check.h"

enum repair_mode {
	REPAIR_LEAKS,  /* lower counts that are too high */
	REPAIR_COUNTS, /* counts and COPIED; rebuild refcounts if none other is
			  broken. For an image that is marked dirty */
	REPAIR_ALL,
};

struct repair_result {
	struct check_result before, after;
	bool marks;	/* "dirty" or "corrupt" were taken off */
	unsigned walks; /* how often the image was walked */
};

/*
 * Check the image in FILE, which is writable and used by nobody else, and
 * repair it. opts->report gets what the first walk found. The marks "dirty" and
 * "corrupt" are taken off (not by REPAIR_LEAKS) if nothing is left that
 * endangers the image. 0: done, res->after tells what is left; -errno with text:
 * the check or the repair could not be made, and some may be repaired.
 */
int repair_image(struct hostfile *file, enum repair_mode mode,
		 const struct check_opts *opts, struct repair_result *res,
		 struct err *err);

/*
 * For image_opts.recover: REPAIR_COUNTS, with a line in the log. -EUCLEAN when
 * something else is wrong with the image, too; its counts are not lowered then,
 * and it stays marked.
 */
int repair_recover(struct hostfile *file, struct err *err);
