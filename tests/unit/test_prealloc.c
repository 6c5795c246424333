/*
 * prealloc: every cluster of a range gets a place and reads as zero, also where
 * the file held something there; a host without room leaves a good image.
 */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "core/admin/prealloc.h"
#include "imagefix.h"
#include "suite.h"

#define C 4096U
#define SIZE (128 * C)

static struct imagefix fx;

/* An image whose file has free clusters that are full of something. */
static struct image *begin(void)
{
	static unsigned char junk[20 * C];
	const struct create_opts opts = { .size = SIZE, .cluster_size = C };
	struct image *img;

	imagefix_create(&fx, &opts);
	img = imagefix_open(&fx, false);
	memset(junk, 0xaa, sizeof(junk));
	ck_assert_int_eq(image_write(img, junk, sizeof(junk), 0), 0);
	ck_assert_int_eq(image_flush(img), 0);
	ck_assert_int_eq(image_zero(img, 10 * C, 10 * C, true), 0);
	ck_assert_int_eq(image_close(img), 0);
	img = imagefix_open(&fx, true);
	imagefix_take(&fx, img);
	return img;
}

static void end(struct image *img)
{
	ck_assert_int_eq(image_close(img), 0);
	imagefix_look(&fx, false);
	imagefix_free(&fx);
}

/* ARG: what was said last, and how often anything was. */
static void on_progress(void *arg, unsigned permille)
{
	unsigned *said = arg;

	ck_assert_uint_ge(permille, said[0]);
	ck_assert_uint_le(permille, 1000);
	said[0] = permille;
	said[1]++;
}

START_TEST(all_modes)
{
	for (int mode = CREATE_PREALLOC_METADATA; mode <= CREATE_PREALLOC_FULL;
	     mode++) {
		unsigned said[2] = { 0, 0 };
		const struct prealloc_opts opts = {
			.mode = (enum create_prealloc)mode,
			.progress = on_progress,
			.progress_arg = said,
		};
		struct image *img = begin();
		struct image_extent x;

		/* the cluster that it begins in is left alone */
		ck_assert_int_eq(prealloc_range(img, 11 * C + 512, SIZE, &opts,
						&fx.err), 0);
		ck_assert_uint_gt(said[1], 1);
		ck_assert_int_eq(image_map(img, 11 * C, C, &x), 0);
		ck_assert_int_ne(x.kind, IMAGE_EXTENT_DATA);
		for (uint64_t off = 12 * C; off < SIZE; off += x.len) {
			ck_assert_int_eq(image_map(img, off, SIZE - off, &x),
					 0);
			ck_assert_int_eq(x.kind, IMAGE_EXTENT_DATA);
		}
		end(img);
	}
}
END_TEST

START_TEST(no_room)
{
	for (uint64_t n = 0; n < 6; n++) {
		const struct hostfault_rule rule = {
			.ops = HOSTFAULT_PWRITE | HOSTFAULT_FALLOC,
			.kind = HOSTFAULT_ERROR,
			.error = -ENOSPC,
			.skip = n,
			.repeat = 1,
		};
		const struct prealloc_opts full = {
			.mode = CREATE_PREALLOC_FULL,
		};
		struct image *img = begin();
		int r;

		hostfault_set(fx.fault, &rule);
		r = prealloc_range(img, 0, SIZE, &full, &fx.err);
		ck_assert(r == -ENOSPC || r == -EIO || !hostfault_hits(fx.fault));
		if (r == -EIO) { /* of a commit: final */
			image_abandon(img);
			hostfault_set(fx.fault, NULL);
			img = imagefix_open(&fx, false);
		}
		if (r == -EIO) {
			ck_assert(imagefix_shows(&fx, img));
			image_abandon(img);
			imagefix_free(&fx);
		} else {
			end(img);
		}
	}
}
END_TEST

SUITE_MAIN("prealloc", all_modes, no_room)
