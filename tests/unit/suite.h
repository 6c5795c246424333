/*
 * suite: the main() of a unit test program. Each program is one suite of one
 * test case, written SUITE_MAIN("name", test_a, test_b).
 */
#pragma once

#include <check.h>
#include <stdlib.h>

static inline int suite_run(const char *name, const TTest *const *tests,
			    size_t n)
{
	Suite *s = suite_create(name);
	TCase *tc = tcase_create(name);
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 120);
	for (size_t i = 0; i < n; i++)
		tcase_add_test(tc, tests[i]);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#define SUITE_MAIN(name, ...)                                                 \
	int main(void)                                                        \
	{                                                                     \
		const TTest *const tests[] = { __VA_ARGS__ };                 \
                                                                              \
		return suite_run(name, tests,                                 \
				 sizeof(tests) / sizeof(tests[0]));           \
	}
