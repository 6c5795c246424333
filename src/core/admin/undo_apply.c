/* undo_apply: going back; see undo.h. */
#include "core/admin/undo.h"

#include <errno.h>

#include "base/be.h"
#include "base/num.h"
#include "core/admin/undo_log.h"

struct back {
	struct hostfile *image, *log;
	struct undo_log_head head;
	uint64_t log_end;
	uint64_t records_end; /* in LOG, as far as they are whole */
	bool saved[UNDO_SAMPLES]; /* a record has the sample's block */
	struct host_stat st; /* of the image now */
	uint8_t buf[UNDO_RECORD + UNDO_BLOCK];
	struct err *err;
};

static int stale(struct back *b)
{
	return err_set(b->err, -ESTALE,
		       "the image was changed since the repair that %s is of; nothing is undone",
		       b->log->name);
}

static int another(struct back *b)
{
	return err_set(b->err, -ESTALE,
		       "%s is of an interrupted repair of another file, or the image was changed since; nothing is undone",
		       b->log->name);
}

/* Both files must fit each other, as far as their heads say. */
static int read_head(struct back *b)
{
	struct host_stat st;
	int r = undo_log_get_head(b->log, &b->head);

	if (r == -EMEDIUMTYPE)
		return err_set(b->err, r, "%s is no undo file", b->log->name);
	if (r == 0)
		r = hostfile_stat(b->log, &st);
	if (r == 0)
		r = hostfile_stat(b->image, &b->st);
	if (r < 0)
		return err_set_sys(b->err, r, "cannot read %s", b->log->name);
	b->log_end = st.size;
	if (!b->head.new_size && undo_log_ino(&b->st) != b->head.ino)
		return another(b);
	return 0;
}

/* The image behind the old end is gone, or as the repair left it. */
static int check_size(struct back *b)
{
	const struct undo_log_head *h = &b->head;
	uint64_t s;
	int r;

	if (!h->new_size)
		return b->st.size < h->old_size ? stale(b) : 0;
	if (b->st.size == h->old_size)
		return 0;
	if (b->st.size != h->new_size || h->new_size < h->old_size)
		return stale(b);
	r = undo_log_sum_range(b->image, h->old_size, h->new_size - h->old_size,
			       &s);
	if (r < 0)
		return err_set_sys(b->err, r, "cannot read the image");
	return s == h->tail ? 0 : stale(b);
}

/* The record at *AT into b->buf; *AT moves behind it. 0; -ENODATA: there is
 * none, or it is torn. */
static int next_record(struct back *b, uint64_t *at)
{
	uint64_t len;
	int r;

	if (!num_range_inside(*at, UNDO_RECORD, b->log_end))
		return -ENODATA;
	r = hostfile_pread_full(b->log, b->buf, UNDO_RECORD, *at);
	if (r < 0)
		return r;
	len = be64_load(b->buf + 8);
	if (len > UNDO_BLOCK ||
	    !num_range_inside(*at, UNDO_RECORD + len, b->log_end) ||
	    !num_range_inside(be64_load(b->buf), len, b->head.old_size))
		return -ENODATA;
	r = hostfile_pread_full(b->log, b->buf + UNDO_RECORD, (size_t)len,
				*at + UNDO_RECORD);
	if (r < 0)
		return r;
	if (undo_log_record_sum(b->buf) != be64_load(b->buf + 16))
		return -ENODATA;
	*at += UNDO_RECORD + len;
	return 0;
}

/* What the block of the record in b->buf holds, nobody knows. */
static int note_saved(struct back *b)
{
	for (unsigned i = 0; i < UNDO_SAMPLES; i++)
		b->saved[i] |= undo_log_sample_at(b->head.old_size, i) ==
			       be64_load(b->buf);
	return 0;
}

