/*
 * merge: an overlay's data goes to its backing file; a base that fails at any
 * call leaves the overlay byte for byte as it was.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "core/admin/create.h"
#include "core/admin/merge.h"
#include "core/admin/snapshot.h"
#include "core/image/image.h"
#include "lib/hostfault.h"
#include "lib/hostmem.h"
#include "lib/tmpdir.h"
#include "suite.h"

#define C 4096U
#define SIZE (64 * C)
#define BASE_SIZE (40 * C)

static char *dir, *base;
static struct hostmem *over;
static struct hostfault *fault;
static unsigned char want[SIZE], have[SIZE];
static struct err err;

static void put(struct image *img, uint64_t off, size_t len, int byte)
{
	unsigned char *buf = malloc(len);

	ck_assert_ptr_nonnull(buf);
	memset(buf, byte, len);
	ck_assert_int_eq(image_write(img, buf, len, off), 0);
	free(buf);
}

static void make_base(bool raw)
{
	const struct create_opts opts = { .size = BASE_SIZE,
					  .cluster_size = C };
	const struct image_opts plain = { .no_lock = true };
	struct hostfile *f;
	struct image *img;

	ck_assert_int_eq(hostfile_open(&f, AT_FDCWD, base,
				       HOSTFILE_RDWR | HOSTFILE_CREATE, &err), 0);
	if (raw) {
		memset(have, 0xbb, BASE_SIZE);
		ck_assert_int_eq(hostfile_pwrite_full(f, have, BASE_SIZE, 0), 0);
		hostfile_close(f);
		return;
	}
	ck_assert_int_eq(create_image(f, &opts, &err), 0);
	ck_assert_int_eq(image_open_file(&img, f, &plain, &err), 0);
	put(img, 0, BASE_SIZE, 0xbb);
	ck_assert_int_eq(image_close(img), 0);
}

static int wrap(void *arg, struct hostfile **file)
{
	(void)arg;
	return hostfault_wrap(fault, file, *file);
}

static struct image *open_over(bool raw, bool write)
{
	const struct image_opts opts = {
		.no_lock = true,
		.readonly = !write,
		.backing_file = base,
		.backing_format = raw ? "raw" : "qcow2",
		.write_depth = write,
		.wrap = wrap,
	};
	struct hostfile *f;
	struct image *img;

	ck_assert_int_eq(hostmem_open(&f, over, write), 0);
	ck_assert_msg(image_open_file(&img, f, &opts, &err) == 0, "%s",
		      err.text);
	return img;
}

static void make_over(bool raw)
{
	const struct create_opts opts = { .size = SIZE, .cluster_size = C };
	struct hostfile *f;
	struct image *img;

	ck_assert_int_eq(hostmem_open(&f, over, true), 0);
	ck_assert_int_eq(create_image(f, &opts, &err), 0);
	hostfile_close(f);
	img = open_over(raw, true);
	put(img, 3 * C, C, 1);
	put(img, 5 * C + 512, 700, 2);
	put(img, 38 * C, 4 * C, 3); /* over the base's end */
	put(img, 60 * C, C, 4);
	ck_assert_int_eq(image_zero(img, 8 * C, 3 * C, true), 0);
	ck_assert_int_eq(image_close(img), 0);
}

static void see(bool raw, unsigned char *out)
{
	struct image *img = open_over(raw, false);

	ck_assert_int_eq(image_read(img, out, SIZE, 0), 0);
	ck_assert_int_eq(image_close(img), 0);
}

static void begin(bool raw)
{
	dir = tmpdir_make();
	base = tmpdir_path(dir, "base");
	over = hostmem_new();
	fault = hostfault_new();
	make_base(raw);
	make_over(raw);
	see(raw, want);
}

static void end(void)
{
	hostmem_free(over);
	hostfault_free(fault);
	free(base);
	tmpdir_remove(dir);
}

static int merge(bool raw, bool keep)
{
	const struct merge_opts opts = { .depth = 1, .keep = keep };
	struct image *img = open_over(raw, true);
	int r = merge_image(img, &opts, &err);

	ck_assert_int_eq(image_close(img), 0);
	return r;
}

static void same(bool raw)
{
	see(raw, have);
	ck_assert(!memcmp(have, want, SIZE));
}

/* Make call after call of the base fail, until none is left to fail. */
static void fail_each(bool raw, int error)
{
	for (uint64_t n = 0;; n++) {
		const struct hostfault_rule rule = {
			.ops = HOSTFAULT_CHANGES | HOSTFAULT_SYNC,
			.kind = HOSTFAULT_ERROR,
			.error = error,
			.skip = n,
			.repeat = HOSTFAULT_FOREVER,
		};
		struct hostmem *before;
		int r;

		begin(raw);
		before = hostmem_clone(over);
		hostfault_set(fault, &rule);
		r = merge(raw, true);
		ck_assert_msg(hostmem_equal(before, over),
			      "call %d changed the overlay", (int)n);
		hostmem_free(before);
		if (r == 0) {
			ck_assert_int_eq((int)hostfault_hits(fault), 0);
			end();
			break;
		}
		ck_assert_int_lt(r, 0);
		ck_assert(strstr(err.text, "backing file"));
		hostfault_set(fault, NULL);
		same(raw);
		ck_assert_int_eq(merge(raw, false), 0);
		same(raw);
		end();
	}
}

START_TEST(base_fails)
{
	fail_each(true, -ENOSPC);
	fail_each(true, -EIO);
	fail_each(false, -ENOSPC);
}
END_TEST

START_TEST(empties_and_keeps)
{
	for (int raw = 0; raw < 2; raw++) {
		uint64_t size;

		begin(raw);
		size = hostmem_size(over);
		ck_assert_int_eq(merge(raw, true), 0);
		ck_assert_uint_eq(hostmem_size(over), size);
		same(raw);
		ck_assert_int_eq(merge(raw, false), 0);
		ck_assert_uint_lt(hostmem_size(over), size / 2);
		same(raw);
		end();
	}
}
END_TEST

START_TEST(refused)
{
	const struct merge_opts opts = { .depth = 1 }, deep = { .depth = 2 };
	const struct image_opts alone = { .no_lock = true, .no_backing = true };
	struct hostfile *f;
	struct image *img;

	begin(true);
	img = open_over(true, true);
	ck_assert_int_eq(merge_image(img, &deep, &err), -EINVAL);
	ck_assert_uint_eq(merge_depth(img, 1, 1), 0);
	image_close(img);
	img = open_over(true, false);
	ck_assert_int_eq(merge_image(img, &opts, &err), -EROFS);
	image_close(img);
	ck_assert_int_eq(hostmem_open(&f, over, true), 0);
	ck_assert_int_eq(image_open_file(&img, f, &alone, &err), 0);
	ck_assert_int_eq(merge_image(img, &opts, &err), -EINVAL);
	ck_assert_int_eq(snapshot_create(img, "s", &err), 0);
	image_close(img);
	img = open_over(true, true);
	ck_assert_int_eq(merge_image(img, &opts, &err), -ENOTSUP);
	image_close(img);
	same(true);
	end();
}
END_TEST

SUITE_MAIN("merge", base_fails, empties_and_keeps, refused)
