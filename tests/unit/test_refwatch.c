/* test_refwatch: what was noted is found, and nothing else. */
#include <check.h>
#include <stdlib.h>

#include "core/meta/refwatch.h"
#include "suite.h"

#define CLUSTERS 4096U

START_TEST(found_again)
{
	bool noted[CLUSTERS] = { false };
	struct refwatch w = { 0 }, late = { 0 }, *all = NULL;

	refwatch_begin(&all, &w);
	srand(1);
	for (int i = 0; i < 600; i++) {
		uint64_t hidx = (uint64_t)rand() % (CLUSTERS - 16);
		uint64_t n = 1 + (uint64_t)rand() % 8;

		if (i == 300)
			refwatch_begin(&all, &late);
		refwatch_note(all, hidx, n);
		if (i % 3 == 0) /* and what follows it */
			refwatch_note(all, hidx + n, 2);
		for (uint64_t k = 0; k < n + (i % 3 == 0 ? 2 : 0); k++)
			noted[hidx + k] = true;
	}
	refwatch_end(&all, &w);
	refwatch_note(all, CLUSTERS, 1); /* not for W any more */
	refwatch_end(&all, &late);
	ck_assert_ptr_null(all);
	refwatch_sort(&w);
	refwatch_sort(&late);
	ck_assert(!w.lost && !late.lost);
	ck_assert(refwatch_has(&late, CLUSTERS) && !refwatch_has(&w, CLUSTERS));
	for (uint64_t i = 0; i < CLUSTERS; i++)
		ck_assert(!refwatch_has(&late, i) || noted[i]);
	for (uint64_t i = 0; i < CLUSTERS; i++)
		ck_assert_msg(refwatch_has(&w, i) == noted[i], "%u",
			      (unsigned)i);
	for (size_t i = 1; i < w.n; i++)
		ck_assert_uint_gt(w.r[i].hidx, w.r[i - 1].hidx + w.r[i - 1].n);
	ck_assert(!refwatch_has(&w, UINT64_MAX));
	refwatch_fini(&w);
	refwatch_fini(&late);
	ck_assert(!refwatch_has(&w, 0));
}
END_TEST

SUITE_MAIN("refwatch", found_again)
