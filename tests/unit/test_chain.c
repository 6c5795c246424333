/*
 * test_chain: which backing files are opened, from where, in which format, and
 * what is refused.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/image/image.h"
#include "lib/imgbuild.h"
#include "lib/tmpdir.h"
#include "suite.h"

static char *dir;

static void begin(void)
{
	dir = tmpdir_make();
	ck_assert_int_eq(chdir(dir), 0);
	ck_assert_int_eq(mkdir("in", 0700), 0);
	ck_assert_int_eq(mkdir("in/below", 0700), 0);
}

static void end(void)
{
	ck_assert_int_eq(chdir("/"), 0);
	tmpdir_remove(dir);
}

/* 64 KiB of guest disk; cluster 0 is FILL unless that is 0. */
static void make(const char *path, const char *backing, const char *format,
		 int fill)
{
	struct imgbuild_params p = { .cluster_bits = 12, .refcount_order = 4,
				     .size = 65536 };
	struct hostfile *f;
	struct imgbuild b;
	char buf[4096];

	ck_assert_int_eq(hostfile_open(&f, AT_FDCWD, path,
				       HOSTFILE_RDWR | HOSTFILE_CREATE, NULL),
			 0);
	imgbuild_init(&b, f, &p);
	if (backing)
		imgbuild_backing(&b, backing, format);
	memset(buf, fill, sizeof(buf));
	if (fill)
		imgbuild_data(&b, 0, buf, sizeof(buf));
	imgbuild_finish(&b);
	imgbuild_fini(&b);
	hostfile_close(f);
}

static void make_raw(const char *path, int fill, int len)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	while (len--)
		fputc(fill, f);
	fclose(f);
}

static int try(const char *path, struct image_opts *opts, int *first)
{
	struct err err = { "" };
	struct image *img;
	char buf[512];
	int r = image_open(&img, path, opts, &err);

	if (r < 0) {
		ck_assert_str_ne(err.text, "");
		ck_assert_ptr_null(strchr(err.text, '\n'));
		return r;
	}
	ck_assert_str_eq(err.text, "");
	ck_assert_int_eq(image_read(img, buf, sizeof(buf), 0), 0);
	*first = buf[0];
	ck_assert_int_eq(image_close(img), 0);
	return 0;
}

START_TEST(policy)
{
	const struct {
		const char *name, *format;
		enum image_backing policy;
		int want, first;
	} rows[] = {
		{ "raw", "raw", IMAGE_BACKING_DIR, 0, 'r' },
		{ "below/raw", "raw", IMAGE_BACKING_DIR, 0, 'b' },
		{ "./below/../raw", "raw", IMAGE_BACKING_DIR, 0, 'r' },
		{ "q", "qcow2", IMAGE_BACKING_DIR, 0, 'q' },
		{ "q", "qcow2", IMAGE_BACKING_NONE, -EPERM, 0 },
		{ "../out", "raw", IMAGE_BACKING_DIR, -EPERM, 0 },
		{ "../out", "raw", IMAGE_BACKING_ANY, 0, 'o' },
		{ "link", "raw", IMAGE_BACKING_DIR, -EPERM, 0 },
		{ "link", "raw", IMAGE_BACKING_ANY, 0, 'o' },
		{ "link-below", "raw", IMAGE_BACKING_DIR, 0, 'b' },
		{ "link-out", "raw", IMAGE_BACKING_DIR, -EPERM, 0 },
		{ "/DIR/in/below/raw", "raw", IMAGE_BACKING_DIR, 0, 'b' },
		{ "/DIR/out", "raw", IMAGE_BACKING_DIR, -EPERM, 0 },
		{ "/DIR/out", "raw", IMAGE_BACKING_ANY, 0, 'o' },
		{ "/DIR/none", "raw", IMAGE_BACKING_DIR, -ENOENT, 0 },
		{ "/DIR/inside", "raw", IMAGE_BACKING_DIR, -EPERM, 0 },
		{ "none", "raw", IMAGE_BACKING_DIR, -ENOENT, 0 },
		{ "none", "raw", IMAGE_BACKING_ANY, -ENOENT, 0 },
		{ "raw", NULL, IMAGE_BACKING_ANY, -EINVAL, 0 },
		{ "raw", "vmdk", IMAGE_BACKING_ANY, -ENOTSUP, 0 },
		{ "raw", "qcow2", IMAGE_BACKING_DIR, -EMEDIUMTYPE, 0 },
		{ "json:{\"file\":\"raw\"}", "raw", IMAGE_BACKING_ANY, -EPERM, 0 },
		{ "nbd://host/x", "raw", IMAGE_BACKING_ANY, -EPERM, 0 },
		{ "below", "raw", IMAGE_BACKING_DIR, -EMEDIUMTYPE, 0 },
	};
	char to[300];

	begin();
	make_raw("in/raw", 'r', 65536);
	make_raw("in/below/raw", 'b', 100);
	make_raw("out", 'o', 65536);
	make_raw("inside", 'o', 512);
	make("in/q", NULL, NULL, 'q');
	ck_assert_int_eq(symlink("../out", "in/link"), 0);
	snprintf(to, sizeof(to), "%s/in/below/raw", dir);
	ck_assert_int_eq(symlink(to, "in/link-below"), 0);
	snprintf(to, sizeof(to), "%s/out", dir);
	ck_assert_int_eq(symlink(to, "in/link-out"), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct image_opts opts = { .backing = rows[i].policy,
					   .readonly = i % 2 };
		char name[300];
		int first = 0, r;

		if (!strncmp(rows[i].name, "/DIR/", 5))
			snprintf(name, sizeof(name), "%s/%s", dir,
				 rows[i].name + 5);
		else
			snprintf(name, sizeof(name), "%s", rows[i].name);
		make("in/img", name, rows[i].format, 0);
		r = try("in/img", &opts, &first);
		ck_assert_msg(r == rows[i].want, "row %zu: %d", i, r);
		ck_assert_msg(first == rows[i].first, "row %zu: %d", i, first);
	}
	end();
}
END_TEST

