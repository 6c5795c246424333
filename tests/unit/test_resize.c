/*
 * test_resize: a larger size is on disk only after what it shows is zero, also
 * where the commit before it moves the refcount table, hence writes sector 0.
 */
#include <check.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/be.h"
#include "core/admin/create.h"
#include "core/admin/resize.h"
#include "core/admin/snapshot.h"
#include "core/admin/trim.h"
#include "core/format/qcow2.h"
#include "core/image/open.h"
#include "lib/hostmem.h"
#include "lib/hostrecord.h"
#include "suite.h"

#define MIB (1ULL << 20)
#define CS 512U
#define SPAN (CS / 8 * CS)   /* bytes that an L1 entry maps */
#define COVERED (8 * MIB)    /* of the file, by a refcount table of a cluster */
#define SMALL (8 * MIB)
#define LARGE (12 * MIB)

static unsigned char data[SMALL];

static struct image *open_mem(struct hostmem *m, struct hostrecord *log)
{
	const struct image_opts opts = { .no_lock = true };
	struct err err = { "" };
	struct hostfile *f;
	struct image *img;

	ck_assert_int_eq(hostmem_open(&f, m, true), 0);
	if (log)
		ck_assert_int_eq(hostrecord_wrap(log, &f, f), 0);
	ck_assert_msg(!image_open_file(&img, f, &opts, &err), "%s", err.text);
	return img;
}

static uint64_t get(struct hostmem *m, uint64_t hoff)
{
	unsigned char b[8];

	hostmem_read(m, b, 8, hoff);
	return be64_load(b);
}

/* A large disk with data at its end, which a snapshot shares, so that changing
 * it takes new L2 tables. Then the header says that it is small. */
static struct hostmem *make(void)
{
	const struct create_opts o = { .size = LARGE, .cluster_size = CS };
	struct hostmem *m = hostmem_new();
	struct err err = { "" };
	struct hostfile *f;
	struct image *img;
	unsigned char b[8];

	memset(data, 'd', sizeof(data));
	ck_assert_int_eq(hostmem_open(&f, m, true), 0);
	ck_assert_int_eq(create_image(f, &o, &err), 0);
	hostfile_close(f);
	img = open_mem(m, NULL);
	ck_assert_int_eq(image_write(img, data, LARGE - SMALL, SMALL), 0);
	ck_assert_msg(!snapshot_create(img, "s", &err), "%s", err.text);
	ck_assert_int_eq(image_close(img), 0);
	be64_store(b, SMALL);
	ck_assert_int_eq(hostmem_write(m, b, 8, 24), 0);
	return m;
}

/* Does the disk, if it is large, show data behind its old end? */
static bool exposed(struct hostmem *m)
{
	uint64_t l1 = get(m, 40);

	if (get(m, 24) != LARGE)
		return false;
	for (uint64_t i = SMALL / SPAN; i < LARGE / SPAN; i++) {
		uint64_t l2 = get(m, l1 + i * 8) & QCOW2_OFFSET_MASK;
		uint64_t e;

		for (unsigned k = 0; l2 && k < CS / 8; k++) {
			e = get(m, l2 + k * 8);
			if (e & QCOW2_OFFSET_MASK && !(e & QCOW2_ENTRY_ZERO))
				return true;
		}
	}
	return false;
}

/* Grow M, and look at each state on the way. Did the refcount table move? */
static bool grow(struct hostmem *m)
{
	struct hostmem *state = hostmem_clone(m);
	struct hostrecord *log = hostrecord_new();
	struct image *img = open_mem(m, log);
	uint64_t table = get(m, 48);
	struct hostrecord_entry e;
	struct err err = { "" };

	ck_assert(!exposed(m));
	ck_assert_msg(!resize_image(img, LARGE, false, &err), "%s", err.text);
	ck_assert_int_eq(image_close(img), 0);
	for (uint64_t k = 0; k < hostrecord_len(log); k++) {
		hostrecord_get(log, k, &e);
		ck_assert_int_eq(hostrecord_apply(&e, state), 0);
		ck_assert_msg(e.op != HOSTRECORD_WRITE || !exposed(state),
			      "after change %llu", (unsigned long long)k);
	}
	ck_assert_uint_eq(get(m, 24), LARGE);
	hostmem_free(state);
	hostrecord_free(log);
	return get(m, 48) != table;
}

/* Fill the disk until little of the file's covered part is left. */
START_TEST(grow_with_table)
{
	struct hostmem *base = make();
	uint64_t room = COVERED - hostmem_size(base);
	unsigned moved = 0;

	for (uint64_t left = 16 << 10; left < 96 << 10; left += 16 << 10) {
		struct hostmem *m = hostmem_clone(base);
		struct image *img = open_mem(m, NULL);
		uint64_t len = (room - left) / 66 * 64; /* and its tables */

		ck_assert_int_eq(image_write(img, data, len / CS * CS, 0), 0);
		ck_assert_int_eq(image_close(img), 0);
		moved += grow(m);
		hostmem_free(m);
	}
	ck_assert_uint_gt(moved, 0);
	hostmem_free(base);
}
END_TEST

/* --- beside a commit ----------------------------------------------------------- */

static const struct host_ops *plain_ops;
static struct image *trimmed;
static bool trim_now;
static pthread_t trimmer;
static int trim_result;

static void *trim(void *arg)
{
	trim_result = trim_file(arg);
	return NULL;
}

/* A host that is slow to say how long the file is: it is cut meanwhile, unless
 * that waits for the commit that asks. */
static int stat_and_trim(void *ctx, struct host_stat *st)
{
	const struct timespec pause = { .tv_nsec = 30000000 };
	int r = plain_ops->stat(ctx, st);

	if (trim_now && trimmed->meta.wb.running) {
		trim_now = false;
		ck_assert_int_eq(pthread_create(&trimmer, NULL, trim,
						&trimmed->meta), 0);
		nanosleep(&pause, NULL);
	}
	return r;
}

/* A commit is not told that another program has cut the file. */
START_TEST(cut_beside_commit)
{
	const struct create_opts o = { .size = MIB };
	struct hostmem *m = hostmem_new();
	struct err err = { "" };
	struct host_ops ops;
	struct hostfile *f;

	ck_assert_int_eq(hostmem_open(&f, m, true), 0);
	ck_assert_int_eq(create_image(f, &o, &err), 0);
	hostfile_close(f);
	trimmed = open_mem(m, NULL);
	ck_assert_int_eq(image_write(trimmed, data, MIB, 0), 0);
	ck_assert_int_eq(image_zero(trimmed, 0, MIB, true), 0);
	ck_assert_int_eq(image_commit_all(trimmed), 0);
	plain_ops = trimmed->file->ops;
	ops = *plain_ops;
	ops.stat = stat_and_trim;
	trimmed->file->ops = &ops;
	atomic_store(&trimmed->meta.data_unsynced, true);
	trim_now = true;
	ck_assert_int_eq(image_flush(trimmed), 0);
	ck_assert_int_eq(pthread_join(trimmer, NULL), 0);
	ck_assert_int_eq(trim_result, 0);
	trimmed->file->ops = plain_ops;
	ck_assert_int_eq(image_write(trimmed, data, CS, 0), 0);
	ck_assert_int_eq(image_close(trimmed), 0);
	hostmem_free(m);
}
END_TEST

SUITE_MAIN("resize", grow_with_table, cut_beside_commit)
