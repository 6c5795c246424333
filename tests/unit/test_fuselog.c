/*
 * test_fuselog: a line of libfuse's, whole, though it comes in pieces.
 */
#include <check.h>

#include "fuse/fuselib.h"
#include "fuse/fuselog.h"
#include "suite.h"

START_TEST(test_pieces)
{
	fuselog_init();
	ck_assert_str_eq(fuselog_complaint(), "");
	fuse_log(FUSE_LOG_ERR, "fuse: unknown option(s): `");
	fuse_log(FUSE_LOG_ERR, "%s ", "-o");
	fuse_log(FUSE_LOG_ERR, "%s", "x");
	ck_assert_str_eq(fuselog_complaint(), "");
	fuse_log(FUSE_LOG_ERR, "'\n");
	ck_assert_str_eq(fuselog_complaint(),
			 ": fuse: unknown option(s): `-o x'");
	fuse_log(FUSE_LOG_ERR, "another\n");
	ck_assert_str_eq(fuselog_complaint(), ": another");
}
END_TEST

START_TEST(test_long)
{
	fuselog_init();
	for (int i = 0; i < 100; i++)
		fuse_log(FUSE_LOG_ERR, "0123456789");
	fuse_log(FUSE_LOG_ERR, "\n");
	ck_assert_int_eq(fuselog_complaint()[2], '0');
	fuse_log(FUSE_LOG_ERR, "after it\n");
	ck_assert_str_eq(fuselog_complaint(), ": after it");
}
END_TEST

SUITE_MAIN("fuselog", test_pieces, test_long)
