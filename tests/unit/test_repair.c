/*
 * test_repair: counts and flags are damaged at random, repaired under the
 * recorder, and every state that a crash may leave is checked: none is worse
 * than the damaged image, and the repair finishes what one has begun.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/be.h"
#include "core/admin/check.h"
#include "core/admin/create.h"
#include "core/admin/repair.h"
#include "core/admin/snapshot.h"
#include "core/format/qcow2.h"
#include "lib/hostmem.h"
#include "lib/hostrecord.h"
#include "suite.h"

#define SIZE (1U << 20)
#define CS 4096U

static unsigned char want[SIZE], got[SIZE];
static uint64_t block, l1; /* host offsets */

struct found {
	unsigned n[PROBLEM_N];
};

static void on_problem(void *arg, const struct problem *p)
{
	((struct found *)arg)->n[p->code]++;
}

static struct image *open_mem(struct hostmem *m, bool readonly)
{
	struct image_opts opts = { .no_lock = true, .readonly = readonly };
	struct image *img;
	struct hostfile *f;
	struct err err = { "" };

	ck_assert_int_eq(hostmem_open(&f, m, !readonly), 0);
	ck_assert_msg(image_open_file(&img, f, &opts, &err) == 0, "%s",
		      err.text);
	return img;
}

/* Data, a hole, and a snapshot that shares some of it. */
static struct hostmem *make_image(void)
{
	struct create_opts c = { .size = SIZE, .cluster_size = CS };
	struct hostmem *m = hostmem_new();
	struct err err = { "" };
	struct hostfile *f;
	struct image *img;
	unsigned char b[8];

	ck_assert_int_eq(hostmem_open(&f, m, true), 0);
	ck_assert_int_eq(create_image(f, &c, &err), 0);
	hostfile_close(f);
	for (size_t i = 0; i < SIZE; i++)
		want[i] = (unsigned char)(i % 251);
	memset(want + 600000, 0, 200000);
	img = open_mem(m, false);
	ck_assert_int_eq(image_write(img, want, 600000, 0), 0);
	ck_assert_int_eq(snapshot_create(img, "s", &err), 0);
	ck_assert_int_eq(image_write(img, want, 300000, 0), 0);
	ck_assert_int_eq(image_write(img, want + 800000, SIZE - 800000, 800000),
			 0);
	ck_assert_int_eq(image_close(img), 0);
	hostmem_read(m, b, 8, 48);
	hostmem_read(m, b, 8, be64_load(b));
	block = be64_load(b);
	hostmem_read(m, b, 8, 40);
	l1 = be64_load(b);
	return m;
}

static void damage(struct hostmem *m)
{
	unsigned char b[8];

	for (int i = 0; i < 12; i++) {
		uint64_t at = block + (uint64_t)(rand() % 450) * 2;

		b[0] = 0;
		b[1] = (unsigned char)(rand() % 4);
		ck_assert_int_eq(hostmem_write(m, b, 2, at), 0);
	}
	hostmem_read(m, b, 8, l1);
	for (int i = 0; i < 6; i++) {
		uint64_t at = (be64_load(b) & QCOW2_OFFSET_MASK) +
			      (uint64_t)(rand() % 256) * 8;
		unsigned char e[8];

		hostmem_read(m, e, 8, at);
		if (!(be64_load(e) & QCOW2_OFFSET_MASK))
			continue;
		e[0] ^= 0x80;
		ck_assert_int_eq(hostmem_write(m, e, 8, at), 0);
	}
}

/* Check M, with a repair that is logged to R unless it is NULL. */
static void check_mem(struct hostmem *m, struct hostrecord *r,
		      struct found *found)
{
	struct check_opts opts = { .report = on_problem, .report_arg = found };
	struct repair_result rr;
	struct check_result res;
	struct hostfile *f, *g;
	struct err err = { "" };