/* Does the image have the old or the new bytes of the record in b->buf? */
static int check_record(struct back *b)
{
	uint64_t len = be64_load(b->buf + 8);
	uint64_t s;
	int r;

	if (!b->head.new_size)
		return note_saved(b);
	r = undo_log_sum_range(b->image, be64_load(b->buf), len, &s);
	if (r < 0)
		return err_set_sys(b->err, r, "cannot read the image");
	if (s != be64_load(b->buf + 24) &&
	    s != undo_log_sum(UNDO_SUM, b->buf + UNDO_RECORD, (size_t)len))
		return stale(b);
	return 0;
}

/* Where an interrupted repair has not been the image is as it was. */
static int check_samples(struct back *b)
{
	int r = 0;

	for (unsigned i = 0; i < UNDO_SAMPLES && r == 0; i++) {
		uint64_t s;

		if (b->saved[i])
			continue;
		r = undo_log_take_sample(b->image, b->head.old_size, i, &s);
		if (r < 0)
			return err_set_sys(b->err, r, "cannot read the image");
		r = s == b->head.sample[i] ? 0 : another(b);
	}
	return r;
}

static int put_record(struct back *b)
{
	int r = hostfile_pwrite_full(b->image, b->buf + UNDO_RECORD,
				     (size_t)be64_load(b->buf + 8),
				     be64_load(b->buf));

	return r < 0 ? err_set_sys(b->err, r, "cannot write the image") : 0;
}

static int each_record(struct back *b, int (*fn)(struct back *b))
{
	uint64_t at = UNDO_FIRST;
	int r;

	while ((r = next_record(b, &at)) == 0) {
		r = fn(b);
		if (r < 0)
			return r;
	}
	if (r != -ENODATA)
		return err_set_sys(b->err, r, "cannot read %s", b->log->name);
	b->records_end = at;
	/* once the repair has ended, no record is torn */
	if (b->head.new_size && at != NUM_MAX(b->log_end, UNDO_FIRST))
		return err_set(b->err, -EMEDIUMTYPE,
			       "%s is damaged; nothing is undone",
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
	if (r == 0 && !b->st.block_device && b->st.size > b->head.old_size) {
		r = hostfile_truncate(b->image, b->head.old_size);
		if (r == 0)
			r = hostfile_sync(b->image);
	}
	return r < 0 ? err_set_sys(b->err, r, "cannot make the old content durable")
		     : 0;
}

/* In the log: the repair has ended with NEW_SIZE and TAIL behind the old end, or
 * not. */
static int put_state(struct back *b, uint64_t new_size, uint64_t tail)
{
	struct undo_log_head h = b->head;
	int r;

	h.new_size = new_size;
	h.tail = tail;
	h.ino = undo_log_ino(&b->st);
	r = undo_log_put_head(b->log, &h);
	return r < 0 ? err_set_sys(b->err, r, "cannot write %s", b->log->name) : 0;
}

/* A repair that was interrupted has ended by being undone: from now on the image
 * is known by the old bytes of all records, without the one that was torn. */
static int put_end(struct back *b)
{
	int r;

	if (b->head.new_size)
		return put_state(b, b->head.new_size, b->head.tail);
	r = hostfile_truncate(b->log, b->records_end);
	if (r == 0)
		r = hostfile_sync(b->log);
	if (r < 0)
		return err_set_sys(b->err, r, "cannot write %s", b->log->name);
	return put_state(b, b->head.old_size, UNDO_SUM);
}

/* A crash may tear a block between old and new bytes, which then have neither
 * sum. So until all is back the log is that of an unfinished repair of this very
 * file, which is undone whatever the image holds. */
static int put_back(struct back *b)
{
	int r = b->head.new_size ? put_state(b, 0, b->head.tail) : 0;

	if (r == 0)
		r = put_all(b);
	return r == 0 ? put_end(b) : r;
}

int undo_apply(struct hostfile *image, struct hostfile *log, struct err *err)
{
	struct back b = { .image = image, .log = log, .err = err };
	int r = read_head(&b);

	if (r == 0)
		r = check_size(&b);
	if (r == 0)
		r = each_record(&b, check_record);
	if (r == 0 && !b.head.new_size)
		r = check_samples(&b);
	return r == 0 ? put_back(&b) : r;
}
