/*
 * test_image: the facade: opening and refusing, marks in the header, the map,
 * facts, the committer, a full host.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/admin/check.h"
#include "core/admin/rewidth.h"
#include "core/admin/snapshot.h"
#include "core/image/image.h"
#include "core/image/info.h"
#include "core/image/open.h"
#include "lib/hostfault.h"
#include "lib/hostmem.h"
#include "lib/hostrecord.h"
#include "lib/imgbuild.h"
#include "lib/tmpdir.h"
#include "suite.h"

#define C 4096ULL

static struct hostmem *mem;
static struct hostfile *plain;
static struct hostfault *fault;
static struct hostrecord *rec;
static struct imgbuild b;
static struct image *img;
static unsigned char buf[1 << 20], want[1 << 20];

static void build_as(const struct imgbuild_params *p)
{
	mem = hostmem_new();
	fault = hostfault_new();
	rec = hostrecord_new();
	ck_assert_int_eq(hostmem_open(&plain, mem, true), 0);
	imgbuild_init(&b, plain, p);
}

static void build(unsigned version, uint64_t size)
{
	const struct imgbuild_params p = { .version = version,
					   .cluster_bits = 12,
					   .refcount_order = 4, .size = size };

	build_as(&p);
}

static int open_with(struct image_opts opts, struct err *err)
{
	struct hostfile *f, *inner;
	int r;

	opts.no_lock = true;
	err->text[0] = '\0';
	ck_assert_int_eq(hostmem_open(&inner, mem, !opts.readonly), 0);
	ck_assert_int_eq(hostfault_wrap(fault, &f, inner), 0);
	ck_assert_int_eq(hostrecord_wrap(rec, &f, f), 0);
	r = image_open_file(&img, f, &opts, err);
	if (r < 0)
		hostfile_close(f);
	return r;
}

static void open_rw(void)
{
	struct err err;

	ck_assert_msg(open_with((struct image_opts){ 0 }, &err) == 0, "%s",
		      err.text);
	hostrecord_clear(rec);
}

static void fini(void)
{
	imgbuild_fini(&b);
	hostfile_close(plain);
	hostrecord_free(rec);
	hostfault_free(fault);
	hostmem_free(mem);
}

static unsigned count(enum hostrecord_op op)
{
	struct hostrecord_entry e;
	unsigned n = 0;

	for (uint64_t i = 0; i < hostrecord_len(rec); i++) {
		hostrecord_get(rec, i, &e);
		n += e.op == op;
	}
	return n;
}

static void expect_clean(void)
{
	struct check_opts opts = { 0 };
	struct check_result res = { 0 };

	ck_assert_int_eq(check_image(plain, &opts, &res, NULL), 0);
	ck_assert_uint_eq(res.corruptions, 0);
	ck_assert_uint_eq(res.check_errors, 0);
	ck_assert_uint_eq(res.leaks, 0);
}

START_TEST(refused)
{
	static const struct {
		enum imgbuild_field field;
		uint64_t value;
		int want;
	} rows[] = {
		{ IMGBUILD_MAGIC, 0, -EMEDIUMTYPE },
		{ IMGBUILD_VERSION, 4, -ENOTSUP },
		{ IMGBUILD_CLUSTER_BITS, 8, -EUCLEAN },
		{ IMGBUILD_CRYPT, 1, -ENOKEY },
		{ IMGBUILD_INCOMPAT, 4, -EINVAL }, /* no data file named */
		{ IMGBUILD_INCOMPAT, 1ULL << 40, -ENOTSUP },
		{ IMGBUILD_L1_OFFSET, 1ULL << 40, -EUCLEAN },
		{ IMGBUILD_SNAPSHOTS, 1, -EUCLEAN },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct err err;
		int r;

		build(3, 1 << 20);
		imgbuild_finish(&b);
		imgbuild_header_set(&b, rows[i].field, rows[i].value);
		if (rows[i].field == IMGBUILD_SNAPSHOTS)
			imgbuild_header_set(&b, IMGBUILD_SNAPSHOT_OFFSET,
					    1 << 30);
		r = open_with((struct image_opts){ 0 }, &err);
		ck_assert_msg(r == rows[i].want, "row %zu: %d %s", i, r,
			      err.text);
		ck_assert_msg(!strncmp(err.text, "mem: ", 5), "%s", err.text);
		ck_assert_uint_eq(hostrecord_len(rec), 0);
		fini();
	}
}
END_TEST

