/*
 * test_snapshot: snapshot records that rawcow did not write. Whatever a record
 * says, applying it leaves an image that is whole.
 */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "base/be.h"
#include "core/admin/snapshot.h"
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

SUITE_MAIN_LOOPS("snapshot", { disk_too_large, 4 })
