/*
 * test_rolemap: the map of roles against an array, and what the image makes of
 * it: contradictions refused at open, writes and allocations refused later, and
 * after any operation the same map as a new scan of the file gives.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/admin/resize.h"
#include "core/admin/snapshot.h"
#include "core/data/payload.h"
#include "core/format/lukshdr.h"
#include "core/format/qcow2.h"
#include "core/image/open.h"
#include "lib/hostmem.h"
#include "lib/imgbuild.h"
#include "suite.h"

static struct hostmem *mem;
static struct hostfile *plain;
static struct imgbuild b;
static struct image *img;
static struct err err;

static void build(unsigned bits, uint64_t size)
{
	struct imgbuild_params p = { .cluster_bits = bits, .refcount_order = 4,
				     .size = size };

	mem = hostmem_new();
	ck_assert_int_eq(hostmem_open(&plain, mem, true), 0);
	imgbuild_init(&b, plain, &p);
}

static int open_as(struct image **out, bool readonly)
{
	struct image_opts opts = { .no_lock = true, .readonly = readonly };
	struct hostfile *f;
	int r;

	err.text[0] = '\0';
	ck_assert_int_eq(hostmem_open(&f, mem, !readonly), 0);
	r = image_open_file(out, f, &opts, &err);
	if (r < 0)
		hostfile_close(f);
	return r;
}

static void open_rw(void)
{
	ck_assert_msg(open_as(&img, false) == 0, "%s", err.text);
}

static void fini(void)
{
	imgbuild_fini(&b);
	hostfile_close(plain);
	hostmem_free(mem);
}

static enum role role_at(uint64_t hoff)
{
	return rolemap_get(&img->meta.roles.map, hoff / b.csize);
}

/* --- the map alone -------------------------------------------------------------- */

START_TEST(array)
{
	enum { N = 40000 };
	/* far out as well: the last cluster that an offset can express */
	static const uint64_t base[] = { 0, (1ULL << 24) - 20000,
					 (1ULL << 35) - 20000,
					 (1ULL << 47) - N };
	static unsigned char want[N];
	struct rolemap rm;

	srand(1);
	for (unsigned t = 0; t < 4; t++) {
		ck_assert_int_eq(rolemap_init(&rm, 1 << 20), 0);
		memset(want, 0, sizeof(want));
		for (unsigned i = 0; i < 2000; i++) {
			uint64_t at = (uint64_t)rand() % N;
			uint64_t n = (uint64_t)rand() % (i % 4 ? 40 : 4000);
			unsigned role = (unsigned)rand() % 16;

			n = n < N - at ? n : N - at;
			ck_assert_int_eq(rolemap_set(&rm, base[t] + at, n,
						     (enum role)role),
					 0);
			memset(want + at, (int)role, n);
			ck_assert(rolemap_all(&rm, base[t] + at, n,
					      (enum role)role));
		}
		for (uint64_t i = 0; i < N; i++)
			ck_assert_uint_eq(rolemap_get(&rm, base[t] + i),
					  want[i]);
		for (uint64_t i = 0; i < N;) {
			uint64_t at = rolemap_find(&rm, base[t] + i, ROLE_L1,
						   ROLE_COMPRESSED);

			while (i < N && want[i] != ROLE_L1 &&
			       want[i] != ROLE_COMPRESSED)
				i++;
			ck_assert_uint_eq(at, i < N ? base[t] + i : UINT64_MAX);
			i++;
		}
		ck_assert_uint_eq(rolemap_get(&rm, UINT64_MAX), ROLE_NONE);
		rolemap_fini(&rm);
	}
}
END_TEST