/* Tables whose own clusters count as free would be given away. */
START_TEST(roots_without_counts)
{
	struct err err;

	for (int i = 0; i < 3; i++) {
		build(3, 1 << 20);
		imgbuild_finish(&b);
		imgbuild_refcount_set(&b,
				      i == 0   ? 0
				      : i == 1 ? b.l1_off
					       : b.reftable_off,
				      0);
		ck_assert_int_eq(open_with((struct image_opts){ 0 }, &err),
				 -EUCLEAN);
		ck_assert_int_eq(open_with((struct image_opts){ .readonly =
								       true },
					   &err),
				 0);
		ck_assert_int_eq(image_close(img), 0);
		fini();
	}
}
END_TEST

/* Any call of open fails: an error with a text, nothing left, nothing
 * written. */
START_TEST(open_faults)
{
	struct hostfault_rule rule = { HOSTFAULT_ALL, HOSTFAULT_ERROR, -EIO, 0,
				       1 };
	struct err err;
	int r = -1;

	build(3, 1 << 20);
	imgbuild_data(&b, 0, "x", 1);
	imgbuild_finish(&b);
	for (rule.skip = 0; r; rule.skip++) {
		hostfault_set(fault, &rule);
		r = open_with((struct image_opts){ 0 }, &err);
		ck_assert(r == 0 || r == -EIO);
		ck_assert_int_eq(!r, !err.text[0]);
	}
	ck_assert_uint_gt(rule.skip, 3);
	ck_assert_int_eq(image_close(img), 0);
	ck_assert_uint_eq(hostrecord_len(rec), 0);
	fini();
}
END_TEST

START_TEST(readonly)
{
	static const uint64_t marks[] = { 0, 1, 2 };
	struct err err;

	for (int i = 0; i < 3; i++) {
		build(3, 1 << 20);
		imgbuild_finish(&b);
		imgbuild_header_set(&b, IMGBUILD_INCOMPAT, marks[i]);
		ck_assert_int_eq(open_with((struct image_opts){ .readonly = !i },
					   &err),
				 0);
		ck_assert(image_readonly(img));
		ck_assert_int_eq(!image_readonly_reason(img), !i);
		ck_assert_int_eq(image_write(img, "x", 1, 0), -EROFS);
		ck_assert_int_eq(image_zero(img, 0, 1, true), -EROFS);
		ck_assert_int_eq(image_flush(img), 0);
		ck_assert_int_eq(image_commit_all(img), 0);
		ck_assert_int_eq(image_start_committer(img, 1), 0);
		ck_assert_int_eq(image_close(img), 0);
		ck_assert_uint_eq(hostrecord_len(rec), 0);
		fini();
	}
}
END_TEST

/* Bits that say "bitmaps are right" go, durably, before the first change and
 * not before. */
START_TEST(autoclear)
{
	struct hostrecord_entry e;
	unsigned char bits;

	build(3, 1 << 20);
	imgbuild_finish(&b);
	imgbuild_header_set(&b, IMGBUILD_AUTOCLEAR, 1);
	open_rw();
	ck_assert_int_eq(image_read(img, buf, 100, 0), 0);
	ck_assert_int_eq(image_write(img, buf, 0, 0), 0);
	ck_assert_int_eq(image_flush(img), 0);
	ck_assert_uint_eq(hostrecord_len(rec), 0);
	ck_assert_int_eq(image_write(img, "x", 1, 0), 0);
	hostrecord_get(rec, 0, &e);
	ck_assert_int_eq(e.op, HOSTRECORD_WRITE);
	ck_assert_uint_eq(e.off, 0);
	bits = e.data[95];
	ck_assert_uint_eq(bits, 0);
	hostrecord_get(rec, 1, &e);
	ck_assert_int_eq(e.op, HOSTRECORD_SYNC_BEGIN);
	hostrecord_clear(rec);
	ck_assert_int_eq(image_write(img, "y", 1, 100), 0);
	ck_assert_uint_eq(count(HOSTRECORD_SYNC_BEGIN), 0);
	ck_assert_int_eq(image_close(img), 0);
	expect_clean();
	fini();
}
END_TEST

