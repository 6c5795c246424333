/* problem: the table of defects; see problem.h. */
#include "core/admin/problem.h"

#include <stddef.h>

struct defect {
	const char *name;
	enum problem_class cls;
	bool known; /* all references are known in spite of it */
	enum problem_fix fix;
	const char *text;
};

#define CORRUPTION PROBLEM_CORRUPTION, false
#define CORRUPTION_KNOWN PROBLEM_CORRUPTION, true

static const struct defect defects[PROBLEM_N] = {
	[PROBLEM_HEADER] = { "header", CORRUPTION, PROBLEM_FIX_PATCH,
		"a header extension is invalid" },
	[PROBLEM_L1_ENTRY] = { "l1-entry", CORRUPTION, PROBLEM_FIX_PATCH,
		"an L1 entry has reserved bits or is not aligned" },
	[PROBLEM_L1_RANGE] = { "l1-range", CORRUPTION, PROBLEM_FIX_PATCH,
		"an L2 table lies outside the file" },
	[PROBLEM_L2_ENTRY] = { "l2-entry", CORRUPTION, PROBLEM_FIX_PATCH,
		"an L2 entry has reserved bits or is not aligned" },
	[PROBLEM_L2_RANGE] = { "l2-range", CORRUPTION, PROBLEM_FIX_PATCH,
		"a data cluster lies outside the file" },
	[PROBLEM_COMPRESSED_RANGE] = { "compressed-range", CORRUPTION,
		PROBLEM_FIX_PATCH, "compressed data lies outside the file" },
	[PROBLEM_COMPRESSED_DATA] = { "compressed-data", CORRUPTION_KNOWN,
		PROBLEM_FIX_NONE, "compressed data does not decompress" },
	[PROBLEM_REFTABLE_ENTRY] = { "reftable-entry", CORRUPTION,
		PROBLEM_FIX_REBUILD,
		"a refcount table entry has reserved bits or is not aligned" },
	[PROBLEM_REFTABLE_RANGE] = { "reftable-range", CORRUPTION,
		PROBLEM_FIX_REBUILD, "a refcount block lies outside the file" },
	[PROBLEM_REFBLOCK_SHARED] = { "refblock-shared", CORRUPTION,
		PROBLEM_FIX_REBUILD, "a refcount block is used twice" },
	[PROBLEM_ROLE_CLASH] = { "role-clash", CORRUPTION, PROBLEM_FIX_MOVE,
		"a cluster is used in two roles" },
	[PROBLEM_SNAPSHOT] = { "snapshot", CORRUPTION, PROBLEM_FIX_REWRITE,
		"a snapshot's record is invalid" },
	[PROBLEM_SNAPSHOT_EXTRA] = { "snapshot-extra", CORRUPTION_KNOWN,
		PROBLEM_FIX_REWRITE,
		"a snapshot's extra data is too long or too short" },
	[PROBLEM_BITMAP] = { "bitmap", CORRUPTION, PROBLEM_FIX_REWRITE,
		"a bitmap is invalid" },
	[PROBLEM_AUTOCLEAR] = { "autoclear", CORRUPTION_KNOWN,
		PROBLEM_FIX_PATCH,
		"an autoclear bit is set without its feature" },
	[PROBLEM_REFCOUNT_LOW] = { "refcount-low", CORRUPTION_KNOWN,
		PROBLEM_FIX_COUNT, "a refcount is below the references" },
	[PROBLEM_REFCOUNT_HIGH] = { "refcount-high", PROBLEM_LEAK, true,
		PROBLEM_FIX_COUNT, "a refcount is above the references" },
	[PROBLEM_COPIED_L1] = { "copied-l1", CORRUPTION_KNOWN,
		PROBLEM_FIX_FLAG, "COPIED of an L2 table is wrong" },
	[PROBLEM_COPIED_L2] = { "copied-l2", CORRUPTION_KNOWN,
		PROBLEM_FIX_FLAG, "COPIED of a cluster is wrong" },
	[PROBLEM_DATA_PLACE] = { "data-place", CORRUPTION_KNOWN,
		PROBLEM_FIX_PATCH,
		"a cluster is not at its place in the data file" },
	[PROBLEM_IO] = { "io", PROBLEM_CHECK_ERROR, false, PROBLEM_FIX_NONE,
		"a part could not be read" },
};

const char *problem_name(enum problem_code code)
{
	return code < PROBLEM_N ? defects[code].name : "unknown";
}

const char *problem_text(enum problem_code code)
{
	return code < PROBLEM_N ? defects[code].text : "unknown";
}

enum problem_fix problem_fix_of(enum problem_code code)
{
	return code < PROBLEM_N ? defects[code].fix : PROBLEM_FIX_NONE;
}

const char *problem_fix_text(enum problem_fix fix)
{
	static const char *const text[PROBLEM_FIX_N] = {
		[PROBLEM_FIX_NONE] = "reported",
		[PROBLEM_FIX_PATCH] = "set right or cleared",
		[PROBLEM_FIX_MOVE] = "given a place of its own",
		[PROBLEM_FIX_REBUILD] = "refcounts rebuilt",
		[PROBLEM_FIX_REWRITE] = "table rewritten",
		[PROBLEM_FIX_COUNT] = "counted anew",
		[PROBLEM_FIX_FLAG] = "set as the count asks",
	};

	return fix < PROBLEM_FIX_N ? text[fix] : "unknown";
}

bool problem_hides(enum problem_code code)
{
	return code >= PROBLEM_N || !defects[code].known;
}

bool problem_harmless(enum problem_code code)
{
	return code == PROBLEM_COMPRESSED_DATA;
}

enum problem_class problem_class_of(enum problem_code code)
{
	return code < PROBLEM_N ? defects[code].cls : PROBLEM_CHECK_ERROR;
}
