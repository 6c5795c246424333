#include "core/admin/repair.h"

#include <errno.h>
#include <inttypes.h>

#include "base/log.h"
#include "base/seed.h"
#include "core/admin/rebuild.h"
#include "core/admin/repairwork.h"
#include "core/format/qcow2.h"

/* Each round brings at least what hangs on one more level of tables to light;
 * there are five levels. */
#define ROUNDS_MAX 16
#define MARKS (QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT)

static bool may_rebuild(const struct checkwalk *w, enum repair_mode mode)
{
	return mode == REPAIR_ALL ||
	       (mode == REPAIR_COUNTS && repairentry_known(w) &&
		!w->fixes.n && !w->rewrite_snapshots && !w->rewrite_bitmaps);
}

static int put_autoclear(struct checkwalk *w)
{
	const struct repairwork_roots roots = { .autoclear = w->autoclear };

	return w->autoclear == w->h.autoclear ? 0 : repairhead_roots(w, &roots);
}

/* All that is too low, then all that is broken. References that become valid
 * by a patch have been counted [R2]; an extension that goes is not promised any
 * more. */
static int mend(struct checkwalk *w, enum repair_mode mode)
{
	int r = repaircount_raise(w);

	if (r == 0 && mode == REPAIR_ALL)
		r = put_autoclear(w);
	if (r == 0 && mode == REPAIR_ALL)
		r = repairentry_patches(w);
	return r;
}

static int settle(struct checkwalk *w, enum repair_mode mode)
{
	bool known = repairentry_known(w);
	int r = 0;

	if (mode != REPAIR_LEAKS)
		r = repaircount_flags(w, known);
	if (r == 0 && known)
		r = repaircount_lower(w);
	return r;
}

/* The image is marked corrupt while its structure changes, so that nobody
 * writes to what an interrupted repair leaves. */
static int guard(struct checkwalk *w, enum repair_mode mode)
{
	uint64_t before;

	if (SEED_BUG(SEED_UNGUARDED))
		return 0;
	if (mode != REPAIR_ALL || (!rebuild_needed(w) && !w->fixes.n &&
				   w->autoclear == w->h.autoclear))
		return 0;
	return repairhead_set_marks(w->file, QCOW2_INCOMPAT_CORRUPT, 0, &before,
				    w->err);
}

/* Do what the walk W calls for. w->writes stays 0 if there is nothing. */
static int one_round(struct checkwalk *w, enum repair_mode mode)
{
	uint64_t patched;
	int r = guard(w, mode);

	if (r < 0)
		return r;
	if (rebuild_needed(w) && may_rebuild(w, mode))
		r = rebuild_apply(w);
	/* what cannot be moved stands in nobody's way */
	if (r < 0 || w->writes)
		return r;
	if (mode == REPAIR_LEAKS)
		return settle(w, mode);
	r = mend(w, mode);
	patched = w->fixes.n && mode == REPAIR_ALL ? w->writes : 0;
	/* what a patch has made visible must be walked first */
	return r < 0 || patched ? r : settle(w, mode);
}

static bool sound(const struct check_result *r)
{
	return r->corruptions == r->harmless && !r->check_errors;
}

static int run_round(struct hostfile *file, enum repair_mode mode,
		     const struct check_opts *opts, struct check_result *res,
		     bool *more, struct err *err)
{
	struct checkwalk w = { .file = file, .opts = opts, .res = res,
			       .err = err, .proposing = true };
	int r = check_run(&w);

	if (r == 0)
		r = one_round(&w, mode);
	*more = w.writes != 0;
	checkwalk_fini(&w);
	return r;
}

static int run_rounds(struct hostfile *file, enum repair_mode mode,
		      const struct check_opts *opts, struct repair_result *res,
		      struct err *err)
{
	struct check_opts silent = *opts;
	bool more;
	int r = run_round(file, mode, opts, &res->before, &more, err);

	res->after = res->before;
	silent.report = NULL;
	for (res->walks = 1; r == 0 && more && res->walks < ROUNDS_MAX;
	     res->walks++)
		r = run_round(file, mode, &silent, &res->after, &more, err);
	return r;
}

int repair_image(struct hostfile *file, enum repair_mode mode,
		 const struct check_opts *opts, struct repair_result *res,
		 struct err *err)
{
	static const struct check_opts none;
	uint64_t marks = MARKS;
	uint64_t before;
	uint64_t now;
	int r = repairhead_set_marks(file, 0, 0, &before, err);

	*res = (struct repair_result){ 0 };
	if (r == 0)
		r = run_rounds(file, mode, opts ? opts : &none, res, err);
	if (r < 0 || mode == REPAIR_LEAKS)
		return r;
	if (!sound(&res->after))
		marks &= ~before; /* what the guard has set */
	r = repairhead_set_marks(file, 0, marks, &now, err);
	res->marks = before & marks;
	return r;
}

int repair_recover(struct hostfile *file, struct err *err)
{
	struct repair_result res;
	int r;

	log_line(LOG_LEVEL_WARN, "%s is marked dirty: counting its clusters anew",
		 file->name);
	r = repair_image(file, REPAIR_COUNTS, NULL, &res, err);
	if (r < 0)
		return r;
	if (!sound(&res.after))
		return err_set(err, -EUCLEAN, "more than refcounts is wrong");
	log_line(LOG_LEVEL_WARN,
		 "%s: repaired %" PRIu64 " errors and %" PRIu64
		 " leaked clusters; it is no longer marked dirty",
		 file->name, res.before.corruptions - res.after.corruptions,
		 res.before.leaks - res.after.leaks);
	return 0;
}
