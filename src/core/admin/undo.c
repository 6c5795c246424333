/* undo: the saving; see undo.h. */
#include "core/admin/undo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/seed.h"
#include "core/admin/checkmap.h"
#include "core/admin/undo_log.h"

/* As much as check has, to whom 256 clusters cost what a MiB with saved blocks costs
 * here: what can be checked can be saved. */
#define BUDGET (2ULL << 30)

struct undo {
	struct hostfile *image, *log;
	struct hostfile *outer;
	struct undo_log_head head;
	uint64_t end;	       /* of LOG */
	struct checkmap saved; /* blocks; refs 1: saved */
	bool failed;	       /* something could not be saved: IMAGE stays as it
				  is, and LOG that of an unfinished repair */
	uint8_t buf[UNDO_RECORD + UNDO_BLOCK];
};

/* Append block NUMBER to the log. */
static int append(struct undo *u, uint64_t number)
{
	uint64_t off = number * UNDO_BLOCK;
	uint64_t len = NUM_MIN(UNDO_BLOCK, u->head.old_size - off);
	int r;

	memset(u->buf, 0, UNDO_RECORD);
	be64_store(u->buf, off);
	be64_store(u->buf + 8, len);
	r = hostfile_pread_full(u->image, u->buf + UNDO_RECORD, (size_t)len,
				off);
	be64_store(u->buf + 16, undo_log_record_sum(u->buf));
	if (r == 0)
		r = hostfile_pwrite_full(u->log, u->buf,
					 UNDO_RECORD + (size_t)len, u->end);
	if (r == 0)
		r = checkmap_add_refs(&u->saved, number, 1);
	if (r == 0)
		u->end += UNDO_RECORD + len;
	return r;
}

/* What lies in [OFF, OFF + LEN) is stable in the log before it is gone from the
 * image [R1]. */
static int save(struct undo *u, uint64_t off, uint64_t len)
{
	uint64_t end = NUM_MIN(off + len, u->head.old_size);
	bool any = false;
	int r = 0;

	for (uint64_t b = off / UNDO_BLOCK; b * UNDO_BLOCK < end && r == 0;
	     b++) {
		if (checkmap_refs(&u->saved, b))
			continue;
		r = append(u, b);
		any = true;
	}
	if (r < 0 || !any || SEED_BUG(SEED_UNDO_LATE))
		return r;
	return hostfile_sync(u->log);
}

static ssize_t op_pread(void *ctx, void *buf, size_t len, uint64_t off)
{
	struct undo *u = ctx;
	size_t got;
	int r = hostfile_pread(u->image, buf, len, off, &got);

	return r < 0 ? r : (ssize_t)got;
}

static ssize_t op_pwrite(void *ctx, const void *buf, size_t len, uint64_t off)
{
	struct undo *u = ctx;
	int r = u->failed ? -EIO : save(u, off, len);

	if (r < 0)
		u->failed = true;
	else
		r = hostfile_pwrite_full(u->image, buf, len, off);
	return r < 0 ? r : (ssize_t)len;
}

static int op_sync(void *ctx)
{
	struct undo *u = ctx;

	return hostfile_sync(u->image);
}

static int op_falloc(void *ctx, enum host_falloc mode, uint64_t off,
		     uint64_t len)
{
	(void)ctx;
	(void)mode;
	(void)off;
	(void)len;
	return -EOPNOTSUPP;
}

static int op_truncate(void *ctx, uint64_t size)
{
	(void)ctx;
	(void)size;
	return -EOPNOTSUPP;
}

static int op_stat(void *ctx, struct host_stat *st)
{
	struct undo *u = ctx;

	return hostfile_stat(u->image, st);
}

static int64_t op_seek(void *ctx, uint64_t off, enum host_seek what)
{
	struct undo *u = ctx;

	return u->image->ops->seek(u->image->ctx, off, what);
}

static int op_lock(void *ctx, enum host_lock what, uint64_t byte)
{
	struct undo *u = ctx;

	return u->image->ops->lock(u->image->ctx, what, byte);
}

static void op_close(void *ctx)
{
	(void)ctx;
}

static const struct host_ops ops = {
	.pread = op_pread,
	.pwrite = op_pwrite,
	.sync = op_sync,
	.falloc = op_falloc,
	.truncate = op_truncate,
	.stat = op_stat,
	.seek = op_seek,
	.lock = op_lock,
	.close = op_close,
};

/* What U->image is before the repair, into the log. */
static int put_start(struct undo *u)
{
	struct host_stat st;
	int r = hostfile_stat(u->image, &st);

	if (r < 0)
		return r;
	u->head = (struct undo_log_head){ .old_size = st.size,
					  .ino = undo_log_ino(&st) };
	for (unsigned i = 0; i < UNDO_SAMPLES && r == 0; i++)
		r = undo_log_take_sample(u->image, st.size, i,
					 &u->head.sample[i]);
	if (r == 0)
		r = undo_log_put_samples(u->log, &u->head);
	return r == 0 ? undo_log_put_head(u->log, &u->head) : r;
}

int undo_begin(struct undo **out, struct hostfile *image, struct hostfile *log,
	       struct err *err)
{
	struct undo *u = mem_array(1, sizeof(*u));
	struct host_stat st;
	int r = u ? hostfile_stat(log, &st) : -ENOMEM;

	if (r == 0 && st.size)
		r = -EEXIST;
	if (r == 0) {
		u->image = image;
		u->log = log;
		u->end = UNDO_FIRST;
		checkmap_init(&u->saved, BUDGET);
		r = put_start(u);
	}
	if (r == 0)
		r = hostfile_wrap(&u->outer, &ops, u, image->name, true);
	if (r < 0) {
		free(u);
		return err_set_sys(err, r, "cannot begin the undo file %s",
				   log->name);
	}
	*out = u;
	return 0;
}

struct hostfile *undo_file(struct undo *u)
{
	return u->outer;
}

/* Note in each record what its block has become. */
static int note_new(struct undo *u)
{
	uint64_t at = UNDO_FIRST;
	uint8_t new[8];
	uint64_t s;
	int r = 0;

	while (at < u->end && r == 0) {
		r = hostfile_pread_full(u->log, u->buf, 16, at);
		if (r == 0)
			r = undo_log_sum_range(u->image, be64_load(u->buf),
					       be64_load(u->buf + 8), &s);
		be64_store(new, s);
		if (r == 0)
			r = hostfile_pwrite_full(u->log, new, 8, at + 24);
		at += UNDO_RECORD + be64_load(u->buf + 8);
	}
	return r;
}

static int note_end(struct undo *u)
{
	struct host_stat st;
	int r = hostfile_stat(u->image, &st);

	if (r == 0)
		r = note_new(u);
	if (r == 0)
		r = undo_log_sum_range(u->image, u->head.old_size,
				       st.size - u->head.old_size,
				       &u->head.tail);
	if (r == 0)
		r = hostfile_sync(u->log);
	u->head.new_size = st.size;
	return r == 0 ? undo_log_put_head(u->log, &u->head) : r;
}

int undo_end(struct undo *u, struct err *err)
{
	int r = u->failed ? 0 : note_end(u);

	if (r < 0)
		err_set_sys(err, r, "cannot finish the undo file %s",
			    u->log->name);
	hostfile_close(u->outer);
	checkmap_fini(&u->saved);
	free(u);
	return r;
}