/* Clusters far apart cost a page each; the budget bounds that. */
START_TEST(budget)
{
	struct rolemap rm;
	uint64_t i = 0;

	ck_assert_int_eq(rolemap_init(&rm, 1 << 20), 0);
	while (rolemap_set(&rm, i << 30, 1, ROLE_DATA) == 0)
		i++;
	ck_assert_uint_gt(i, 20);
	ck_assert_uint_le(rm.used, 1 << 20);
	ck_assert_int_eq(rolemap_set(&rm, 1ULL << 46, 1, ROLE_DATA), -ENOMEM);
	ck_assert_int_eq(rolemap_set(&rm, 1ULL << 46, 1, ROLE_NONE), 0);
	ck_assert_int_eq(rolemap_reserve(&rm, 1ULL << 46, 1), 0);
	ck_assert_int_eq(rolemap_set(&rm, 1ULL << 46, 1, ROLE_DATA), 0);
	rolemap_fini(&rm);
	/* no map: a read-only image */
	ck_assert_uint_eq(rolemap_get(&rm, 5), ROLE_NONE);
}
END_TEST

/* --- contradictions ---------------------------------------------------------------- */

#define C 4096ULL
#define CO IMGBUILD_COPIED

/* What each row breaks; s is a snapshot's L2 table, r the refcount block. */
enum broken {
	DATA_IS_L2, DATA_IS_SELF, DATA_IS_BLOCK, DATA_IS_REFTABLE, DATA_IS_L1,
	DATA_IS_SNAPTABLE, DATA_IS_SNAP_L1, DATA_IS_SNAP_L2, DATA_TWICE,
	DATA_OF_SNAPSHOT, STREAM_IN_DATA, STREAM_IN_L2, L2_TWICE,
	L2_OF_SNAPSHOT, L2_IS_BLOCK, L2_IS_L1, L2_BEHIND_END,
	DATA_BEHIND_END, BLOCK_TWICE, L1_IS_BLOCK, BROKEN_N
};

static uint64_t first(uint64_t e)
{
	return e & 0x00fffffffffffe00ULL;
}

static void break_it(enum broken what)
{
	uint64_t l2 = first(imgbuild_l1_get(&b, 0));
	uint64_t other = first(imgbuild_l1_get(&b, 2));
	uint64_t own = first(imgbuild_l2_get(&b, 0));
	uint64_t snap = imgbuild_header_get(&b, IMGBUILD_SNAPSHOT_OFFSET);
	uint64_t snap_l1 = imgbuild_peek(&b, snap, 8);
	uint64_t snap_l2 = first(imgbuild_peek(&b, snap_l1, 8));
	uint64_t snap_data = first(imgbuild_peek(&b, snap_l2 + 8, 8));
	uint64_t table = imgbuild_header_get(&b, IMGBUILD_REFTABLE_OFFSET);
	uint64_t block = imgbuild_peek(&b, table, 8);
	unsigned x = 62 - 4;
	uint64_t far = hostmem_size(mem) + 8 * C;
	/* an entry of the L2 table, or of the L1 table */
	const uint64_t l2_entry[BROKEN_N] = {
		[DATA_IS_L2] = other | CO, [DATA_IS_SELF] = l2 | CO,
		[DATA_IS_BLOCK] = block | CO, [DATA_IS_REFTABLE] = table | CO,
		[DATA_IS_L1] = b.l1_off | CO, [DATA_IS_SNAPTABLE] = snap | CO,
		[DATA_IS_SNAP_L1] = snap_l1 | CO,
		[DATA_IS_SNAP_L2] = snap_l2 | CO, [DATA_TWICE] = own | CO,
		[DATA_OF_SNAPSHOT] = snap_data | CO,
		[DATA_BEHIND_END] = far | CO,
		[STREAM_IN_DATA] = IMGBUILD_COMPRESSED | 1ULL << x | own,
		/* only the second cluster of the stream */
		[STREAM_IN_L2] = IMGBUILD_COMPRESSED | 2ULL << x | (l2 - 512),
	};
	const uint64_t l1_entry[BROKEN_N] = {
		[L2_TWICE] = l2 | CO, [L2_OF_SNAPSHOT] = snap_l2 | CO,
		[L2_IS_BLOCK] = block | CO, [L2_IS_L1] = b.l1_off | CO,
		[L2_BEHIND_END] = far | CO,
	};

	if (l2_entry[what])
		imgbuild_l2_set(&b, C, l2_entry[what]);
	if (l1_entry[what])
		imgbuild_l1_set(&b, 3, l1_entry[what]);
	if (what == BLOCK_TWICE)
		imgbuild_poke(&b, table + 8, 8, block);
	if (what == L1_IS_BLOCK)
		imgbuild_header_set(&b, IMGBUILD_L1_OFFSET, block);
}

