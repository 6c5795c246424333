/*
 * test_checklive: a check of an image that is in use leaves it in use, and tells
 * no lies, whoever else is at work.
 */
#include <check.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "core/admin/checklive.h"
#include "core/image/open.h"
#include "imagefix.h"
#include "lib/imgbuild.h"
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

/* --- clusters that move, and what does not ----------------------------------- */

#define LEAKS 100001U /* more than are remembered */

static struct refwatch_range moving;

/* As if their counts changed while the check walks. */
static void move(void *arg, unsigned permille)
{
	struct meta *m = &img->meta;

	(void)arg;
	(void)permille;
	lock_take(&m->lock);
	refwatch_note(m->refcount.watch, moving.hidx, moving.n);
	lock_drop(&m->lock);
}

/* An image built in MEM, whose builder is forgotten. */
static struct image *open_built(struct hostmem *mem, struct imgbuild *b)
{
	const struct image_opts opts = { .no_lock = true, .no_backing = true };
	struct err err = { "" };
	struct hostfile *f;
	struct image *of;

	hostfile_close(b->f);
	imgbuild_fini(b);
	ck_assert_int_eq(hostmem_open(&f, mem, true), 0);
	ck_assert_msg(image_open_file(&of, f, &opts, &err) == 0, "%s",
		      err.text);
	return of;
}

static void init(struct hostmem *mem, struct imgbuild *b,
		 const struct imgbuild_params *p)
{
	struct hostfile *f;

	alarm(30);
	ck_assert_int_eq(hostmem_open(&f, mem, true), 0);
	imgbuild_init(b, f, p);
}

/* A count that is too low behind all that leaks is found. _i: what leaks is in
 * motion. */
START_TEST(many)
{
	const struct imgbuild_params p = { .cluster_bits = 9, .size = SIZE };
	const struct check_opts opts = { .progress = _i ? move : NULL };
	struct hostmem *mem = hostmem_new();
	struct checklive_result res;
	struct err err = { "" };
	struct imgbuild b;
	uint64_t data;

	init(mem, &b, &p);
	moving.hidx = imgbuild_alloc(&b, LEAKS) / C;
	moving.n = LEAKS;
	data = imgbuild_data(&b, 0, "x", 1);
	imgbuild_l2_set(&b, 0, data);
	imgbuild_finish(&b);
	imgbuild_refcount_set(&b, data, 0);
	img = open_built(mem, &b);
	ck_assert_int_eq(checklive_run(img, &opts, &res, &err), 0);
	ck_assert_uint_eq(res.res.corruptions, 1);
	ck_assert_uint_eq(res.res.leaks, _i ? 0 : LEAKS);
	ck_assert_uint_eq(res.moving, _i ? LEAKS : 0);
	ck_assert_int_eq(res.alone, !_i);
	ck_assert_int_eq(image_close(img), 0);
	hostmem_free(mem);
	alarm(0);
}
END_TEST

/* A cluster of the data file is another one than that of the image which has
 * its number. _i: it is in the wrong place; COPIED is clear. */
START_TEST(data_file)
{
	const struct imgbuild_params p = { .cluster_bits = 9, .size = SIZE,
					   .data_file = true };
	const struct check_opts opts = { .progress = move };
	struct hostmem *mem = hostmem_new();
	struct checklive_result res;
	struct err err = { "" };
	struct imgbuild b;

	init(mem, &b, &p);
	moving = (struct refwatch_range){ 40, 1 };
	imgbuild_l2_set(&b, _i ? 0 : 40 * C, 40 * C | (_i ? IMGBUILD_COPIED : 0));
	imgbuild_finish(&b);
	img = open_built(mem, &b);
	ck_assert_int_eq(checklive_run(img, &opts, &res, &err), 0);
	ck_assert_uint_eq(res.res.corruptions, 1);
	ck_assert_uint_eq(res.moving, 1);
	ck_assert_int_eq(image_close(img), 0);
	hostmem_free(mem);
	alarm(0);
}
END_TEST

SUITE_MAIN_LOOPS("checklive", { failed, 1 }, { two, 1 }, { many, 2 },
		 { data_file, 2 })