/* A contradiction marks the image, once; writes stop. */
START_TEST(contradiction)
{
	struct image_extent e;

	for (unsigned version = 2; version <= 3; version++) {
		build(version, 1 << 20);
		imgbuild_data(&b, 0, "x", 1);
		imgbuild_data(&b, C, "x", 1);
		imgbuild_l2_set(&b, C, IMGBUILD_COPIED | 1ULL << 56 | 8 * C);
		imgbuild_finish(&b);
		open_rw();
		ck_assert_int_eq(image_write(img, "y", 1, 0), 0);
		ck_assert_int_eq(image_read(img, buf, 10, C), -EUCLEAN);
		ck_assert_int_eq(image_read(img, buf, 10, C), -EUCLEAN);
		ck_assert_int_eq(image_write(img, "z", 1, 0), -EIO);
		ck_assert_int_eq(image_read(img, buf, 1, 0), 0);
		ck_assert_int_eq(buf[0], 'y');
		ck_assert_int_eq(image_close(img), 0);
		if (version == 3)
			ck_assert_uint_eq(imgbuild_header_get(
						  &b, IMGBUILD_INCOMPAT),
					  2);
		fini();
	}
	/* seen by a read of what is in front of it */
	build(3, 1 << 20);
	imgbuild_data(&b, 0, "x", 1);
	imgbuild_l2_set(&b, C, IMGBUILD_COPIED | 1ULL << 56 | 8 * C);
	imgbuild_finish(&b);
	open_rw();
	ck_assert_int_eq(image_map(img, 0, 2 * C, &e), 0);
	ck_assert_int_eq(image_write(img, "z", 1, 0), -EIO);
	ck_assert_int_eq(image_close(img), 0);
	ck_assert_uint_eq(imgbuild_header_get(&b, IMGBUILD_INCOMPAT), 2);
	fini();
	/* found by a write */
	build(3, 1 << 20);
	imgbuild_data(&b, 0, "x", 1);
	imgbuild_l2_set(&b, 0, IMGBUILD_COPIED | 1ULL << 56 | 8 * C);
	imgbuild_finish(&b);
	open_rw();
	ck_assert_int_eq(image_write(img, "z", 1, 0), -EUCLEAN);
	ck_assert_uint_eq(imgbuild_header_get(&b, IMGBUILD_INCOMPAT), 2);
	ck_assert_int_eq(image_close(img), 0);
	fini();
}
END_TEST

/* A request for what the disk does not have any more is refused, and says
 * nothing about the image. */
START_TEST(outside)
{
	static const uint64_t at[] = { 1 << 20, 2 << 20, 1ULL << 40, 1ULL << 63 };
	struct image_extent e;

	build(3, 1 << 20);
	imgbuild_finish(&b);
	open_rw();
	for (size_t i = 0; i < sizeof(at) / sizeof(*at); i++) {
		ck_assert_int_eq(image_read(img, buf, 1, at[i]), -ERANGE);
		ck_assert_int_eq(image_write(img, buf, 1, at[i]), -ERANGE);
		ck_assert_int_eq(image_zero(img, at[i], 1, true), -ERANGE);
		ck_assert_int_eq(image_map(img, at[i], 1, &e), -ERANGE);
		ck_assert_int_eq(image_write(img, buf, 2, at[i] - 1), -ERANGE);
	}
	ck_assert_int_eq(image_map(img, 0, UINT64_MAX, &e), 0);
	ck_assert_uint_eq(e.len, 1 << 20);
	ck_assert(!image_corrupt(img));
	ck_assert_int_eq(image_write(img, "z", 1, (1 << 20) - 1), 0);
	ck_assert_int_eq(image_close(img), 0);
	expect_clean();
	fini();
}
END_TEST

START_TEST(map)
{
	uint64_t at, pos = 0;
	struct {
		enum image_extent_kind kind;
		uint64_t len;
	} rows[] = {
		{ IMAGE_EXTENT_DATA, 2 * C }, { IMAGE_EXTENT_HOLE, C },
		{ IMAGE_EXTENT_ZERO, 2 * C }, { IMAGE_EXTENT_ZERO, C },
		{ IMAGE_EXTENT_COMPRESSED, 2 * C },
		{ IMAGE_EXTENT_HOLE, (8 << 20) - 8 * C },
	};

	build(3, 8 << 20);
	memset(buf, 'm', C);
	at = imgbuild_data(&b, 0, buf, C);
	ck_assert_uint_eq(imgbuild_data(&b, C, buf, C), at + 2 * C - C);
	imgbuild_zero_plain(&b, 3 * C);
	imgbuild_zero_plain(&b, 4 * C);
	imgbuild_zero_alloc(&b, 5 * C);
	imgbuild_compressed(&b, 6 * C, buf);
	imgbuild_compressed(&b, 7 * C, buf);
	imgbuild_finish(&b);
	open_rw();
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct image_extent e;

		ck_assert_int_eq(image_map(img, pos, (8 << 20) - pos, &e), 0);
		ck_assert_msg(e.kind == rows[i].kind, "row %zu", i);
		ck_assert_uint_eq(e.len, rows[i].len);
		ck_assert_uint_eq(e.depth, 0);
		ck_assert_int_eq(e.has_hoff, i == 0 || i == 3);
		if (i == 0)
			ck_assert_uint_eq(e.hoff, at);
		pos += e.len;
	}
	ck_assert_uint_eq(pos, image_size(img));
	ck_assert_int_eq(image_close(img), 0);
	fini();
}
END_TEST