static void build_full(void)
{
	build(12, 16 << 20);
	imgbuild_data(&b, 0, "x", 1);
	imgbuild_data(&b, C, "x", 1);
	imgbuild_data(&b, 4 << 20, "y", 1);
	imgbuild_snapshot(&b, "1", "s");
	/* both tables the disk's own again */
	imgbuild_data(&b, 0, "z", 1);
	imgbuild_data(&b, 4 << 20, "z", 1);
	imgbuild_finish(&b);
}

/* Each is refused for writing, with advice, and can be opened for reading;
 * nothing is written. */
START_TEST(refused)
{
	uint64_t size;
	void *before, *after;

	build_full();
	break_it((enum broken)_i);
	size = hostmem_size(mem);
	before = malloc(size);
	after = malloc(size);
	hostmem_read(mem, before, size, 0);
	ck_assert_int_eq(open_as(&img, false), -EUCLEAN);
	ck_assert_ptr_nonnull(strstr(err.text, "-o ro"));
	ck_assert_ptr_nonnull(strstr(err.text, "rawcow check"));
	if (_i != L1_IS_BLOCK) {
		ck_assert_int_eq(open_as(&img, true), 0);
		ck_assert_int_eq(image_close(img), 0);
	}
	ck_assert_uint_eq(hostmem_size(mem), size);
	hostmem_read(mem, after, size, 0);
	ck_assert_mem_eq(before, after, size);
	free(before);
	free(after);
	fini();
}
END_TEST

/* Files may be longer than what offsets of an image can name. */
START_TEST(beyond)
{
	const uint64_t end = 1ULL << 56;
	struct rolemap rm;

	ck_assert_int_eq(rolemap_init(&rm, 1 << 30), 0);
	ck_assert_int_eq(rolemap_set(&rm, (end >> 9) - 1, 1, ROLE_L1), 0);
	ck_assert_int_eq(rolemap_set(&rm, end >> 9, 1, ROLE_L1), -ENOMEM);
	ck_assert_int_eq(rolemap_set(&rm, UINT64_MAX >> 9, 1, ROLE_L1),
			 -ENOMEM);
	ck_assert_int_eq(rolemap_reserve(&rm, end >> 9, 1), -ENOMEM);
	ck_assert_int_eq(rolemap_set(&rm, end >> 9, 1, ROLE_NONE), 0);
	ck_assert_int_eq(rolemap_get(&rm, (end >> 9) - 1), ROLE_L1);
	ck_assert_int_eq(rolemap_get(&rm, end >> 9), ROLE_NONE);
	rolemap_fini(&rm);

	build_full();
	open_rw();
	for (uint64_t at = end - C; at > end - 3 * C; at -= C) {
		err.text[0] = '\0';
		ck_assert_int_eq(rolescan_claim(&img->meta, at, 2 * C + 1,
						ROLE_SNAPTABLE, &err),
				 -EUCLEAN);
		ck_assert_ptr_nonnull(strstr(err.text, "snapshot table"));
		ck_assert_ptr_nonnull(strstr(err.text, "rawcow check"));
	}
	ck_assert_int_eq(rolescan_claim(&img->meta, end - C, C, ROLE_SNAPTABLE,
					&err), 0);
	ck_assert_int_eq(rolescan_claim(&img->meta, UINT64_MAX - C + 1, C,
					ROLE_SNAPTABLE, &err), -EUCLEAN);
	ck_assert_int_eq(image_close(img), 0);
	fini();
}
END_TEST

