/* problem: the table of defects; see problem.h. */
#include "core/admin/problem.h"

#include <stddef.h>

struct defect {
	const char *name;
	enum problem_class cls;
	bool known; /* all references are known in spite of it */
};

static const struct defect defects[PROBLEM_N] = {
	[PROBLEM_HEADER] = { "header", PROBLEM_CORRUPTION, false },
	[PROBLEM_L1_ENTRY] = { "l1-entry", PROBLEM_CORRUPTION, false },
	[PROBLEM_L1_RANGE] = { "l1-range", PROBLEM_CORRUPTION, false },
	[PROBLEM_L2_ENTRY] = { "l2-entry", PROBLEM_CORRUPTION, false },
	[PROBLEM_L2_RANGE] = { "l2-range", PROBLEM_CORRUPTION, false },
	[PROBLEM_COMPRESSED_RANGE] = { "compressed-range",
		PROBLEM_CORRUPTION, false },
	[PROBLEM_COMPRESSED_DATA] = { "compressed-data",
		PROBLEM_CORRUPTION, true },
	[PROBLEM_REFTABLE_ENTRY] = { "reftable-entry",
		PROBLEM_CORRUPTION, false },
	[PROBLEM_REFTABLE_RANGE] = { "reftable-range",
		PROBLEM_CORRUPTION, false },
	[PROBLEM_REFBLOCK_SHARED] = { "refblock-shared",
		PROBLEM_CORRUPTION, false },
	[PROBLEM_ROLE_CLASH] = { "role-clash", PROBLEM_CORRUPTION, false },
	[PROBLEM_SNAPSHOT] = { "snapshot", PROBLEM_CORRUPTION, false },
	[PROBLEM_BITMAP] = { "bitmap", PROBLEM_CORRUPTION, false },
	[PROBLEM_REFCOUNT_LOW] = { "refcount-low", PROBLEM_CORRUPTION, true },
	[PROBLEM_REFCOUNT_HIGH] = { "refcount-high", PROBLEM_LEAK, true },
	[PROBLEM_COPIED_L1] = { "copied-l1", PROBLEM_CORRUPTION, true },
	[PROBLEM_COPIED_L2] = { "copied-l2", PROBLEM_CORRUPTION, true },
	[PROBLEM_IO] = { "io", PROBLEM_CHECK_ERROR, false },
};

const char *problem_name(enum problem_code code)
{
	return code < PROBLEM_N ? defects[code].name : "unknown";
}

bool problem_hides(enum problem_code code)
{
	return code >= PROBLEM_N || !defects[code].known;
}

enum problem_class problem_class_of(enum problem_code code)
{
	return code < PROBLEM_N ? defects[code].cls : PROBLEM_CHECK_ERROR;
}
