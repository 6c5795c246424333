#include "core/admin/undo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/seed.h"
#include "core/admin/checkmap.h"

#define BLOCK 4096U
#define FIRST BLOCK /* offset of the first record */
#define HEAD 64U
#define RECORD 32U
#define BUDGET (256ULL << 20)

static const char magic[16] = "rawcow undo 1\n";

struct undo {
	struct hostfile *image, *log;
	struct hostfile *outer;
	struct host_stat was;
	uint64_t end;	       /* of LOG */
	struct checkmap saved; /* blocks; refs 1: saved */
	bool failed;	       /* something could not be saved: IMAGE stays as it
				  is, and LOG that of an unfinished repair */
	uint8_t buf[RECORD + BLOCK];
};

static uint64_t sum(uint64_t h, const void *buf, size_t len)
{
	const uint8_t *p = buf;

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * 0x100000001b3ULL;
	return h;
}

#define SUM_START 0xcbf29ce484222325ULL

/* Of LEN bytes of FILE at OFF. */
static int sum_range(struct hostfile *file, uint64_t off, uint64_t len,
		     uint64_t *out)
{
	uint8_t buf[BLOCK];

	*out = SUM_START;
	while (len) {
		size_t n = (size_t)NUM_MIN(len, BLOCK);
		int r = hostfile_pread(file, buf, n, off, NULL);

		if (r < 0)
			return r;
		*out = sum(*out, buf, n);
		off += n;
		len -= n;
	}
	return 0;
}

/* The head of LOG, of a repair that has left END bytes (0: not yet) of IMAGE,
 * which had SIZE; stable. */
static int put_head(struct hostfile *log, const struct host_stat *image,
		    uint64_t size, uint64_t end, uint64_t tail)
{
	uint8_t head[HEAD] = { 0 };
	int r;

	memcpy(head, magic, sizeof(magic));
	be64_store(head + 16, size);
	be64_store(head + 24, end);
	be64_store(head + 32, tail);
	be64_store(head + 40, image->dev);
	be64_store(head + 48, image->ino);
	be64_store(head + 56, sum(SUM_START, head, 56));
	r = hostfile_pwrite_full(log, head, HEAD, 0);
	return r == 0 ? hostfile_sync(log) : r;
}

/* --- saving -------------------------------------------------------------------- */

/* Of the record at P, which begins with offset and length. */
static uint64_t record_sum(const uint8_t *p)
{
	return sum(sum(SUM_START, p, 16), p + RECORD,
		   (size_t)be64_load(p + 8));
}

/* Append block NUMBER to the log. */
static int append(struct undo *u, uint64_t number)
{
	uint64_t off = number * BLOCK;
	uint64_t len = NUM_MIN(BLOCK, u->was.size - off);
	int r;

	memset(u->buf, 0, RECORD);
	be64_store(u->buf, off);
	be64_store(u->buf + 8, len);
	r = hostfile_pread_full(u->image, u->buf + RECORD, (size_t)len, off);
	be64_store(u->buf + 16, record_sum(u->buf));
	if (r == 0)
		r = hostfile_pwrite_full(u->log, u->buf, RECORD + (size_t)len,
					 u->end);
	if (r == 0)
		r = checkmap_add_refs(&u->saved, number, 1);
	if (r == 0)
		u->end += RECORD + len;
	return r;
}

/* What lies in [OFF, OFF + LEN) is stable in the log before it is gone from the
 * image [R1]. */
