/*
 * test_undo: a file is changed with saving, and had back: whole, after the undo
 * was cut off at any write, and when the undo file found no room.
 */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "core/admin/undo.h"
#include "lib/hostfault.h"
#include "lib/hostmem.h"
#include "suite.h"

#define BLOCK 4096U
#define BLOCKS 6U
#define LEN (BLOCKS * BLOCK - 1000) /* the last block is short */

static struct hostmem *image, *before, *saved;

static struct hostfile *open_mem(struct hostmem *m)
{
	struct hostfile *f;

	ck_assert_int_eq(hostmem_open(&f, m, true), 0);
	return f;
}

static void setup(void)
{
	unsigned char b[LEN];

	for (unsigned i = 0; i < LEN; i++)
		b[i] = (unsigned char)(i * 7 + i / BLOCK);
	image = hostmem_new();
	saved = hostmem_new();
	ck_assert_int_eq(hostmem_write(image, b, LEN, 0), 0);
	before = hostmem_clone(image);
}

static void teardown(void)
{
	hostmem_free(image);
	hostmem_free(before);
	hostmem_free(saved);
}

/* What a repair may do: blocks in any order, twice, parts, and behind the end.
 * 0 or the first error. */
static int change(struct hostfile *f)
{
	static const unsigned order[] = { 3, 0, 3, 5, 1 };
	unsigned char b[BLOCK];
	int first = 0;

	for (unsigned i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		int r;

		memset(b, (int)(0xa0 + i), sizeof(b));
		r = hostfile_pwrite_full(f, b, i == 4 ? 8 : BLOCK,
					 order[i] * BLOCK);
		first = first ? first : r;
	}
	return first;
}

/* Change the image, with LOG_FILE for what it was, which is closed. */
static int change_saved(struct hostfile *log_file)
{
	struct hostfile *f = open_mem(image);
	struct err err = { "" };
	struct undo *u;
	int r;

	ck_assert_msg(!undo_begin(&u, f, log_file, &err), "%s", err.text);
	r = change(undo_file(u));
	ck_assert_msg(!undo_end(u, &err), "%s", err.text);
	hostfile_close(f);
	hostfile_close(log_file);
	return r;
}

static int apply(struct hostfile *f)
{
	struct hostfile *l = open_mem(saved);
	struct err err = { "" };
	int r = undo_apply(f, l, &err);

	ck_assert(r == 0 || err.text[0]);
	hostfile_close(l);
	hostfile_close(f);
	return r;
}

START_TEST(back)
{
	setup();
	ck_assert_int_eq(change_saved(open_mem(saved)), 0);
	ck_assert(!hostmem_equal(image, before));
	for (int twice = 0; twice < 2; twice++) {
		ck_assert_int_eq(apply(open_mem(image)), 0);
		ck_assert(hostmem_equal(image, before));
	}
	ck_assert_int_eq(hostmem_write(image, "x", 1, 2), 0);
	ck_assert_int_eq(apply(open_mem(image)), -ESTALE);
	teardown();
}
END_TEST

/* A crash leaves sectors of a block old and others new. */
START_TEST(torn)
{
	struct hostfault *fault = hostfault_new();
	bool done = false;

	for (uint64_t k = 0; !done; k++) {
		const struct hostfault_rule rule = { .ops = HOSTFAULT_PWRITE,
						     .kind = HOSTFAULT_TORN,
						     .error = -EIO,
						     .skip = k,
						     .repeat = 1 };
		struct hostfile *f;

		setup();
		ck_assert_int_eq(change_saved(open_mem(saved)), 0);
		f = open_mem(image);
		ck_assert_int_eq(hostfault_wrap(fault, &f, f), 0);
		hostfault_set(fault, &rule);
		done = apply(f) == 0;
		ck_assert_uint_eq(hostfault_hits(fault), !done);
		ck_assert_int_eq(apply(open_mem(image)), 0);
		ck_assert(hostmem_equal(image, before));
		ck_assert(!done || k == 4);
		teardown();
	}
	hostfault_free(fault);
}
END_TEST

/* What cannot be saved is not overwritten, and what was saved comes back. */
START_TEST(no_room)
{
	struct hostfault *fault = hostfault_new();
	uint64_t limit = BLOCK;
	int r;

	do {
		struct hostfile *l;

		setup();
		l = open_mem(saved);
		ck_assert_int_eq(hostfault_wrap(fault, &l, l), 0);
		hostfault_limit(fault, limit);
		r = change_saved(l);
		ck_assert(r == 0 || r == -ENOSPC);
		ck_assert_int_eq(apply(open_mem(image)), 0);
		ck_assert(hostmem_equal(image, before));
		teardown();
		limit += 700;
	} while (r);
	ck_assert_uint_gt(limit, 4 * BLOCK);
	hostfault_free(fault);
}
END_TEST

/* --- of a repair that was interrupted ------------------------------------------ */

/* SAVED becomes what a repair of F leaves that gets no further, with half a
 * record at its end. */