	memset(found, 0, sizeof(*found));
	ck_assert_int_eq(hostmem_open(&f, m, r != NULL), 0);
	if (r) {
		ck_assert_int_eq(hostrecord_wrap(r, &g, f), 0);
		f = g;
	}
	ck_assert_msg((r ? repair_image(f, REPAIR_ALL, &opts, &rr, &err)
			 : check_image(f, &opts, &res, &err)) == 0,
		      "%s", err.text);
	hostfile_close(f);
}

static void check_content(struct hostmem *m)
{
	struct image *img = open_mem(m, true);

	ck_assert_int_eq(image_read(img, got, SIZE, 0), 0);
	ck_assert_mem_eq(got, want, SIZE);
	ck_assert_int_eq(image_close(img), 0);
}

static void not_worse(const struct found *now, const struct found *before)
{
	for (unsigned c = 0; c < PROBLEM_N; c++) {
		/* a raised count may show as a leak until it is lowered, and
		 * flags are judged by the counts of the moment */
		if (c == PROBLEM_REFCOUNT_HIGH || c == PROBLEM_COPIED_L1 ||
		    c == PROBLEM_COPIED_L2)
			continue;
		ck_assert_msg(now->n[c] <= before->n[c], "%s: %u, before %u",
			      problem_name(c), now->n[c], before->n[c]);
	}
}

static void finish(struct hostmem *m)
{
	struct hostrecord *r = hostrecord_new();
	struct found found;
	unsigned total = 0;

	check_mem(m, r, &found);
	hostrecord_free(r);
	check_mem(m, NULL, &found);
	for (unsigned c = 0; c < PROBLEM_N; c++)
		total += found.n[c];
	ck_assert_uint_eq(total, 0);
	check_content(m);
}

/* A crash before entry K, with what is not synced there or not: each choice for
 * up to six changes, at random for more. */
static void crash_at(struct hostmem *base, struct hostrecord *r, uint64_t k,
		     const struct found *before)
{
	struct hostrecord_entry e;
	uint64_t synced = 0;
	unsigned choices;

	for (uint64_t i = 0; i < k; i++) {
		hostrecord_get(r, i, &e);
		if (e.op == HOSTRECORD_SYNC_END)
			synced = e.pair;
	}
	choices = 1U << (k - synced < 6 ? k - synced : 6);
	for (unsigned c = 0; c < choices; c++) {
		struct hostmem *m = hostmem_clone(base);
		struct found now;

		for (uint64_t i = 0; i < k; i++) {
			hostrecord_get(r, i, &e);
			if (i < synced || (c >> (i - synced) % 6 & 1))
				ck_assert_int_eq(hostrecord_apply(&e, m), 0);
		}
		check_mem(m, NULL, &now);
		not_worse(&now, before);
		finish(m);
		hostmem_free(m);
	}
}

START_TEST(crashes)
{
	struct hostmem *good = make_image();
	struct found found;
	unsigned low = 0;

	check_mem(good, NULL, &found);
	for (unsigned c = 0; c < PROBLEM_N; c++)
		ck_assert_uint_eq(found.n[c], 0);
	for (unsigned seed = 1; seed <= 12; seed++) {
		struct hostmem *bad = hostmem_clone(good);
		struct hostmem *m;
		struct hostrecord *r = hostrecord_new();
		struct found before;

		srand(seed);
		damage(bad);
		check_mem(bad, NULL, &before);
		low += before.n[PROBLEM_REFCOUNT_LOW];
		m = hostmem_clone(bad);
		check_mem(m, r, &found);
		for (uint64_t k = 1; k <= hostrecord_len(r); k++)
			crash_at(bad, r, k, &before);
		finish(m);
		hostrecord_free(r);
		hostmem_free(m);
		hostmem_free(bad);
	}
	ck_assert_uint_gt(low, 0);
	hostmem_free(good);
}
END_TEST

SUITE_MAIN("repair", crashes)