static int save(struct undo *u, uint64_t off, uint64_t len)
{
	bool any = false;
	int r = 0;

	for (uint64_t b = off / BLOCK; b * BLOCK < off + len && r == 0; b++) {
		if (b * BLOCK >= u->was.size || checkmap_refs(&u->saved, b))
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

int undo_begin(struct undo **out, struct hostfile *image, struct hostfile *log,
	       struct err *err)
{
	struct undo *u = mem_array(1, sizeof(*u));
	struct host_stat st;
	int r = u ? hostfile_stat(log, &st) : -ENOMEM;

	if (r == 0 && st.size)
		r = -EEXIST;
	if (r == 0)
		r = hostfile_stat(image, &u->was);
	if (r == 0) {
		u->image = image;
		u->log = log;
		u->end = FIRST;
		checkmap_init(&u->saved, BUDGET);
		r = put_head(log, &u->was, u->was.size, 0, 0);
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
	uint64_t at = FIRST;
	uint8_t new[8];
	uint64_t s;
	int r = 0;

	while (at < u->end && r == 0) {
		r = hostfile_pread_full(u->log, u->buf, 16, at);
		if (r == 0)
			r = sum_range(u->image, be64_load(u->buf),
				      be64_load(u->buf + 8), &s);
		be64_store(new, s);
		if (r == 0)
			r = hostfile_pwrite_full(u->log, new, 8, at + 24);
		at += RECORD + be64_load(u->buf + 8);
	}
	return r;
}

static int note_end(struct undo *u)
{
	struct host_stat st;
	uint64_t tail;
	int r = hostfile_stat(u->image, &st);

	if (r == 0)
		r = note_new(u);
	if (r == 0)
		r = sum_range(u->image, u->was.size, st.size - u->was.size,
			      &tail);
	if (r == 0)
		r = hostfile_sync(u->log);
	return r == 0 ? put_head(u->log, &u->was, u->was.size, st.size, tail) : r;
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

/* --- going back ------------------------------------------------------------------- */

struct back {
	struct hostfile *image, *log;
	uint64_t old_size, new_size; /* new_size 0: the repair did not end */
	uint64_t tail, log_end;
	struct host_stat st; /* of the image now */
	uint8_t buf[RECORD + BLOCK];
	struct err *err;
};

static int stale(struct back *b)
{
	return err_set(b->err, -ESTALE,
		       "the image was changed since the repair that %s is of; nothing is undone",
		       b->log->name);
}

static int read_head(struct back *b)
{
	uint8_t head[HEAD];
	struct host_stat st;
	int r = hostfile_pread(b->log, head, HEAD, 0, NULL);

	if (r == 0)
		r = hostfile_stat(b->log, &st);
	if (r == 0)
		r = hostfile_stat(b->image, &b->st);
	if (r < 0)
		return err_set_sys(b->err, r, "cannot read %s", b->log->name);
	if (memcmp(head, magic, sizeof(magic)) ||
	    be64_load(head + 56) != sum(SUM_START, head, 56))
		return err_set(b->err, -EMEDIUMTYPE, "%s is no undo file",
			       b->log->name);
	b->log_end = st.size;
	b->old_size = be64_load(head + 16);
	b->new_size = be64_load(head + 24);
	b->tail = be64_load(head + 32);
	if (!b->new_size && (b->st.dev != be64_load(head + 40) ||
			     b->st.ino != be64_load(head + 48)))
		return err_set(b->err, -ESTALE,
			       "%s is of an interrupted repair of another file",
			       b->log->name);
	return 0;
}

/* The image behind the old end is gone, or as the repair left it. */
static int check_size(struct back *b)
{
	uint64_t s;
	int r;

	if (!b->new_size)
		return b->st.size < b->old_size ? stale(b) : 0;
	if (b->st.size == b->old_size)
		return 0;
	if (b->st.size != b->new_size || b->new_size < b->old_size)
		return stale(b);
	r = sum_range(b->image, b->old_size, b->new_size - b->old_size, &s);
	if (r < 0)
		return err_set_sys(b->err, r, "cannot read the image");
	return s == b->tail ? 0 : stale(b);
}

/* The record at *AT into b->buf; *AT moves behind it. 0; -ENODATA: there is
 * none, or it is torn. */
static int next_record(struct back *b, uint64_t *at)
{
	uint64_t len;
	int r;

	if (!num_range_inside(*at, RECORD, b->log_end))
		return -ENODATA;
	r = hostfile_pread_full(b->log, b->buf, RECORD, *at);
	if (r < 0)
		return r;
	len = be64_load(b->buf + 8);
	if (len > BLOCK || !num_range_inside(*at, RECORD + len, b->log_end) ||
	    !num_range_inside(be64_load(b->buf), len, b->old_size))
		return -ENODATA;
	r = hostfile_pread_full(b->log, b->buf + RECORD, (size_t)len,
				*at + RECORD);
	if (r < 0)
		return r;
	if (record_sum(b->buf) != be64_load(b->buf + 16))
		return -ENODATA;
	*at += RECORD + len;
	return 0;
}

/* Does the image have the old or the new bytes of the record in b->buf? */
static int check_record(struct back *b)
{
	uint64_t len = be64_load(b->buf + 8);
	uint64_t s;
	int r;

	if (!b->new_size)
		return 0;
	r = sum_range(b->image, be64_load(b->buf), len, &s);
	if (r < 0)
		return err_set_sys(b->err, r, "cannot read the image");
	if (s != be64_load(b->buf + 24) &&
	    s != sum(SUM_START, b->buf + RECORD, (size_t)len))
		return stale(b);
	return 0;
}

static int put_record(struct back *b)
{
	int r = hostfile_pwrite_full(b->image, b->buf + RECORD,
				     (size_t)be64_load(b->buf + 8),
				     be64_load(b->buf));

	return r < 0 ? err_set_sys(b->err, r, "cannot write the image") : 0;
}

static int each_record(struct back *b, int (*fn)(struct back *b))
{
	uint64_t at = FIRST;
	int r;

	while ((r = next_record(b, &at)) == 0) {
		r = fn(b);
		if (r < 0)
			return r;
	}
	if (r != -ENODATA)
		return err_set_sys(b->err, r, "cannot read %s", b->log->name);
	/* once the repair has ended, no record is torn */
	if (b->new_size && at != NUM_MAX(b->log_end, FIRST))
		return err_set(b->err, -EMEDIUMTYPE, "%s is damaged; nothing is undone",
			       b->log->name);
	return 0;
}

/* All blocks, then the length, stably. */
static int put_all(struct back *b)
{
	int r = each_record(b, put_record);

	if (r < 0)
		return r;
	r = hostfile_sync(b->image);
	if (r == 0 && !b->st.block_device && b->st.size > b->old_size) {
		r = hostfile_truncate(b->image, b->old_size);
		if (r == 0)
			r = hostfile_sync(b->image);
	}
	return r < 0 ? err_set_sys(b->err, r, "cannot make the old content durable")
		     : 0;
}

static int put_state(struct back *b, uint64_t end)
{
	int r = put_head(b->log, &b->st, b->old_size, end, b->tail);

	return r < 0 ? err_set_sys(b->err, r, "cannot write %s", b->log->name) : 0;
}

/* A crash may tear a block between old and new bytes, which then have neither
 * sum. So until all is back the log is that of an unfinished repair of this very
 * file, which is undone whatever the image holds. */
static int put_back(struct back *b)
{
	int r = b->new_size ? put_state(b, 0) : 0;

	if (r == 0)
		r = put_all(b);
	return r == 0 && b->new_size ? put_state(b, b->new_size) : r;
}

int undo_apply(struct hostfile *image, struct hostfile *log, struct err *err)
{
	struct back b = { .image = image, .log = log, .err = err };
	int r = read_head(&b);

	if (r == 0)
		r = check_size(&b);
	if (r == 0)
		r = each_record(&b, check_record);
	return r == 0 ? put_back(&b) : r;
}