/* DATA from guest cluster 1 on: what image_map_host() makes of N pieces. */
static void expect_pieces(const struct image_extent *want_x, unsigned n)
{
	struct image_extent e;

	ck_assert_int_eq(image_map(img, C, (1 << 20) - C, &e), 0);
	ck_assert_int_eq(e.kind, IMAGE_EXTENT_DATA);
	for (unsigned i = 0; i < n; i++) {
		struct image_extent piece = e;

		ck_assert_int_eq(image_map_host(img, &piece), 0);
		ck_assert_uint_eq(piece.len, want_x[i].len);
		ck_assert_int_eq(piece.host_hole, want_x[i].host_hole);
		ck_assert_int_eq(piece.has_hoff, 1);
		ck_assert_uint_eq(piece.hoff, e.hoff);
		e.hoff += piece.len;
		e.len -= piece.len;
	}
	ck_assert_uint_eq(e.len, 0);
}

/* Holes of the host file are seen where the image looks preallocated, and
 * looked for nowhere else. */
START_TEST(map_host)
{
	static const struct image_extent sparse[] = {
		{ .len = 9 * C, .host_hole = true },
		{ .len = C },
		{ .len = 30 * C, .host_hole = true },
	};
	static const struct image_extent solid[] = { { .len = 40 * C } };
	struct image_extent e;

	memset(buf, 'h', C);
	for (int full = 0; full < 2; full++) {
		build(3, 1 << 20);
		imgbuild_data(&b, 0, buf, C);
		for (unsigned i = 1; i <= 40; i++)
			imgbuild_data(&b, i * C, buf,
				      i == 10 || (full && i != 20) ? C : 0);
		imgbuild_zero_alloc(&b, 41 * C);
		imgbuild_finish(&b);
		open_rw();
		expect_pieces(full ? solid : sparse, full ? 1 : 3);
		ck_assert_int_eq(image_map(img, 41 * C, 2 * C, &e), 0);
		ck_assert_int_eq(image_map_host(img, &e), 0);
		ck_assert_int_eq(e.kind, IMAGE_EXTENT_ZERO);
		ck_assert_int_eq(e.host_hole, 0);
		ck_assert_int_eq(image_close(img), 0);
		fini();
	}
}
END_TEST

/* Refcounts that cannot be read, or lie: no guess, no error. */
START_TEST(map_host_broken)
{
	static const struct hostfault_rule rule = {
		.ops = HOSTFAULT_PREAD,
		.error = -EIO,
		.repeat = HOSTFAULT_FOREVER,
	};
	static const uint64_t bad[] = { 0, 0x7fff000, 0xfffffffffffffe00 };

	memset(buf, 'h', C);
	for (unsigned n = 0; n < 4; n++) {
		static const struct image_extent one[] = { { .len = 20 * C } };
		struct image_opts opts = { .readonly = true };
		struct image_extent e;
		struct err err;

		build(3, 1 << 20);
		imgbuild_data(&b, 0, buf, C);
		for (unsigned i = 1; i <= 20; i++)
			imgbuild_data(&b, i * C, NULL, 0);
		imgbuild_finish(&b);
		if (n < 3)
			imgbuild_poke(&b, imgbuild_header_get(
						  &b, IMGBUILD_REFTABLE_OFFSET),
				      8, bad[n]);
		ck_assert_msg(open_with(opts, &err) == 0, "%s", err.text);
		/* brings the L2 table into memory */
		ck_assert_int_eq(image_map(img, 0, C, &e), 0);
		if (n == 3)
			hostfault_set(fault, &rule);
		expect_pieces(one, 1);
		ck_assert_int_eq(hostfault_hits(fault) != 0, n == 3);
		ck_assert_int_eq(image_close(img), 0);
		fini();
	}
}
END_TEST