/* An encryption header is no place for data either. */
START_TEST(crypto_area)
{
	struct image_opts opts = { .no_lock = true, .no_key = true };
	uint8_t area[16];
	struct hostfile *f;
	uint64_t at;

	build(12, 16 << 20);
	imgbuild_data(&b, 0, "x", 1);
	at = imgbuild_alloc(&b, 1);
	lukshdr_put_area(area, at, C);
	imgbuild_ext(&b, QCOW2_EXT_CRYPTO, area, sizeof(area));
	imgbuild_header_set(&b, IMGBUILD_CRYPT, 2);
	imgbuild_finish(&b);
	ck_assert_int_eq(hostmem_open(&f, mem, true), 0);
	ck_assert_int_eq(image_open_file(&img, f, &opts, &err), 0);
	ck_assert_uint_eq(role_at(at), ROLE_CRYPTO);
	ck_assert_int_eq(image_close(img), 0);
	imgbuild_l2_set(&b, 0, at | CO);
	ck_assert_int_eq(hostmem_open(&f, mem, true), 0);
	ck_assert_int_eq(image_open_file(&img, f, &opts, &err), -EUCLEAN);
	ck_assert_ptr_nonnull(strstr(err.text, "encryption"));
	hostfile_close(f);
	fini();
}
END_TEST

START_TEST(sound)
{
	build_full();
	open_rw();
	ck_assert(atomic_load(&img->meta.roles.complete));
	ck_assert_uint_eq(role_at(0), ROLE_HEADER);
	ck_assert_uint_eq(role_at(b.l1_off), ROLE_L1);
	ck_assert_uint_eq(role_at(first(imgbuild_l1_get(&b, 0))), ROLE_L2);
	ck_assert_uint_eq(role_at(first(imgbuild_l2_get(&b, 0))), ROLE_DATA);
	ck_assert_uint_eq(role_at(first(imgbuild_l2_get(&b, C))),
			  ROLE_DATA_SHARED);
	ck_assert_int_eq(image_close(img), 0);
	fini();
}
END_TEST

/* Every kind of write is refused where something else lies. */
START_TEST(writes)
{
	uint64_t l2, data;

	build_full();
	open_rw();
	l2 = first(imgbuild_l1_get(&b, 0));
	data = first(imgbuild_l2_get(&b, 0));
	ck_assert_int_eq(payload_write(&img->disk, "x", 1, data, 0), 0);
	ck_assert_int_eq(payload_write(&img->disk, "x", 1, l2, 0), -EUCLEAN);
	ck_assert(atomic_load(&img->meta.corrupt));
	ck_assert_int_eq(payload_write(&img->disk, "x", 1,
				       first(imgbuild_l2_get(&b, C)), 0),
			 -EUCLEAN); /* a snapshot's */
	ck_assert_int_eq(meta_write(&img->meta, "x", 1, data, ROLE_L2),
			 -EUCLEAN);
	ck_assert_int_eq(meta_write(&img->meta, "x", 1, l2, ROLE_L1), -EUCLEAN);
	ck_assert_int_eq(meta_zero(&img->meta, b.end, C, ROLE_REFBLOCK),
			 -EUCLEAN);
	ck_assert_int_eq(image_write(img, "x", 1, 0), -EIO);
	ck_assert_int_eq(image_close(img), 0);
	fini();
}
END_TEST

/* A count of 0 does not make a used cluster free. */
START_TEST(not_free)
{
	uint64_t at[2];

	build(12, 16 << 20);
	at[0] = imgbuild_data(&b, 0, "x", 1);
	imgbuild_finish(&b);
	at[1] = first(imgbuild_l1_get(&b, 0));
	imgbuild_refcount_set(&b, at[_i], 0);
	open_rw();
	ck_assert_int_eq(image_write(img, "y", 1, C), -EUCLEAN);
	ck_assert_uint_eq(imgbuild_header_get(&b, IMGBUILD_INCOMPAT), 2);
	ck_assert_int_eq(image_write(img, "y", 1, C), -EIO);
	ck_assert_int_eq(image_close(img), 0);
	fini();
}
END_TEST

/* --- many tables: not all are scanned at open ------------------------------------------ */

#define MANY 1100 /* tables of 4 KiB, more than are scanned at open */
#define SPAN (2ULL << 20)

static void build_many(void)
{
	build(12, MANY * SPAN);
	for (uint64_t i = 0; i < MANY; i++)
		imgbuild_data(&b, i * SPAN, "x", 1);
}

