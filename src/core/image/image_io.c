/* Requests: reads, writes, zeroes, commits. */
#include "core/image/image.h"

#include <errno.h>

#include "base/num.h"
#include "core/data/detect.h"
#include "core/data/read.h"
#include "core/data/write.h"
#include "core/data/zero.h"
#include "core/image/open.h"

/* Inside the gate: may a request go there? Who sends it has seen the size
 * outside, and the disk may have become smaller since. */
static int check_range(const struct image *img, uint64_t off, uint64_t len)
{
	if (img->view.gone)
		return -ESTALE;
	return num_range_inside(off, len, img->geom.size) ? 0 : -ERANGE;
}

int image_read(struct image *img, void *buf, size_t len, uint64_t off)
{
	struct epoch_ticket t = gate_enter(img);
	int r = check_range(img, off, len);

	if (r == 0)
		r = read_range(&img->disk, buf, len, off);

	gate_leave(img, t);
	if (r == -EUCLEAN)
		state_mark_corrupt(img);
	return r;
}

/* A change of any kind, so that what surrounds it is said once. */
struct change {
	const void *buf; /* NULL: zero the range */
	uint64_t len, off;
	bool unmap;
};

static int apply_inside(struct image *img, const struct change *c)
{
	bitmaps_touch(img, c->off, c->len);
	if (c->buf && img->detect_zeroes)
		return detect_write(&img->disk, c->buf, c->len, c->off,
				    img->detect_zeroes == IMAGE_DETECT_UNMAP);
	if (c->buf)
		return write_range(&img->disk, c->buf, c->len, c->off);
	return zero_range(&img->disk, c->off, c->len, c->unmap);
}

static int apply(struct image *img, const struct change *c)
{
	struct epoch_ticket t = gate_enter(img);
	int r = check_range(img, c->off, c->len);

	if (r == 0)
		r = apply_inside(img, c);
	gate_leave(img, t);
	return r;
}

/* The disk is full: clusters that were freed but have not matured may help, or
 * that were passed by. The one place where a write waits for a commit. True:
 * try again. Also when there are none: another thread's commit may just have
 * given them back. */
static bool make_room(struct image *img)
{
	struct meta *m = &img->meta;
	bool any;

	lock_take(&m->lock);
	any = alloc_has_freed_locked(m) || rolescan_floor_locked(m);
	lock_drop(&m->lock);
	/* what lies in front of the end may be used once it is known */
	if (any && (state_finish_roles(img, "cannot make room", NULL) < 0 ||
		    writeback_settle(m) < 0))
		return false;
	lock_take(&m->lock);
	alloc_rewind_locked(m);
	lock_drop(&m->lock);
	return true;
}

/* Start a commit when much is dirty; wait for it when memory gets short. */
static void relieve(struct image *img)
{
	enum writeback_pressure p = writeback_pressure(&img->meta);

	if (p == WRITEBACK_CALM)
		return;
	if (!committer_kick(&img->committer) || p == WRITEBACK_URGENT)
		(void)!writeback_flush(&img->meta);
}

static int change(struct image *img, const struct change *c)
{
	int r = state_begin_write(img);

	if (r < 0)
		return r;
	r = apply(img, c);
	if (r == -ENOSPC && make_room(img))
		r = apply(img, c);
	if (r == -EUCLEAN)
		state_mark_corrupt(img);
	relieve(img);
	return r;
}

int image_write(struct image *img, const void *buf, size_t len, uint64_t off)
{
	return len ? change(img, &(struct change){ .buf = buf, .len = len,
						   .off = off })
		   : 0;
}

int image_zero(struct image *img, uint64_t off, uint64_t len, bool unmap)
{
	struct change c = { .len = len,
			    .off = off,
			    .unmap = unmap && !img->discard_ignore };

	return len ? change(img, &c) : 0;
}

int image_flush(struct image *img)
{
	if (img->state.readonly || img->no_flush)
		return 0;
	return writeback_flush(&img->meta);
}

int image_commit_all(struct image *img)
{
	if (img->state.readonly || img->no_flush)
		return 0;
	return writeback_settle(&img->meta);
}