/* Two files: overlay over qcow2 over raw, through real files. */
START_TEST(map_chain)
{
	char *dir = tmpdir_make();
	static const struct {
		uint64_t off, len;
		unsigned depth;
		enum image_extent_kind kind;
	} rows[] = {
		{ 0, C, 0, IMAGE_EXTENT_DATA },
		{ C, C, 1, IMAGE_EXTENT_DATA },
		{ 2 * C, 2 * C, 2, IMAGE_EXTENT_DATA },
		{ 4 * C, 2 * C, 2, IMAGE_EXTENT_ZERO },
	};
	static const char *const names[] = { "top", "mid", "raw" };
	struct image_opts opts = { 0 };
	struct image_extent e;
	struct hostfile *f;
	struct err err;

	ck_assert_int_eq(chdir(dir), 0);
	ck_assert_int_eq(hostfile_open(&f, AT_FDCWD, "raw",
				       HOSTFILE_RDWR | HOSTFILE_CREATE, &err),
			 0);
	memset(buf, 'r', sizeof(buf));
	ck_assert_int_eq(hostfile_pwrite_full(f, buf, 4 * C, 0), 0);
	ck_assert_int_eq(hostfile_truncate(f, 6 * C), 0);
	hostfile_close(f);
	for (int i = 0; i < 2; i++) {
		struct imgbuild_params p = { .cluster_bits = 12,
					     .refcount_order = 4,
					     .size = 8 * C };

		ck_assert_int_eq(hostfile_open(&f, AT_FDCWD, i ? "top" : "mid",
					       HOSTFILE_RDWR | HOSTFILE_CREATE,
					       &err),
				 0);
		imgbuild_init(&b, f, &p);
		imgbuild_backing(&b, i ? "mid" : "raw", i ? "qcow2" : "raw");
		imgbuild_data(&b, i ? 0 : C, "x", 1);
		imgbuild_finish(&b);
		imgbuild_fini(&b);
		hostfile_close(f);
	}
	ck_assert_msg(image_open(&img, "top", &opts, &err) == 0, "%s", err.text);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		ck_assert_int_eq(image_map(img, rows[i].off,
					   8 * C - rows[i].off, &e),
				 0);
		ck_assert_uint_eq(e.len, rows[i].len);
		ck_assert_uint_eq(e.depth, rows[i].depth);
		ck_assert_int_eq(e.kind, rows[i].kind);
		ck_assert_int_eq(e.has_hoff, 1);
		ck_assert_int_eq(image_map_host(img, &e), 0);
		ck_assert_uint_eq(e.len, rows[i].len);
		ck_assert_str_eq(image_name_at(img, e.depth),
				 names[rows[i].depth]);
	}
	ck_assert_int_eq(image_map(img, 6 * C, 2 * C, &e), 0);
	ck_assert_int_eq(e.kind, IMAGE_EXTENT_HOLE);
	ck_assert_uint_eq(image_blocks(img), 8 * C / 512); /* at most the disk */
	ck_assert_int_gt(image_mtime_ns(img), 0);
	ck_assert_str_eq(image_file(img)->name, "top");
	ck_assert_int_eq(image_close(img), 0);
	ck_assert_int_eq(chdir("/"), 0);
	tmpdir_remove(dir);
}
END_TEST

START_TEST(facts)
{
	struct image_counters n;
	struct err err;

	build(3, (1 << 20) + 100);
	imgbuild_finish(&b);
	open_rw();
	ck_assert_uint_eq(image_size(img), 1 << 20); /* whole sectors */
	ck_assert_uint_eq(image_cluster_size(img), C);
	ck_assert_int_eq(image_write(img, "x", 1, 0), 0);
	image_counters(img, &n);
	ck_assert_uint_eq(n.commits + n.syncs, 0);
	ck_assert_uint_gt(n.dirty_bytes, 0);
	ck_assert_int_eq(image_flush(img), 0);
	image_counters(img, &n);
	ck_assert_uint_eq(n.commits, 1);
	ck_assert_uint_eq(n.syncs, 2);
	ck_assert_uint_eq(n.dirty_bytes, 0);
	ck_assert_int_eq(image_write(img, "y", 1, 5 * C), 0);
	image_abandon(img); /* y is lost, as in a crash */
	ck_assert_uint_eq(imgbuild_l2_get(&b, 5 * C), 0);
	ck_assert_uint_ne(imgbuild_l2_get(&b, 0), 0);
	ck_assert_int_eq(open_with((struct image_opts){ .no_flush = true,
							.discard_ignore = true },
				   &err),
			 0);
	hostrecord_clear(rec);
	ck_assert_int_eq(image_write(img, "y", 1, 5 * C), 0);
	ck_assert_int_eq(image_flush(img), 0);
	ck_assert_uint_eq(count(HOSTRECORD_SYNC_BEGIN), 0);
	ck_assert_int_eq(image_zero(img, 0, C, true), 0);
	ck_assert_int_eq(image_close(img), 0);
	ck_assert_uint_ne(imgbuild_l2_get(&b, 0) & ~IMGBUILD_COPIED, 1);
	expect_clean();
	fini();
}
END_TEST

