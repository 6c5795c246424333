/*
 * hostrecord: the log is an array of pointers to entries, so that entries do
 * not move while the array grows.
 *
 * Locks: r->lock guards the log. Changes hold it across the inner call (see the
 * header); reads, syncs, stats and seeks do not, so that a sync can overlap
 * with writes, as it does in life.
 */
#include "lib/hostrecord.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "lib/hostmem.h"

struct hostrecord {
	pthread_mutex_t lock;
	struct hostrecord_entry **entry;
	size_t len, cap;
	pthread_t *thread;
	size_t threads, threads_cap;
};

struct record_file {
	struct hostrecord *log;
	struct hostfile *inner;
	unsigned file;
};

struct hostrecord *hostrecord_new(void)
{
	struct hostrecord *r = mem_array(1, sizeof(*r));

	if (r)
		pthread_mutex_init(&r->lock, NULL);
	return r;
}

static void free_entries(struct hostrecord *r)
{
	for (size_t i = 0; i < r->len; i++)
		free(r->entry[i]);
	r->len = 0;
}

void hostrecord_free(struct hostrecord *r)
{
	if (!r)
		return;
	free_entries(r);
	free(r->entry);
	free(r->thread);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

void hostrecord_clear(struct hostrecord *r)
{
	pthread_mutex_lock(&r->lock);
	free_entries(r);
	pthread_mutex_unlock(&r->lock);
}

/* --- appending ------------------------------------------------------------*/

/* A test that cannot log has no result; there is no way to go on. */
static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

static unsigned thread_number(struct hostrecord *r)
{
	pthread_t self = pthread_self();
	size_t i;

	for (i = 0; i < r->threads; i++) {
		if (pthread_equal(r->thread[i], self))
			return (unsigned)i;
	}
	if (mem_grow(&r->thread, &r->threads_cap, i + 1, sizeof(*r->thread)))
		abort();
	r->thread[i] = self;
	r->threads++;
	return (unsigned)i;
}

/* The data follows the entry in one allocation. */
static uint64_t append_locked(struct hostrecord *r,
			      const struct hostrecord_entry *from,
			      const void *data)
{
	size_t extra = data ? (size_t)from->len : 0;
	struct hostrecord_entry *e = must(malloc(sizeof(*e) + extra));

	*e = *from;
	e->seq = r->len;
	e->thread = thread_number(r);
	e->data = NULL;
	if (data) {
		e->data = (unsigned char *)(e + 1);
		memcpy(e + 1, data, extra);
	}
	if (mem_grow(&r->entry, &r->cap, r->len + 1, sizeof(struct hostrecord_entry *)))
		abort();
	r->entry[r->len++] = e;
	return e->seq;
}

static uint64_t append(struct hostrecord *r, const struct hostrecord_entry *e)
{
	uint64_t seq;

	pthread_mutex_lock(&r->lock);
	seq = append_locked(r, e, NULL);
	pthread_mutex_unlock(&r->lock);
	return seq;
}

uint64_t hostrecord_mark(struct hostrecord *r, int kind, uint64_t a, uint64_t b)
{
	struct hostrecord_entry e = {
		.op = HOSTRECORD_MARK, .kind = kind, .a = a, .b = b,
	};

	return append(r, &e);
}

uint64_t hostrecord_len(struct hostrecord *r)
{
	uint64_t n;

	pthread_mutex_lock(&r->lock);
	n = r->len;
	pthread_mutex_unlock(&r->lock);
	return n;
}

void hostrecord_get(struct hostrecord *r, uint64_t seq,
		    struct hostrecord_entry *e)
{
	pthread_mutex_lock(&r->lock);
	assert(seq < r->len);
	*e = *r->entry[seq];
	pthread_mutex_unlock(&r->lock);
}

int hostrecord_apply(const struct hostrecord_entry *e, struct hostmem *m)
{
	uint64_t size = hostmem_size(m);

	if (e->result < 0)
		return 0;
	switch (e->op) {
	case HOSTRECORD_WRITE:
		return hostmem_write(m, e->data, (size_t)e->len, e->off);
	case HOSTRECORD_ZERO:
		return hostmem_zero(m, e->off, e->len);
	case HOSTRECORD_PUNCH:
		if (e->off >= size)
			return 0;
		return hostmem_zero(m, e->off, e->len < size - e->off ?
						       e->len :
						       size - e->off);
	case HOSTRECORD_ALLOCATE:
		return e->off + e->len > size ?
			       hostmem_resize(m, e->off + e->len) :
			       0;
	case HOSTRECORD_TRUNCATE:
		return hostmem_resize(m, e->len);
	case HOSTRECORD_SYNC_BEGIN:
	case HOSTRECORD_SYNC_END:
	case HOSTRECORD_MARK:
		break;
	}
	return 0;
}

/* --- the table ------------------------------------------------------------*/

static ssize_t record_pread(void *ctx, void *buf, size_t len, uint64_t off)
{
	struct record_file *rf = ctx;

	return rf->inner->ops->pread(rf->inner->ctx, buf, len, off);
}

static ssize_t record_pwrite(void *ctx, const void *buf, size_t len,
			     uint64_t off)
{
	struct record_file *rf = ctx;
	struct hostrecord_entry e = {
		.op = HOSTRECORD_WRITE, .file = rf->file, .off = off,
		.len = len,
	};
	ssize_t n;

	pthread_mutex_lock(&rf->log->lock);
	n = rf->inner->ops->pwrite(rf->inner->ctx, buf, len, off);
	if (n < 0)
		e.result = (int)n;
	else
		e.len = (uint64_t)n;
	if (n != -EINTR)
		append_locked(rf->log, &e, buf);
	pthread_mutex_unlock(&rf->log->lock);
	return n;
}

static int record_sync(void *ctx)
{
	struct record_file *rf = ctx;
	struct hostrecord_entry e = { .op = HOSTRECORD_SYNC_BEGIN,
				      .file = rf->file };

	e.pair = append(rf->log, &e);
	e.op = HOSTRECORD_SYNC_END;
	e.result = rf->inner->ops->sync(rf->inner->ctx);
	append(rf->log, &e);
	return e.result;
}

static int record_falloc(void *ctx, enum host_falloc mode, uint64_t off,
			 uint64_t len)
{
	static const enum hostrecord_op ops[] = {
		[HOST_FALLOC_ALLOCATE] = HOSTRECORD_ALLOCATE,
		[HOST_FALLOC_ZERO] = HOSTRECORD_ZERO,
		[HOST_FALLOC_PUNCH] = HOSTRECORD_PUNCH,
	};
	struct record_file *rf = ctx;
	struct hostrecord_entry e = { .op = ops[mode], .file = rf->file,
				      .off = off, .len = len };

	pthread_mutex_lock(&rf->log->lock);
	e.result = rf->inner->ops->falloc(rf->inner->ctx, mode, off, len);
	if (e.result != -EOPNOTSUPP && e.result != -EINTR)
		append_locked(rf->log, &e, NULL);
	pthread_mutex_unlock(&rf->log->lock);
	return e.result;
}

static int record_truncate(void *ctx, uint64_t size)
{
	struct record_file *rf = ctx;
	struct hostrecord_entry e = { .op = HOSTRECORD_TRUNCATE,
				      .file = rf->file, .len = size };

	pthread_mutex_lock(&rf->log->lock);
	e.result = rf->inner->ops->truncate(rf->inner->ctx, size);
	if (e.result != -EINTR)
		append_locked(rf->log, &e, NULL);
	pthread_mutex_unlock(&rf->log->lock);
	return e.result;
}

static int record_stat(void *ctx, struct host_stat *st)
{
	struct record_file *rf = ctx;

	return rf->inner->ops->stat(rf->inner->ctx, st);
}

static int64_t record_seek(void *ctx, uint64_t off, enum host_seek what)
{
	struct record_file *rf = ctx;

	return rf->inner->ops->seek(rf->inner->ctx, off, what);
}

static int record_lock(void *ctx, enum host_lock what, uint64_t byte)
{
	struct record_file *rf = ctx;

	return rf->inner->ops->lock(rf->inner->ctx, what, byte);
}

static void record_close(void *ctx)
{
	struct record_file *rf = ctx;

	hostfile_close(rf->inner);
	free(rf);
}

static const struct host_ops record_ops = {
	.pread = record_pread,
	.pwrite = record_pwrite,
	.sync = record_sync,
	.falloc = record_falloc,
	.truncate = record_truncate,
	.stat = record_stat,
	.seek = record_seek,
	.lock = record_lock,
	.close = record_close,
};

int hostrecord_wrap(struct hostrecord *r, struct hostfile **out,
		    struct hostfile *inner)
{
	return hostrecord_wrap_as(r, out, inner, 0);
}

int hostrecord_wrap_as(struct hostrecord *r, struct hostfile **out,
		       struct hostfile *inner, unsigned file)
{
	autofree struct record_file *rf = mem_array(1, sizeof(*rf));
	int ret;

	if (!rf)
		return -ENOMEM;
	rf->log = r;
	rf->inner = inner;
	rf->file = file;
	ret = hostfile_wrap(out, &record_ops, rf, inner->name, inner->writable);
	if (ret == 0)
		rf = NULL;
	return ret;
}
