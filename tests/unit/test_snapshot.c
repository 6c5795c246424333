/*
 * test_snapshot: snapshot records that rawcow did not write. Whatever a record
 * says, applying it leaves an image that is whole. And commits of the timer
 * while tables are written that a root is about to name.
 */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "base/be.h"
#include "core/admin/resize.h"
#include "core/admin/snapshot.h"
#include "core/image/open.h"
#include "imagefix.h"
#include "suite.h"

#define SIZE (256U << 10)
#define CS 512U
#define SPAN (CS / 8 * CS) /* bytes that an L1 entry maps */

static struct imagefix fx;

/* An image with a snapshot of the disk that fx.want holds. */
static void make(void)
{
	const struct create_opts o = { .size = SIZE, .cluster_size = CS };
	struct image *img;

	imagefix_create(&fx, &o);
	memset(fx.want, 'a', SIZE);
	img = imagefix_open(&fx, false);
	ck_assert_ptr_nonnull(img);
	ck_assert_int_eq(image_write(img, fx.want, SIZE, 0), 0);
	ck_assert_int_eq(snapshot_create(img, "s", &fx.err), 0);
	ck_assert_int_eq(image_close(img), 0);
}

/* Let the record say that its disk has SIZE bytes. */
static void set_disk_size(uint64_t size)
{
	unsigned char b[8];
	uint64_t at;

	hostmem_read(fx.mem, b, 8, 64);
	at = be64_load(b) + 48;
	hostmem_read(fx.mem, b, 8, at);
	ck_assert_uint_eq(be64_load(b), SIZE);
	be64_store(b, size);
	ck_assert_int_eq(hostmem_write(fx.mem, b, 8, at), 0);
}

/* Tables of more entries than a number of 32 bits can say, and of more than
 * the format allows. */
START_TEST(disk_too_large)
{
	static const uint64_t sizes[] = {
		(1ULL << 32) * SPAN,
		(1ULL << 32) * SPAN + SPAN,
		(1ULL << 33) * SPAN + SIZE,
		((32ULL << 20) / 8 + 1) * SPAN,
	};
	struct image *img;

	make();
	set_disk_size(sizes[_i]);
	img = imagefix_open(&fx, false);
	ck_assert_ptr_nonnull(img);
	ck_assert_int_eq(snapshot_apply(img, "s", &fx.err), -EFBIG);
	ck_assert(imagefix_shows(&fx, img));
	ck_assert_uint_eq(image_size(img), SIZE);
	ck_assert_int_eq(image_close(img), 0);
	imagefix_look(&fx, false);
	imagefix_free(&fx);
}
END_TEST

/* As qemu-img creates a disk of no bytes: there is no L1 table. */
START_TEST(no_table)
{
	const struct create_opts o = { .size = 0, .cluster_size = CS };
	static const unsigned char none[12]; /* entries, offset */
	struct image *img;

	imagefix_create(&fx, &o);
	ck_assert_int_eq(hostmem_write(fx.mem, none, sizeof(none), 36), 0);
	img = imagefix_open(&fx, false);
	ck_assert_ptr_nonnull(img);
	ck_assert_int_eq(snapshot_create(img, "s", &fx.err), 0);
	ck_assert(!image_corrupt(img));
	ck_assert_int_eq(snapshot_apply(img, "s", &fx.err), 0);
	ck_assert_int_eq(resize_image(img, SIZE, false, &fx.err), 0);
	ck_assert_int_eq(image_write(img, "x", 1, 0), 0);
	ck_assert_int_eq(snapshot_create(img, "t", &fx.err), 0);
	ck_assert_int_eq(snapshot_apply(img, "s", &fx.err), 0);
	ck_assert_uint_eq(image_size(img), 0);
	ck_assert_int_eq(snapshot_delete(img, "t", &fx.err), 0);
	ck_assert_int_eq(snapshot_delete(img, "s", &fx.err), 0);
	ck_assert_int_eq(image_close(img), 0);
	imagefix_look(&fx, true); /* where the table was */
	imagefix_free(&fx);
}
END_TEST

/* --- beside the committer ----------------------------------------------------- */

static const struct host_ops *plain_ops;
static struct image *committing;
static unsigned unsynced; /* writes of tables since the last sync */

/* Is it a table, and no commit that writes it? */
static bool is_table(uint64_t off)
{
	enum role role = rolemap_get(&committing->meta.roles.map,
				     off / image_cluster_size(committing));

	return !committing->meta.wb.running &&
	       (role == ROLE_L2_SHARED || role == ROLE_SNAP_L1 ||
		role == ROLE_SNAPTABLE || role == ROLE_L1);
}

/* A host whose each write of a table meets a commit of the timer. */
static ssize_t pwrite_meets_commit(void *ctx, const void *buf, size_t len,
				   uint64_t off)
{
	if (is_table(off)) {
		ck_assert_int_eq(image_commit_all(committing), 0);
		unsynced++;
	}
	ck_assert(off || !unsynced); /* [R1] [R7] */
	return plain_ops->pwrite(ctx, buf, len, off);
}

static int sync_counted(void *ctx)
{
	unsynced = 0;
	return plain_ops->sync(ctx);
}

/* Begin, or end. */
static void meet_commits(struct image *img, struct host_ops *ops)
{
	committing = img;
	if (!ops) {
		img->file->ops = plain_ops;
		return;
	}
	plain_ops = img->file->ops;
	*ops = *plain_ops;
	ops->pwrite = pwrite_meets_commit;
	ops->sync = sync_counted;
	img->file->ops = ops;
}

/* What the header is about to name is stable, although a commit that began
 * while it was written has synced all that it knew of: the tables of a
 * snapshot, those that lose COPIED, a longer L1 table. */
START_TEST(beside_commits)
{
	const struct create_opts o = { .size = SIZE, .cluster_size = 4096 };
	struct host_ops ops;
	struct image *img;

	imagefix_create(&fx, &o);
	memset(fx.want, 'a', SIZE);
	img = imagefix_open(&fx, false);
	ck_assert_ptr_nonnull(img);
	if (_i)
		ck_assert_int_eq(image_write(img, fx.want, SIZE, 0), 0);
	else
		memset(fx.want, 0, SIZE);
	meet_commits(img, &ops);
	ck_assert_int_eq(snapshot_create(img, "s", &fx.err), 0);
	ck_assert_int_eq(snapshot_apply(img, "s", &fx.err), 0);
	ck_assert_int_eq(resize_image(img, 2ULL << 30, false, &fx.err), 0);
	ck_assert_int_eq(resize_image(img, SIZE, true, &fx.err), 0);
	meet_commits(img, NULL);
	ck_assert_int_eq(image_close(img), 0);
	imagefix_look(&fx, false);
	imagefix_free(&fx);
}
END_TEST

SUITE_MAIN_LOOPS("snapshot", { disk_too_large, 4 }, { no_table, 1 },
		 { beside_commits, 2 })