START_TEST(committer)
{
	build(3, 1 << 20);
	imgbuild_finish(&b);
	open_rw();
	ck_assert_int_eq(image_start_committer(img, 1), 0);
	ck_assert_int_eq(image_write(img, "x", 1, 0), 0);
	for (int i = 0; i < 100 && !imgbuild_l2_get(&b, 0); i++)
		usleep(50000);
	ck_assert_uint_ne(imgbuild_l2_get(&b, 0), 0);
	ck_assert_int_eq(image_close(img), 0);
	expect_clean();
	fini();
}
END_TEST

/* Full: clusters that were discarded, but not given back yet, are. */
START_TEST(full_host)
{
	build(3, 1 << 20);
	imgbuild_finish(&b);
	open_rw();
	memset(want, 'w', sizeof(want));
	ck_assert_int_eq(image_write(img, want, 100 * C, 0), 0);
	ck_assert_int_eq(image_flush(img), 0);
	hostfault_limit(fault, hostmem_size(mem));
	ck_assert_int_eq(image_write(img, want, C, 120 * C), -ENOSPC);
	ck_assert_int_eq(image_write(img, want, C, 0), 0); /* in place */
	ck_assert_int_eq(image_zero(img, 10 * C, 5 * C, true), 0);
	memset(want + 10 * C, 0, 5 * C);
	ck_assert_int_eq(image_write(img, want, 4 * C, 120 * C), 0);
	memcpy(want + 120 * C, want, 4 * C);
	memset(want + 100 * C, 0, 20 * C);
	ck_assert_int_eq(image_read(img, buf, 124 * C, 0), 0);
	ck_assert_mem_eq(buf, want, 124 * C);
	ck_assert(!image_failed(img));
	ck_assert_int_eq(image_close(img), 0);
	expect_clean();
	fini();
}
END_TEST

/* Full for one moment: another thread's commit gives clusters back just before
 * this one asks whether there are any. */
START_TEST(full_no_more)
{
	struct hostfault_rule rule = { HOSTFAULT_PWRITE, HOSTFAULT_ERROR,
				       -ENOSPC, 0, 1 };

	build(3, 1 << 20);
	imgbuild_finish(&b);
	open_rw();
	memset(want, 'w', C);
	ck_assert_int_eq(image_write(img, want, C, 0), 0);
	hostfault_set(fault, &rule);
	ck_assert_int_eq(image_write(img, want, C, C), 0);
	ck_assert_uint_eq(hostfault_hits(fault), 1);
	memcpy(want + C, want, C);
	ck_assert_int_eq(image_read(img, buf, 2 * C, 0), 0);
	ck_assert_mem_eq(buf, want, 2 * C);
	ck_assert_int_eq(image_close(img), 0);
	expect_clean();
	fini();
}
END_TEST

/* Full, while clusters in front of those last taken are free: there was no
 * telling what they were when the first one was taken. */
START_TEST(full_unseen)
{
	const uint64_t span = 2 << 20, tables = 1100;
	uint64_t spare;

	build(3, tables * span);
	for (uint64_t i = 0; i < tables; i++)
		imgbuild_data(&b, i * span, "x", 1);
	spare = imgbuild_alloc(&b, 1);
	imgbuild_ref(&b, spare, -1);
	imgbuild_finish(&b);
	open_rw();
	ck_assert_int_eq(image_write(img, "y", 1, C), 0);
	hostfault_limit(fault, hostmem_size(mem));
	ck_assert_int_eq(image_write(img, "y", 1, 2 * C), 0);
	ck_assert_int_eq(image_flush(img), 0);
	ck_assert_uint_eq(imgbuild_l2_get(&b, 2 * C), spare | IMGBUILD_COPIED);
	/* and where the file ended */
	ck_assert_int_eq(image_write(img, "y", 1, 3 * C), 0);
	ck_assert_int_eq(image_write(img, "y", 1, 4 * C), -ENOSPC);
	ck_assert_int_eq(image_close(img), 0);
	expect_clean();
	fini();
}
END_TEST

