/*
 * prealloc: every cluster of a range gets a place and reads as zero, also where
 * the file held something there; a host without room leaves a good image.
 */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "core/admin/check.h"
#include "core/admin/create.h"
#include "core/admin/prealloc.h"
#include "core/image/image.h"
#include "lib/hostfault.h"
#include "lib/hostmem.h"
#include "suite.h"

#define C 4096U
#define SIZE (128 * C)

static struct hostmem *mem;
static struct hostfault *fault;
static unsigned char want[SIZE], have[SIZE];
static struct err err;

static struct image *open_it(void)
{
	const struct image_opts opts = { .no_lock = true };
	struct hostfile *f;
	struct image *img;

	ck_assert_int_eq(hostmem_open(&f, mem, true), 0);
	ck_assert_int_eq(hostfault_wrap(fault, &f, f), 0);
	ck_assert_int_eq(image_open_file(&img, f, &opts, &err), 0);
	return img;
}

/* An image whose file has free clusters that are full of something. */
static struct image *begin(void)
{
	const struct create_opts opts = { .size = SIZE, .cluster_size = C };
	struct hostfile *f;
	struct image *img;

	mem = hostmem_new();
	fault = hostfault_new();
	ck_assert_int_eq(hostmem_open(&f, mem, true), 0);
	ck_assert_int_eq(create_image(f, &opts, &err), 0);
	hostfile_close(f);
	img = open_it();
	memset(have, 0xaa, SIZE);
	ck_assert_int_eq(image_write(img, have, 20 * C, 0), 0);
	ck_assert_int_eq(image_flush(img), 0);
	ck_assert_int_eq(image_zero(img, 10 * C, 10 * C, true), 0);
	ck_assert_int_eq(image_close(img), 0);
	img = open_it();
	ck_assert_int_eq(image_read(img, want, SIZE, 0), 0);
	return img;
}

static void end(struct image *img)
{
	const struct check_opts opts = { 0 };
	struct check_result res;
	struct hostfile *f;

	ck_assert_int_eq(image_close(img), 0);
	ck_assert_int_eq(hostmem_open(&f, mem, true), 0);
	ck_assert_int_eq(check_image(f, &opts, &res, &err), 0);
	ck_assert_uint_eq(res.corruptions + res.leaks, 0);
	hostfile_close(f);
	hostfault_set(fault, NULL);
	img = open_it();
	ck_assert_int_eq(image_read(img, have, SIZE, 0), 0);
	ck_assert(!memcmp(have, want, SIZE));
	ck_assert_int_eq(image_close(img), 0);
	hostmem_free(mem);
	hostfault_free(fault);
}

START_TEST(all_modes)
{
	for (int mode = CREATE_PREALLOC_METADATA; mode <= CREATE_PREALLOC_FULL;
	     mode++) {
		struct image *img = begin();
		struct image_extent x;

		/* the cluster that it begins in is left alone */
		ck_assert_int_eq(prealloc_range(img, 11 * C + 512, SIZE,
						(enum create_prealloc)mode,
						&err), 0);
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
		struct image *img = begin();
		int r;

		hostfault_set(fault, &rule);
		r = prealloc_range(img, 0, SIZE, CREATE_PREALLOC_FULL, &err);
		ck_assert(r == -ENOSPC || r == -EIO || !hostfault_hits(fault));
		if (r == -EIO) { /* of a commit: final */
			image_abandon(img);
			hostfault_set(fault, NULL);
			img = open_it();
		}
		if (r == -EIO) {
			ck_assert_int_eq(image_read(img, have, SIZE, 0), 0);
			ck_assert(!memcmp(have, want, SIZE));
			image_abandon(img);
			hostmem_free(mem);
			hostfault_free(fault);
		} else {
			end(img);
		}
	}
}
END_TEST

SUITE_MAIN("prealloc", all_modes, no_room)
