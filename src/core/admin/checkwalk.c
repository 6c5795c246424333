/* checkwalk: what all parts of check do; see checkwalk.h. */
#include "core/admin/checkwalk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

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

static int mark_one(struct checkwalk *w, uint64_t hidx, enum checkrole role,
		    uint64_t n)
{
	struct checkcell *cell = checkmap_cell(&w->map, hidx);
	uint64_t hoff = hidx << w->g.cluster_bits;

	if (!cell)
		return -ENOMEM;
	if (cell->role == role && role == CHECKROLE_REFBLOCK)
		checkwalk_report(w, PROBLEM_REFBLOCK_SHARED, hoff,
				 "the refcount block at %#" PRIx64
				 " is used twice", hoff);
	else if (!roles_agree((enum checkrole)cell->role, role))
		checkwalk_report(w, PROBLEM_ROLE_CLASH, hoff,
				 "the cluster at %#" PRIx64 " is %s and also %s",
				 hoff,
				 checkmap_role_text((enum checkrole)cell->role),
				 checkmap_role_text(role));
	if (cell->role == CHECKROLE_NONE)
		cell->role = (uint8_t)role;
	return checkmap_add_refs(&w->map, hidx, n);
}

int checkwalk_mark(struct checkwalk *w, uint64_t off, uint64_t len,
		   enum checkrole role, uint64_t n)
{
	uint64_t first = off >> w->g.cluster_bits;
	uint64_t last = (off + len - 1) >> w->g.cluster_bits;
	int ret = 0;

	if (!len)
		return 0;
	for (uint64_t i = first; i <= last && !ret; i++)
		ret = mark_one(w, i, role, n);
	return ret;
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