/* The same, passed by streams that follow each other. */
START_TEST(full_streams)
{
	struct err err;

	build(3, 1 << 20);
	imgbuild_finish(&b);
	ck_assert_int_eq(open_with((struct image_opts){
					   .compress = IMAGE_COMPRESS_ON },
				   &err), 0);
	srand(1);
	for (size_t i = 0; i < sizeof(want); i++)
		want[i] = i % 2 ? 'w' : (unsigned char)rand();
	ck_assert_int_eq(image_write(img, want, 21 * C, 0), 0);
	ck_assert_int_eq(image_zero(img, 0, 10 * C, true), 0);
	ck_assert_int_eq(image_commit_all(img), 0);
	ck_assert_int_eq(image_write(img, want, 3 * C, 21 * C), 0);
	for (size_t i = 0; i < C; i++)
		want[i] = (unsigned char)rand();
	hostfault_limit(fault, hostmem_size(mem));
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(image_write(img, want, C, (30 + i) * C), 0);
	ck_assert_int_eq(image_close(img), 0);
	expect_clean();
	fini();
}
END_TEST

START_TEST(failed_sync)
{
	struct hostfault_rule rule = { HOSTFAULT_SYNC, HOSTFAULT_ERROR, -EIO, 0,
				       1 };

	build(3, 1 << 20);
	imgbuild_finish(&b);
	open_rw();
	ck_assert_int_eq(image_write(img, "x", 1, 0), 0);
	hostfault_set(fault, &rule);
	ck_assert_int_eq(image_flush(img), -EIO);
	ck_assert(image_failed(img));
	hostrecord_clear(rec);
	ck_assert_int_eq(image_flush(img), -EIO);
	ck_assert_int_eq(image_write(img, "y", 1, 0), -EIO);
	ck_assert_int_eq(image_read(img, buf, 1, 0), 0);
	ck_assert_int_eq(image_close(img), -EIO);
	ck_assert_uint_eq(hostrecord_len(rec), 0);
	fini();
}
END_TEST

/* --- a table in the file's last cluster, which is cut short ------------------- */

#define BIG (64ULL << 10) /* clusters of several slices */
#define FAR (512 * BIG)	  /* what the second slice of a table maps */

/* A part of a table that was never written may be a hole of the file, as after
 * 'cp --sparse': the write that will change it is told that there is no room,
 * not the commit, after which nothing goes on. */
START_TEST(full_hole)
{
	const struct imgbuild_params p = { .refcount_order = 4,
					   .size = 2 * FAR };
	struct hostfault_rule rule = { HOSTFAULT_FALLOC, HOSTFAULT_ERROR,
				       -ENOSPC, 0, HOSTFAULT_FOREVER };

	build_as(&p);
	imgbuild_data(&b, 0, "d", 1);
	imgbuild_finish(&b);
	open_rw();
	hostfault_set(fault, &rule);
	ck_assert_int_eq(image_write(img, "f", 1, FAR), -ENOSPC);
	ck_assert_int_eq(image_write(img, "f", 1, BIG), 0); /* no hole */
	ck_assert_int_eq(image_flush(img), 0);
	hostfault_set(fault, NULL);
	ck_assert_int_eq(image_write(img, "f", 1, FAR), 0);
	ck_assert_int_eq(image_close(img), 0);
	expect_clean();
	fini();
}
END_TEST

static uint64_t build_cut(void)
{
	const struct imgbuild_params p = { .refcount_order = 4,
					   .size = 2 * FAR };

	build_as(&p);
	return imgbuild_data(&b, 0, "d", 1);
}

static void cut(uint64_t table)
{
	ck_assert_int_eq(hostmem_resize(mem, table + 512), 0);
	expect_clean();
}

static void expect_disk(const char *begin, const char *far)
{
	ck_assert_int_eq(image_read(img, buf, 1, 0), 0);
	ck_assert_int_eq(image_read(img, buf + 1, 1, FAR), 0);
	ck_assert_mem_eq(buf, begin, 1);
	ck_assert_mem_eq(buf + 1, far, 1);
}

/* The image can be used like any other. */
static void use(void)
{
	struct err err;

	ck_assert_int_eq(open_with((struct image_opts){ .readonly = true },
				   &err), 0);
	expect_disk("d", "");
	ck_assert_int_eq(image_close(img), 0);
	open_rw();
	expect_disk("d", "");
	ck_assert_int_eq(snapshot_create(img, "s", &err), 0);
	ck_assert_int_eq(image_write(img, "f", 1, FAR), 0);
	expect_disk("d", "f");
	ck_assert_int_eq(image_close(img), 0);
	expect_clean();
	open_rw();
	expect_disk("d", "f");
	ck_assert_int_eq(snapshot_apply(img, "s", &err), 0);
	ck_assert_int_eq(snapshot_delete(img, "s", &err), 0);
	expect_disk("d", "");
	ck_assert_int_eq(image_write(img, "e", 1, FAR), 0);
	ck_assert_int_eq(image_write(img, "c", 1, 0), 0);
	ck_assert_int_eq(image_close(img), 0);
	expect_clean();
	open_rw();
	expect_disk("c", "e");
	ck_assert_int_eq(image_close(img), 0);
	fini();
}

