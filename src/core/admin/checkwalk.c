/* checkwalk: what all parts of check do; see checkwalk.h. */
#include "core/admin/checkwalk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"

void checkwalk_report(struct checkwalk *w, enum problem_code code,
		      uint64_t hoff, const char *fmt, ...)
{
	struct problem p = { .code = code, .cls = problem_class_of(code),
			     .hoff = hoff };
	char text[ERR_TEXT_MAX];
	va_list ap;

	switch (p.cls) {
	case PROBLEM_CORRUPTION:
		w->res->corruptions++;
		w->res->harmless += problem_harmless(code);
		w->hiding += problem_hides(code);
		break;
	case PROBLEM_LEAK:
		w->res->leaks++;
		break;
	case PROBLEM_CHECK_ERROR:
		w->res->check_errors++;
		break;
	}
	if (!w->opts->report)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	p.text = text;
	w->opts->report(w->opts->report_arg, &p);
}

bool checkwalk_inside(const struct checkwalk *w, uint64_t off, uint64_t len)
{
	uint64_t end;

	if (num_add_overflow(off, len, &end))
		return false;
	return end <= w->file_size || end - w->file_size < w->g.cluster_size;
}

/* May one cluster have both roles? Snapshots share L2 tables and data;
 * compressed streams stand side by side in one cluster. */
static bool roles_agree(enum checkrole a, enum checkrole b)
{
	if (a == CHECKROLE_NONE)
		return true;
	if (a == CHECKROLE_SNAP_L2)
		a = CHECKROLE_L2;
	if (b == CHECKROLE_SNAP_L2)
		b = CHECKROLE_L2;
	return a == b && (a == CHECKROLE_L2 || a == CHECKROLE_DATA ||
			  a == CHECKROLE_COMPRESSED);
}

static bool counts_clusters(enum checkrole role)
{
	return role == CHECKROLE_REFTABLE || role == CHECKROLE_REFBLOCK;
}

/* ROLE comes to the cluster HIDX, whose role is another one. */
static void clash(struct checkwalk *w, uint64_t hidx, enum checkrole was,
		  enum checkrole role, enum checkwalk_place *place)
{
	uint64_t hoff = hidx << w->g.cluster_bits;

	checkwalk_report(w, PROBLEM_ROLE_CLASH, hoff,
			 "the cluster at %#" PRIx64 " is %s and also %s", hoff,
			 checkmap_role_text(was), checkmap_role_text(role));
	/* refcounts can be made anew, so they are what moves */
	if (!counts_clusters(was) && !counts_clusters(role)) {
		*place = CHECKWALK_CONTESTED;
		return;
	}
	w->rebuild = true;
	*place = NUM_MAX(*place, CHECKWALK_COUNTS);
}

static int mark_one(struct checkwalk *w, uint64_t hidx, enum checkrole role,
		    uint64_t n, enum checkwalk_place *place)
{
	struct checkcell *cell = checkmap_cell(&w->map, hidx);
	uint64_t hoff = hidx << w->g.cluster_bits;
	uint64_t refs;

	if (!cell)
		return -ENOMEM;
	refs = checkmap_refs(&w->map, hidx);
	if (cell->role == role && role == CHECKROLE_REFBLOCK) {
		checkwalk_report(w, PROBLEM_REFBLOCK_SHARED, hoff,
				 "the refcount block at %#" PRIx64
				 " is used twice", hoff);
		w->rebuild = true;
	} else if (!roles_agree((enum checkrole)cell->role, role)) {
		clash(w, hidx, (enum checkrole)cell->role, role, place);
	} else if (refs && refs + n > w->g.refcount_max) {
		*place = CHECKWALK_CONTESTED;
	}
	if (cell->role == CHECKROLE_NONE)
		cell->role = (uint8_t)role;
	return checkmap_add_refs(&w->map, hidx, n);
}

int checkwalk_name(struct checkwalk *w, uint64_t off, uint64_t len,
		   enum checkrole role, uint64_t n, enum checkwalk_place *place)
{
	uint64_t first = off >> w->g.cluster_bits;
	uint64_t last = (off + len - 1) >> w->g.cluster_bits;
	int ret = 0;

	*place = CHECKWALK_FINE;
	if (!len)
		return 0;
	for (uint64_t i = first; i <= last && !ret; i++)
		ret = mark_one(w, i, role, n, place);
	return ret;
}

int checkwalk_mark(struct checkwalk *w, uint64_t off, uint64_t len,
		   enum checkrole role, uint64_t n)
{
	enum checkwalk_place place;

	return checkwalk_name(w, off, len, role, n, &place);
}

int checkwalk_outside(struct checkwalk *w, uint64_t off, uint64_t len)
{
	/* a repair adds less than that */
	uint64_t end = 2 * w->file_size + (1ULL << 30);
	uint64_t first = off >> w->g.cluster_bits;

	if (!w->proposing || off >= end)
		return 0;
	for (uint64_t i = 0; i < geom_clusters(&w->g, len) + 1; i++) {
		struct checkcell *cell = checkmap_cell(&w->map, first + i);

		if (!cell)
			return -ENOMEM;
		if (cell->role == CHECKROLE_NONE &&
		    (first + i) << w->g.cluster_bits >= w->file_size)
			cell->role = CHECKROLE_OUTSIDE;
	}
	return 0;
}

int checkwalk_propose(struct checkwalk *w, const struct checkfix *fix)
{
	return w->proposing ? checkfix_add(&w->fixes, &w->map, fix) : 0;
}

int checkwalk_patch(struct checkwalk *w, uint64_t at, uint64_t raw,
		    enum checkrole role)
{
	const struct checkfix fix = { .at = at, .raw = raw, .role = role };

	return checkwalk_propose(w, &fix);
}

bool checkwalk_counted(const struct checkwalk *w, uint64_t hidx)
{
	uint64_t i = hidx >> w->g.refblock_bits;

	return i < w->blocks_n && w->blocks[i] == CHECKWALK_BLOCK_READ;
}

bool checkwalk_read(struct checkwalk *w, void *buf, uint64_t len, uint64_t off)
{
	int ret = hostfile_pread(w->file, buf, (size_t)len, off, NULL);

	if (!ret)
		return true;
	checkwalk_report(w, PROBLEM_IO, off,
			 "cannot read %" PRIu64 " bytes at %#" PRIx64, len,
			 off);
	return false;
}

bool checkwalk_hole(struct checkwalk *w, uint64_t off, uint64_t len)
{
	uint64_t end;
	bool data;

	if (off >= w->file_size)
		return true;
	if (hostfile_next_extent(w->file, off, &data, &end) < 0 || data)
		return false;
	return end >= NUM_MIN(off + len, w->file_size);
}

void checkwalk_fini(struct checkwalk *w)
{
	checksnap_fini(w);
	checkbitmap_fini(w);
	checktab_fini(w);
	checkfix_fini(&w->fixes);
	checkmap_fini(&w->map);
	free(w->blocks);
	free(w->head);
}
