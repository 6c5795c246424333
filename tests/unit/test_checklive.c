/*
 * test_checklive: a check of an image that is in use leaves it in use, and tells
 * no lies, whoever else is at work.
 */
#include <check.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "core/admin/checklive.h"
#include "imagefix.h"
#include "suite.h"

#define C    512U
#define SIZE (512U << 10)

static struct imagefix fx;
static struct image *img;
static unsigned char buf[64 << 10];

static void begin(bool faulty)
{
	const struct create_opts opts = { .size = SIZE, .cluster_size = C };

	alarm(30); /* what hangs is found here */
	imagefix_create(&fx, &opts);
	img = imagefix_open(&fx, faulty);
	ck_assert_ptr_nonnull(img);
	memset(buf, 'x', sizeof(buf));
	ck_assert_int_eq(image_write(img, buf, sizeof(buf), 0), 0);
}

static void end(int result)
{
	ck_assert_int_eq(image_close(img), result);
	imagefix_free(&fx);
	alarm(0);
}

/* Nothing can be committed any more: no check then, but reading goes on. */
START_TEST(failed)
{
	const struct hostfault_rule rule = { HOSTFAULT_SYNC, HOSTFAULT_ERROR,
					     -EIO, 0, 1 };
	const struct check_opts opts = { 0 };
	struct checklive_result res;
	struct err err = { "" };

	begin(true);
	hostfault_set(fx.fault, &rule);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(checklive_run(img, &opts, &res, &err), -EIO);
		ck_assert(err.text[0]);
		ck_assert_int_eq(image_read(img, buf, sizeof(buf), 0), 0);
	}
	ck_assert_int_eq(image_write(img, buf, 1, 0), -EIO);
	end(-EIO);
}
END_TEST

/* While one check walks, another one begins and ends; then much moves. */
static void on_progress(void *arg, unsigned permille)
{
	const struct check_opts opts = { 0 };
	struct checklive_result res;
	struct err err = { "" };
	unsigned *calls = arg;

	(void)permille;
	if ((*calls)++)
		return;
	ck_assert_int_eq(checklive_run(img, &opts, &res, &err), 0);
	ck_assert_uint_eq(res.res.corruptions, 0);
	ck_assert_int_eq(image_write(img, buf, sizeof(buf), SIZE / 2), 0);
	/* what is mapped by a table that the first one has not come to */
	ck_assert_int_eq(image_zero(img, sizeof(buf) / 2, sizeof(buf) / 2,
				    true), 0);
	ck_assert_int_eq(image_commit_all(img), 0);
}

START_TEST(two)
{
	unsigned calls = 0;
	const struct check_opts opts = { .progress = on_progress,
					 .progress_arg = &calls };
	struct checklive_result res;
	struct err err = { "" };

	begin(false);
	ck_assert_int_eq(checklive_run(img, &opts, &res, &err), 0);
	ck_assert_uint_gt(calls, 1);
	ck_assert_uint_gt(res.moving, 0);
	ck_assert_uint_eq(res.res.corruptions, 0);
	ck_assert_uint_eq(res.res.leaks, 0);
	imagefix_take(&fx, img);
	ck_assert_int_eq(image_close(img), 0);
	imagefix_look(&fx, false);
	imagefix_free(&fx);
	alarm(0);
}
END_TEST

SUITE_MAIN("checklive", failed, two)