START_TEST(cut_l2)
{
	uint64_t data = build_cut();
	uint64_t old, l2;

	imgbuild_finish(&b);
	old = imgbuild_l1_get(&b, 0) & ~IMGBUILD_COPIED;
	l2 = imgbuild_alloc(&b, 1);
	imgbuild_refcount_set(&b, old, 0);
	imgbuild_refcount_set(&b, l2, 1);
	imgbuild_l1_set(&b, 0, l2 | IMGBUILD_COPIED);
	imgbuild_poke(&b, l2, 8, data | IMGBUILD_COPIED);
	cut(l2);
	use();
}
END_TEST

/* The writer writes to the missing part first. */
START_TEST(cut_l2_in_place)
{
	uint64_t l2;

	(void)build_cut();
	imgbuild_finish(&b);
	l2 = imgbuild_alloc(&b, 1);
	imgbuild_refcount_set(&b, imgbuild_l1_get(&b, 0) & ~IMGBUILD_COPIED, 0);
	imgbuild_refcount_set(&b, imgbuild_l2_get(&b, 0) & ~IMGBUILD_COPIED, 0);
	imgbuild_refcount_set(&b, l2, 1);
	imgbuild_l1_set(&b, 0, l2 | IMGBUILD_COPIED);
	cut(l2);
	open_rw();
	ck_assert_int_eq(image_write(img, "f", 1, FAR), 0);
	expect_disk("", "f");
	ck_assert_int_eq(image_close(img), 0);
	expect_clean();
	open_rw();
	expect_disk("", "f");
	ck_assert_int_eq(image_close(img), 0);
	fini();
}
END_TEST

START_TEST(cut_refblock)
{
	(void)build_cut();
	imgbuild_finish(&b);
	cut(b.end - BIG);
	use();
}
END_TEST

/* A compressed cluster whose descriptor names a sector too many, which lies
 * behind the end of the file, as the specification allows. */
START_TEST(stream_at_end)
{
	uint64_t at, last, sectors;
	struct err err;

	build(3, 1 << 20);
	memset(buf, 'd', C);
	at = imgbuild_compressed(&b, 0, buf);
	imgbuild_finish(&b);
	last = imgbuild_alloc(&b, 1);
	hostmem_read(mem, buf, C, at & ~(C - 1));
	ck_assert_int_eq(hostmem_write(mem, buf, C, last), 0);
	imgbuild_refcount_set(&b, at & ~(C - 1), 0);
	imgbuild_refcount_set(&b, last, 1);
	imgbuild_refcount_set(&b, last + C, 1);
	at = last + at % C;
	sectors = (last + C - at) / 512;
	imgbuild_l2_set(&b, 0, IMGBUILD_COMPRESSED | sectors << 58 | at);
	expect_clean();
	open_rw();
	ck_assert_int_eq(image_write(img, "f", 1, 8 * C), 0);
	ck_assert_int_eq(image_read(img, buf, C, 0), 0);
	ck_assert_int_eq(buf[C - 1], 'd');
	ck_assert_int_eq(gate_quiesce(img), 0);
	ck_assert_int_eq(rewidth_image(img, 5, NULL, NULL, &err), 0);
	gate_open(img);
	ck_assert_int_eq(image_write(img, want, 1 << 18, 1 << 18), 0);
	ck_assert_int_eq(image_close(img), 0);
	expect_clean();
	open_rw();
	ck_assert_int_eq(image_read(img, buf, C, 0), 0);
	ck_assert_int_eq(buf[C - 1], 'd');
	ck_assert_int_eq(image_write(img, "e", 1, 0), 0);
	ck_assert_int_eq(image_close(img), 0);
	expect_clean();
	fini();
}
END_TEST

SUITE_MAIN("image", refused, roots_without_counts, open_faults, readonly,
	   autoclear, contradiction, outside, map, map_host,
	   map_host_broken, map_chain, facts, committer, full_host,
	   full_no_more, full_unseen, full_streams, full_hole, failed_sync,
	   cut_l2, cut_l2_in_place, cut_refblock, stream_at_end)