START_TEST(background)
{
	uint64_t end, last, spare;

	build_many();
	spare = imgbuild_alloc(&b, 1);
	imgbuild_ref(&b, spare, -1); /* free */
	imgbuild_finish(&b);
	end = hostmem_size(mem);
	last = first(imgbuild_l2_get(&b, (MANY - 1) * SPAN));
	open_rw();
	ck_assert(!atomic_load(&img->meta.roles.complete));
	ck_assert_uint_eq(role_at(last), ROLE_NONE);
	/* in place and elsewhere, also in tables that were not seen */
	ck_assert_int_eq(image_write(img, "y", 1, (MANY - 1) * SPAN), 0);
	ck_assert_int_eq(image_write(img, "y", 1, (MANY - 1) * SPAN + C), 0);
	ck_assert_uint_eq(role_at(last), ROLE_DATA);
	ck_assert_int_eq(image_flush(img), 0);
	ck_assert_uint_ge(first(imgbuild_l2_get(&b, (MANY - 1) * SPAN + C)),
			  end);
	ck_assert_int_eq(rolescan_finish(&img->meta), 0);
	ck_assert(atomic_load(&img->meta.roles.complete));
	/* now what is free in front of the end may be used */
	ck_assert_int_eq(image_write(img, "y", 1, C), 0);
	ck_assert_uint_eq(role_at(spare), ROLE_NONE);
	img->meta.alloc.hint = 0;
	ck_assert_int_eq(image_write(img, "y", 1, 2 * C), 0);
	ck_assert_uint_eq(role_at(spare), ROLE_DATA);
	ck_assert_int_eq(image_close(img), 0);
	fini();
}
END_TEST

/* A host whose first read stands for a thread that is in the middle of a step:
 * while it reads its table, another one finishes the scan. */
static const struct host_ops *plain_ops;
static struct host_ops hooked_ops;
static bool finish_meanwhile;

static void hook_pread(ssize_t (*pread)(void *ctx, void *buf, size_t len,
					uint64_t off))
{
	plain_ops = img->file->ops;
	hooked_ops = *plain_ops;
	hooked_ops.pread = pread;
	img->file->ops = &hooked_ops;
}

static ssize_t pread_and_finish(void *ctx, void *buf, size_t len, uint64_t off)
{
	if (finish_meanwhile) {
		finish_meanwhile = false;
		ck_assert_int_eq(rolescan_finish(&img->meta), 0);
		ck_assert(atomic_load(&img->meta.roles.complete));
	}
	return plain_ops->pread(ctx, buf, len, off);
}

START_TEST(finished_by_two)
{
	build_many();
	imgbuild_finish(&b);
	open_rw();
	hook_pread(pread_and_finish);
	finish_meanwhile = true;
	ck_assert_int_eq(rolescan_step(&img->meta), 1);
	ck_assert(!finish_meanwhile);
	ck_assert_int_eq(rolescan_step(&img->meta), 0);
	img->file->ops = plain_ops;
	ck_assert_int_eq(image_close(img), 0);
	fini();
}
END_TEST

/* A cluster that two tables refer to loses the reference of the one that is
 * written; the other, a snapshot's or of another stream in the same cluster, is
 * seen later, when the count is 1. */
START_TEST(one_left)
{
	static unsigned char text[C];
	uint64_t far = (MANY - 1) * SPAN;

	build_many();
	if (_i == 0) {
		imgbuild_data(&b, C, "x", 1);
		imgbuild_snapshot(&b, "1", "s");
		imgbuild_data(&b, 0, "z", 1); /* in a table of its own */
	} else {
		imgbuild_compressed(&b, C, text);
		imgbuild_compressed(&b, far + C, text);
	}
	imgbuild_finish(&b);
	open_rw();
	ck_assert(!atomic_load(&img->meta.roles.complete));
	ck_assert_int_eq(image_write(img, "y", 1, C), 0);
	ck_assert_int_eq(image_commit_all(img), 0);
	ck_assert_int_eq(rolescan_finish(&img->meta), 0);
	ck_assert(!image_corrupt(img));
	ck_assert(atomic_load(&img->meta.roles.complete));
	ck_assert_int_eq(image_close(img), 0);
	fini();
}
END_TEST