static void interrupt(struct hostfile *f)
{
	struct hostfile *l = open_mem(saved);
	struct err err = { "" };
	struct hostmem *cut;
	struct undo *u;

	ck_assert_msg(!undo_begin(&u, f, l, &err), "%s", err.text);
	ck_assert_int_eq(change(undo_file(u)), 0);
	cut = hostmem_clone(saved);
	ck_assert_int_eq(undo_end(u, &err), 0);
	ck_assert_int_eq(hostmem_write(cut, "x", 1, hostmem_size(cut)), 0);
	hostfile_close(l);
	hostfile_close(f);
	hostmem_free(saved);
	saved = cut;
}

/* The undo file is used up then: it is not put over what came later. */
START_TEST(interrupted)
{
	struct hostmem *later;

	setup();
	interrupt(open_mem(image));
	for (int twice = 0; twice < 2; twice++) {
		ck_assert_int_eq(apply(open_mem(image)), 0);
		ck_assert(hostmem_equal(image, before));
	}
	ck_assert_int_eq(hostmem_write(image, "x", 1, 2), 0);
	later = hostmem_clone(image);
	ck_assert_int_eq(apply(open_mem(image)), -ESTALE);
	ck_assert(hostmem_equal(image, later));
	hostmem_free(later);
	teardown();
}
END_TEST

static const struct host_ops *mem_ops;
static struct {
	uint64_t dev, ino;
	bool block_device;
} boot;

static int boot_stat(void *ctx, struct host_stat *st)
{
	int r = mem_ops->stat(ctx, st);

	st->dev = boot.dev;
	st->ino = boot.ino;
	st->block_device = boot.block_device;
	if (boot.block_device)
		st->size = LEN;
	return r;
}

/* M as the host shows it since the last boot. */
static struct hostfile *booted(struct hostmem *m)
{
	static struct host_ops ops;
	struct hostfile *f = open_mem(m);

	mem_ops = f->ops;
	ops = *mem_ops;
	ops.stat = boot_stat;
	f->ops = &ops;
	return f;
}

/* A repair of IMAGE, perhaps a DEVICE, was interrupted before the last boot. */
static void interrupt_before_boot(bool device)
{
	setup();
	boot.dev = 1;
	boot.ino = 5;
	boot.block_device = device;
	interrupt(booted(image));
	boot.dev = 2;
}

/* The next boot numbers devices anew. _i: it is one itself, its node is made
 * anew. */
START_TEST(after_boot)
{
	interrupt_before_boot(_i);
	boot.ino = 6;
	ck_assert_int_eq(apply(booted(image)), _i ? 0 : -ESTALE);
	boot.ino = 5;
	ck_assert_int_eq(apply(booted(image)), 0);
	ck_assert(_i || hostmem_equal(image, before));
	teardown();
}
END_TEST

/* Another file, which has the same number in another place: it differs where the
 * repair has not been. _i: on a device. */
START_TEST(another_file)
{
	interrupt_before_boot(_i);
	ck_assert_int_eq(hostmem_write(before, "other", 5, 2 * BLOCK), 0);
	hostmem_free(image);
	image = hostmem_clone(before);
	ck_assert_int_eq(apply(booted(image)), -ESTALE);
	ck_assert(hostmem_equal(image, before));
	teardown();
}
END_TEST

/* --- a long one ----------------------------------------------------------------- */

/* A file of zeroes, *CTX bytes long, that keeps nothing. */
static ssize_t zero_pread(void *ctx, void *b, size_t len, uint64_t off)
{
	(void)ctx;
	(void)off;
	memset(b, 0, len);
	return (ssize_t)len;
}

static ssize_t zero_pwrite(void *ctx, const void *b, size_t len, uint64_t off)
{
	(void)ctx;
	(void)b;
	(void)off;
	return (ssize_t)len;
}

static int zero_sync(void *ctx)
{
	(void)ctx;
	return 0;
}

static int zero_stat(void *ctx, struct host_stat *st)
{
	*st = (struct host_stat){ .size = *(uint64_t *)ctx };
	return 0;
}

static void zero_close(void *ctx)
{
	(void)ctx;
}

/* A repair that writes somewhere in each of 300 GiB of small clusters. */
START_TEST(scattered)
{
	static const struct host_ops ops = { .pread = zero_pread,
					     .pwrite = zero_pwrite,
					     .sync = zero_sync,
					     .stat = zero_stat,
					     .close = zero_close };
	uint64_t size = 300ULL << 30, none = 0;
	struct hostfile *f, *l;
	struct err err = { "" };
	struct undo *u;

	if (!suite_scale_is("full"))
		return; /* it takes half a GiB */
	ck_assert_int_eq(hostfile_wrap(&f, &ops, &size, "image", true), 0);
	ck_assert_int_eq(hostfile_wrap(&l, &ops, &none, "log", true), 0);
	ck_assert_int_eq(undo_begin(&u, f, l, &err), 0);
	for (uint64_t off = 0; off < size; off += 1 << 20)
		ck_assert_int_eq(hostfile_pwrite_full(undo_file(u), "x", 1,
						      off), 0);
	ck_assert_int_eq(undo_end(u, &err), 0);
	hostfile_close(l);
	hostfile_close(f);
}
END_TEST

SUITE_MAIN_LOOPS("undo", { back, 1 }, { torn, 1 }, { no_room, 1 },
		 { interrupted, 1 }, { after_boot, 2 }, { another_file, 2 },
		 { scattered, 1 })
