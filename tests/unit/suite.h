/*
 * suite: the main() of a unit test program. Each program is one suite of one
 * test case, written SUITE_MAIN("name", test_a, test_b), or
 * SUITE_MAIN_LOOPS("name", { test_a, 7 }, { test_b, 1 }).
 */
#pragma once

#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Is RAWCOW_TEST_SCALE this: "small" (sanitizers), "full"? */
static inline bool suite_scale_is(const char *what)
{
	const char *scale = getenv("RAWCOW_TEST_SCALE");

	return scale && !strcmp(scale, what);
}

/* A test, and how often: _i counts in it. */
struct suite_loop {
	const TTest *test;
	int n;
};

static inline int suite_run_loops(const char *name,
				  const struct suite_loop *loops, size_t n)
{
	Suite *s = suite_create(name);
	TCase *tc = tcase_create(name);
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 300);
	for (size_t i = 0; i < n; i++)
		tcase_add_loop_test(tc, loops[i].test, 0, loops[i].n);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

static inline int suite_run(const char *name, const TTest *const *tests,
			    size_t n)
{
	struct suite_loop loops[64];

	if (n > sizeof(loops) / sizeof(loops[0]))
		abort();
	for (size_t i = 0; i < n; i++)
		loops[i] = (struct suite_loop){ tests[i], 1 };
	return suite_run_loops(name, loops, n);
}

#define SUITE_MAIN(name, ...)                                                 \
	int main(void)                                                        \
	{                                                                     \
		const TTest *const tests[] = { __VA_ARGS__ };                 \
                                                                              \
		return suite_run(name, tests,                                 \
				 sizeof(tests) / sizeof(tests[0]));           \
	}

#define SUITE_MAIN_LOOPS(name, ...)                                           \
	int main(void)                                                        \
	{                                                                     \
		const struct suite_loop loops[] = { __VA_ARGS__ };            \
                                                                              \
		return suite_run_loops(name, loops,                           \
				       sizeof(loops) / sizeof(loops[0]));     \
	}
