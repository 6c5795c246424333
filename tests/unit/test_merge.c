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

/* What the base is; with DATA both images have an external data file. */
enum kind { QCOW2, RAW, DATA, KINDS };

static char *dir, *base, *base_data, *over_data;
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

static struct hostfile *new_file(const char *path)
{
	struct hostfile *f;

	ck_assert_int_eq(hostfile_open(&f, AT_FDCWD, path,
				       HOSTFILE_RDWR | HOSTFILE_CREATE, &err), 0);
	return f;
}

/* An image in F, which stays open; its data file is at DATA unless NULL. */
static void make_image(struct hostfile *f, uint64_t size, char *data)
{
	struct create_opts opts = { .size = size, .cluster_size = C };

	if (data) {
		opts.data_file = strrchr(data, '/') + 1;
		opts.data = new_file(data);
	}
	ck_assert_msg(create_image(f, &opts, &err) == 0, "%s", err.text);
	hostfile_close(opts.data);
}

static void make_base(enum kind kind)
{
	const struct image_opts plain = { .no_lock = true };
	struct hostfile *f = new_file(base);
	struct image *img;

	if (kind == RAW) {
		memset(have, 0xbb, BASE_SIZE);
		ck_assert_int_eq(hostfile_pwrite_full(f, have, BASE_SIZE, 0), 0);
		hostfile_close(f);
		return;
	}
	make_image(f, BASE_SIZE, kind == DATA ? base_data : NULL);
	ck_assert_int_eq(image_open_file(&img, f, &plain, &err), 0);
	put(img, 0, BASE_SIZE, 0xbb);
	ck_assert_int_eq(image_close(img), 0);
}

static int wrap(void *arg, struct hostfile **file)
{
	(void)arg;
	return hostfault_wrap(fault, file, *file);
}

static struct image *open_over(enum kind kind, bool write)
{
	const struct image_opts opts = {
		.no_lock = true,
		.readonly = !write,
		.backing_file = base,
		.backing_format = kind == RAW ? "raw" : "qcow2",
		.data_file = kind == DATA ? over_data : NULL,
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

static void make_over(enum kind kind)
{
	struct hostfile *f;
	struct image *img;

	ck_assert_int_eq(hostmem_open(&f, over, true), 0);
	make_image(f, SIZE, kind == DATA ? over_data : NULL);
	hostfile_close(f);
	img = open_over(kind, true);
	put(img, 3 * C, C, 1);
	put(img, 5 * C + 512, 700, 2);
	put(img, 38 * C, 4 * C, 3); /* over the base's end */
	put(img, 60 * C, C, 4);
	ck_assert_int_eq(image_zero(img, 8 * C, 3 * C, true), 0);
	ck_assert_int_eq(image_close(img), 0);
}

static void see(enum kind kind, unsigned char *out)
{
	struct image *img = open_over(kind, false);

	ck_assert_int_eq(image_read(img, out, SIZE, 0), 0);
	ck_assert_int_eq(image_close(img), 0);
}

static void begin(enum kind kind)
{
	dir = tmpdir_make();
	base = tmpdir_path(dir, "base");
	base_data = tmpdir_path(dir, "base.data");
	over_data = tmpdir_path(dir, "over.data");
	over = hostmem_new();
	fault = hostfault_new();
	make_base(kind);
	make_over(kind);
	see(kind, want);
}

static void end(void)
{
	hostmem_free(over);
	hostfault_free(fault);
	free(base);
	free(base_data);
	free(over_data);
	tmpdir_remove(dir);
}

static int merge(enum kind kind, bool keep)
{
	const struct merge_opts opts = { .depth = 1, .keep = keep };
	struct image *img = open_over(kind, true);
	int r = merge_image(img, &opts, &err);

	/* a base that failed does not close well */
	ck_assert(image_close(img) == 0 || r < 0);
	return r;
}

static void same(enum kind kind)
{
	see(kind, have);
	ck_assert(!memcmp(have, want, SIZE));
}

/* Make call after call of the base fail, until none is left to fail. */
static void fail_each(enum kind kind, int error)
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

		begin(kind);
		before = hostmem_clone(over);
		hostfault_set(fault, &rule);
		r = merge(kind, true);
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
		same(kind);
		ck_assert_int_eq(merge(kind, false), 0);
		same(kind);
		end();
	}
}

START_TEST(base_fails)
{
	fail_each(RAW, -ENOSPC);
	fail_each(RAW, -EIO);
	fail_each(QCOW2, -ENOSPC);
	fail_each(DATA, -ENOSPC);
	fail_each(DATA, -EIO);
}
END_TEST

/* Has the overlay's data file SIZE bytes, any of them not zero? */
static bool over_data_is(uint64_t size, bool data)
{
	struct hostmem *m = hostmem_new();
	bool any = false;

	ck_assert_int_eq(hostmem_load(m, over_data), 0);
	ck_assert_uint_eq(hostmem_size(m), size);
	hostmem_read(m, have, size, 0);
	hostmem_free(m);
	for (uint64_t i = 0; i < size; i++)
		any = any || have[i];
	return any == data;
}

START_TEST(empties_and_keeps)
{
	for (enum kind kind = 0; kind < KINDS; kind++) {
		uint64_t size;

		begin(kind);
		size = hostmem_size(over);
		ck_assert(kind != DATA || over_data_is(SIZE, true));
		ck_assert_int_eq(merge(kind, true), 0);
		ck_assert_uint_eq(hostmem_size(over), size);
		same(kind);
		ck_assert_int_eq(merge(kind, false), 0);
		if (kind == DATA)
			ck_assert(over_data_is(SIZE, false));
		else
			ck_assert_uint_lt(hostmem_size(over), size / 2);
		same(kind);
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

	begin(RAW);
	img = open_over(RAW, true);
	ck_assert_int_eq(merge_image(img, &deep, &err), -EINVAL);
	ck_assert_uint_eq(merge_depth(img, 1, 1), 0);
	image_close(img);
	img = open_over(RAW, false);
	ck_assert_int_eq(merge_image(img, &opts, &err), -EROFS);
	image_close(img);
	ck_assert_int_eq(hostmem_open(&f, over, true), 0);
	ck_assert_int_eq(image_open_file(&img, f, &alone, &err), 0);
	ck_assert_int_eq(merge_image(img, &opts, &err), -EINVAL);
	ck_assert_int_eq(snapshot_create(img, "s", &err), 0);
	image_close(img);
	img = open_over(RAW, true);
	ck_assert_int_eq(merge_image(img, &opts, &err), -ENOTSUP);
	image_close(img);
	same(RAW);
	end();
}
END_TEST

SUITE_MAIN("merge", base_fails, empties_and_keeps, refused)