static uint64_t fail_at; /* once */

static ssize_t pread_fails_once(void *ctx, void *buf, size_t len, uint64_t off)
{
	if (off != fail_at)
		return plain_ops->pread(ctx, buf, len, off);
	fail_at = 0;
	return -EIO;
}

/* A table that could not be read when all others were seen is seen when a
 * snapshot shares it, or gives it up. */
START_TEST(seen_late)
{
	uint64_t far = (MANY - 1) * SPAN;
	char c = 0;

	build_many();
	if (_i)
		imgbuild_snapshot(&b, "1", "s");
	imgbuild_finish(&b);
	open_rw();
	hook_pread(pread_fails_once);
	fail_at = first(imgbuild_l1_get(&b, MANY - 1));
	if (_i)
		ck_assert_int_eq(snapshot_delete(img, "s", &err), 0);
	else
		ck_assert_int_eq(snapshot_create(img, "s", &err), 0);
	ck_assert_uint_eq(fail_at, 0);
	img->file->ops = plain_ops;
	ck_assert_int_eq(image_write(img, "y", 1, far + 1), 0);
	ck_assert_int_eq(image_read(img, &c, 1, far), 0);
	ck_assert_int_eq(c, 'x');
	ck_assert(!image_corrupt(img));
	ck_assert(atomic_load(&img->meta.roles.complete));
	ck_assert_int_eq(image_close(img), 0);
	fini();
}
END_TEST

/* A clash in a table that was not scanned at open: found when the table is
 * changed, or by the thread; writing stops, the image is marked. */
START_TEST(found_later)
{
	uint64_t far = (MANY - 1) * SPAN;

	build_many();
	imgbuild_finish(&b);
	imgbuild_l2_set(&b, far + C, imgbuild_l2_get(&b, 0));
	open_rw();
	if (_i == 0) {
		ck_assert_int_eq(image_write(img, "y", 1, 2 * C), 0);
		ck_assert_int_eq(image_write(img, "y", 1, far + 2 * C),
				 -EUCLEAN);
	} else {
		ck_assert_int_eq(image_start_committer(img, 100), 0);
		while (imgbuild_header_get(&b, IMGBUILD_INCOMPAT) != 2)
			sched_yield();
	}
	ck_assert_uint_eq(imgbuild_header_get(&b, IMGBUILD_INCOMPAT), 2);
	ck_assert_int_eq(image_write(img, "y", 1, 0), -EIO);
	ck_assert_int_eq(image_close(img), 0);
	fini();
}
END_TEST

/* --- the map stays right --------------------------------------------------------------- */

/* The map as operations have left it, and as a new scan of the file finds it. */
static void compare(unsigned seed, unsigned step)
{
	uint64_t n = hostmem_size(mem) / b.csize + 64;
	struct image *again;

	ck_assert_int_eq(image_commit_all(img), 0);
	ck_assert_msg(open_as(&again, false) == 0, "seed %u step %u: %s", seed,
		      step, err.text);
	ck_assert(atomic_load(&again->meta.roles.complete));
	for (uint64_t i = 0; i < n; i++) {
		enum role is = rolemap_get(&img->meta.roles.map, i);
		enum role want = rolemap_get(&again->meta.roles.map, i);

		ck_assert_msg(is == want,
			      "seed %u step %u cluster %llu: %s, in the file %s",
			      seed, step, (unsigned long long)i,
			      rolemap_text(is), rolemap_text(want));
	}
	image_abandon(again);
}

