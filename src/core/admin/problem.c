/* problem: the table of defects; see problem.h. */
#include "core/admin/problem.h"

#include <stddef.h>

struct defect {
	const char *name;
	enum problem_class cls;
};

static const struct defect defects[PROBLEM_N] = {
	[PROBLEM_HEADER] = { "header", PROBLEM_CORRUPTION },
	[PROBLEM_L1_ENTRY] = { "l1-entry", PROBLEM_CORRUPTION },
	[PROBLEM_L1_RANGE] = { "l1-range", PROBLEM_CORRUPTION },
	[PROBLEM_L2_ENTRY] = { "l2-entry", PROBLEM_CORRUPTION },
	[PROBLEM_L2_RANGE] = { "l2-range", PROBLEM_CORRUPTION },
	[PROBLEM_COMPRESSED_RANGE] = { "compressed-range", PROBLEM_CORRUPTION },
	[PROBLEM_COMPRESSED_DATA] = { "compressed-data", PROBLEM_CORRUPTION },
	[PROBLEM_REFTABLE_ENTRY] = { "reftable-entry", PROBLEM_CORRUPTION },
	[PROBLEM_REFTABLE_RANGE] = { "reftable-range", PROBLEM_CORRUPTION },
	[PROBLEM_REFBLOCK_SHARED] = { "refblock-shared", PROBLEM_CORRUPTION },
	[PROBLEM_ROLE_CLASH] = { "role-clash", PROBLEM_CORRUPTION },
	[PROBLEM_SNAPSHOT] = { "snapshot", PROBLEM_CORRUPTION },
	[PROBLEM_BITMAP] = { "bitmap", PROBLEM_CORRUPTION },
	[PROBLEM_REFCOUNT_LOW] = { "refcount-low", PROBLEM_CORRUPTION },
	[PROBLEM_REFCOUNT_HIGH] = { "refcount-high", PROBLEM_LEAK },
	[PROBLEM_COPIED_L1] = { "copied-l1", PROBLEM_CORRUPTION },
	[PROBLEM_COPIED_L2] = { "copied-l2", PROBLEM_CORRUPTION },
	[PROBLEM_IO] = { "io", PROBLEM_CHECK_ERROR },
};

const char *problem_name(enum problem_code code)
{
	return code < PROBLEM_N ? defects[code].name : "unknown";
}

enum problem_class problem_class_of(enum problem_code code)
{
	return code < PROBLEM_N ? defects[code].cls : PROBLEM_CHECK_ERROR;
}