/* An option names the file: then no policy applies, and its format wins. */
START_TEST(override)
{
	struct image_opts opts = { .backing_file = "out",
				   .backing_format = "raw" };
	int first = 0;

	begin();
	make_raw("out", 'o', 65536);
	make("in/q", NULL, NULL, 'q');
	make("in/img", "json:{}", NULL, 0);
	ck_assert_int_eq(try("in/img", &opts, &first), 0);
	ck_assert_int_eq(first, 'o');
	opts.backing = IMAGE_BACKING_NONE;
	ck_assert_int_eq(try("in/img", &opts, &first), 0);
	opts = (struct image_opts){ .backing_file = "in/q" };
	ck_assert_int_eq(try("in/img", &opts, &first), -EINVAL);
	make("in/img", "gone", "qcow2", 0);
	ck_assert_int_eq(try("in/img", &opts, &first), 0);
	ck_assert_int_eq(first, 'q');
	opts.backing_file = "gone";
	ck_assert_int_eq(try("in/img", &opts, &first), -ENOENT);
	end();
}
END_TEST

START_TEST(loops)
{
	struct image_opts opts = { 0 };
	int first;

	begin();
	make("in/a", "a", "qcow2", 0);
	ck_assert_int_eq(try("in/a", &opts, &first), -ELOOP);
	make("in/b", "c", "qcow2", 0);
	make("in/c", "b", "qcow2", 0);
	ck_assert_int_eq(try("in/b", &opts, &first), -ELOOP);
	ck_assert_int_eq(link("in/b", "in/d"), 0);
	ck_assert_int_eq(try("in/d", &opts, &first), -ELOOP);
	end();
}
END_TEST

START_TEST(depth)
{
	struct image_opts opts = { .no_lock = true };
	char name[32], below[32];
	int first = 0;

	begin();
	make("in/1", NULL, NULL, 'z');
	for (int i = 2; i <= 65; i++) {
		snprintf(name, sizeof(name), "in/%d", i);
		snprintf(below, sizeof(below), "%d", i - 1);
		make(name, below, "qcow2", 0);
	}
	ck_assert_int_eq(try("in/64", &opts, &first), 0);
	ck_assert_int_eq(first, 'z');
	ck_assert_int_eq(try("in/65", &opts, &first), -EMLINK);
	end();
}
END_TEST

/* A writer of the backing file and readers of it keep each other out; readers
 * share. */
START_TEST(locks)
{
	struct image_opts opts = { 0 }, ro = { .readonly = true },
			  shared = { .readonly = true, .force_share = true };
	struct err err = { "" };
	struct image *a, *b;
	int first;

	begin();
	make("in/q", NULL, NULL, 'q');
	make("in/img", "q", "qcow2", 0);
	make("in/other", "q", "qcow2", 0);
	ck_assert_int_eq(image_open(&a, "in/img", &opts, &err), 0);
	ck_assert_int_eq(try("in/q", &opts, &first), -EAGAIN);
	ck_assert_int_eq(try("in/q", &ro, &first), 0);
	ck_assert_int_eq(try("in/img", &ro, &first), -EAGAIN);
	ck_assert_int_eq(try("in/img", &shared, &first), 0);
	ck_assert_int_eq(image_open(&b, "in/other", &opts, &err), 0);
	ck_assert_uint_gt(image_blocks(b), 0);
	image_abandon(b);
	ck_assert_int_eq(image_close(a), 0);
	ck_assert_int_eq(try("in/q", &opts, &first), 0);
	shared.readonly = false;
	ck_assert_int_eq(try("in/q", &shared, &first), -EINVAL);
	end();
}
END_TEST

/* A backing file that contradicts itself is no fault of the image in front of
 * it: that is not marked as corrupt, and goes on. */
START_TEST(broken_behind)
{
	struct image_opts opts = { 0 };
	struct imgbuild_params p = { .cluster_bits = 12, .refcount_order = 4,
				     .size = 65536 };
	struct err err = { "" };
	struct image_extent e;
	struct hostfile *f;
	struct image *img;
	struct imgbuild b;
	char buf[512];

	begin();
	ck_assert_int_eq(hostfile_open(&f, AT_FDCWD, "in/q",
				       HOSTFILE_RDWR | HOSTFILE_CREATE, NULL),
			 0);
	imgbuild_init(&b, f, &p);
	imgbuild_l2_set(&b, 0, IMGBUILD_COPIED | 1ULL << 56 | 4096);
	imgbuild_finish(&b);
	imgbuild_fini(&b);
	hostfile_close(f);
	make("in/img", "q", "qcow2", 0);
	ck_assert_int_eq(image_open(&img, "in/img", &opts, &err), 0);
	ck_assert_int_eq(image_read(img, buf, sizeof(buf), 0), -EIO);
	ck_assert_int_eq(image_write(img, "x", 1, 0), -EIO);
	ck_assert_int_eq(image_map(img, 0, 512, &e), -EIO);
	ck_assert_int_eq(image_write(img, "x", 1, 8192), 0);
	ck_assert_int_eq(image_close(img), 0);
	ck_assert_int_eq(image_open(&img, "in/img", &opts, &err), 0);
	ck_assert(!image_readonly(img));
	ck_assert_int_eq(image_close(img), 0);
	end();
}
END_TEST

SUITE_MAIN("chain", policy, override, loops, depth, locks, broken_behind)