static void random_step(void)
{
	static unsigned char data[64 << 10];
	uint64_t size = image_size(img);
	uint64_t off = (uint64_t)rand() % size;
	uint64_t len = 1 + (uint64_t)rand() % sizeof(data);
	char name[2] = { (char)('a' + rand() % 3), '\0' };

	len = len < size - off ? len : size - off;
	memset(data, rand(), sizeof(data));
	img->disk.compress = rand() % 3 == 0;
	switch (rand() % 12) {
	case 0:
		(void)snapshot_create(img, name, &err);
		break;
	case 1:
		(void)snapshot_delete(img, name, &err);
		break;
	case 2:
		(void)snapshot_apply(img, name, &err);
		break;
	case 3:
		(void)resize_image(img, (1 << 20) + off * 2, true, &err);
		break;
	case 4:
	case 5:
		ck_assert_int_eq(image_zero(img, off, len, rand() % 2), 0);
		break;
	default:
		ck_assert_int_eq(image_write(img, data, len, off), 0);
	}
}

START_TEST(kept)
{
	unsigned steps = 150;
	unsigned bits = _i % 2 ? 9 : 12;

	build(bits, 2 << 20);
	imgbuild_finish(&b);
	open_rw();
	srand((unsigned)_i);
	for (unsigned i = 0; i < steps; i++) {
		random_step();
		if (i % 5 == 0)
			compare((unsigned)_i, i);
	}
	compare((unsigned)_i, steps);
	ck_assert(!atomic_load(&img->meta.corrupt));
	ck_assert_int_eq(image_close(img), 0);
	fini();
}
END_TEST

/* --- the corrupt mark ------------------------------------------------------ */

static void open_stale(void)
{
	build(12, 1 << 20);
	imgbuild_finish(&b);
	imgbuild_header_set(&b, IMGBUILD_AUTOCLEAR, 1ULL << 40);
	open_rw();
}

/* A write that had passed the test before the mark was made clears stale bits,
 * and leaves the mark. */
START_TEST(mark_stays)
{
	open_stale();
	ck_assert_int_eq(state_mark_corrupt(img), -EIO);
	ck_assert_int_eq(image_write(img, "x", 1, 0), 0);
	ck_assert_int_eq(image_close(img), 0);
	ck_assert_uint_eq(imgbuild_header_get(&b, IMGBUILD_AUTOCLEAR), 0);
	ck_assert_uint_eq(imgbuild_header_get(&b, IMGBUILD_INCOMPAT),
			  QCOW2_INCOMPAT_CORRUPT);
	fini();
}
END_TEST

static void *write_one(void *result)
{
	*(int *)result = image_write(img, "x", 1, 0);
	return NULL;
}

/* The same, while it waits for its turn: it does not go on. */
START_TEST(mark_stops_first_write)
{
	const struct timespec pause = { .tv_nsec = 30000000 };
	int result = 0;
	pthread_t t;

	open_stale();
	lock_take(&img->state.lock);
	ck_assert_int_eq(pthread_create(&t, NULL, write_one, &result), 0);
	nanosleep(&pause, NULL);
	atomic_store(&img->meta.corrupt, true);
	lock_drop(&img->state.lock);
	pthread_join(t, NULL);
	ck_assert_int_eq(result, -EIO);
	ck_assert_int_eq(image_close(img), 0);
	ck_assert_uint_eq(imgbuild_header_get(&b, IMGBUILD_AUTOCLEAR),
			  1ULL << 40);
	fini();
}
END_TEST

static Suite *rolemap_suite(void)
{
	Suite *s = suite_create("rolemap");
	TCase *tc = tcase_create("rolemap");

	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, array);
	tcase_add_test(tc, budget);
	tcase_add_loop_test(tc, refused, 0, BROKEN_N);
	tcase_add_test(tc, beyond);
	tcase_add_test(tc, crypto_area);
	tcase_add_test(tc, sound);
	tcase_add_test(tc, writes);
	tcase_add_loop_test(tc, not_free, 0, 2);
	tcase_add_test(tc, background);
	tcase_add_test(tc, finished_by_two);
	tcase_add_loop_test(tc, one_left, 0, 2);
	tcase_add_loop_test(tc, seen_late, 0, 2);
	tcase_add_loop_test(tc, found_later, 0, 2);
	tcase_add_loop_test(tc, kept, 0, 8);
	tcase_add_test(tc, mark_stays);
	tcase_add_test(tc, mark_stops_first_write);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	SRunner *r = srunner_create(rolemap_suite());
	int failed;

	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
