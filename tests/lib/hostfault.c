/*
 * hostfault: one decision before each call.
 *
 * Locks: h->lock guards the rule and the counters, and is not held during the
 * inner call.
 */
#include "lib/hostfault.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/num.h"

struct hostfault {
	pthread_mutex_t lock;
	bool armed;
	struct hostfault_rule rule;
	uint64_t calls, hits;
	uint64_t limit;
};

struct fault_file {
	struct hostfault *h;
	struct hostfile *inner;
};

struct hostfault *hostfault_new(void)
{
	struct hostfault *h = mem_array(1, sizeof(*h));

	if (!h)
		return NULL;
	pthread_mutex_init(&h->lock, NULL);
	h->limit = UINT64_MAX;
	return h;
}

void hostfault_free(struct hostfault *h)
{
	if (!h)
		return;
	pthread_mutex_destroy(&h->lock);
	free(h);
}

void hostfault_set(struct hostfault *h, const struct hostfault_rule *rule)
{
	pthread_mutex_lock(&h->lock);
	h->armed = rule != NULL;
	if (rule)
		h->rule = *rule;
	h->calls = 0;
	h->hits = 0;
	pthread_mutex_unlock(&h->lock);
}

void hostfault_limit(struct hostfault *h, uint64_t limit)
{
	pthread_mutex_lock(&h->lock);
	h->limit = limit;
	pthread_mutex_unlock(&h->lock);
}

uint64_t hostfault_hits(struct hostfault *h)
{
	uint64_t n;

	pthread_mutex_lock(&h->lock);
	n = h->hits;
	pthread_mutex_unlock(&h->lock);
	return n;
}

uint64_t hostfault_calls(struct hostfault *h)
{
	uint64_t n;

	pthread_mutex_lock(&h->lock);
	n = h->calls;
	pthread_mutex_unlock(&h->lock);
	return n;
}

/* Is this call of OP to be hit? *RULE is what to do to it. */
static bool hit(struct hostfault *h, enum hostfault_op op,
		struct hostfault_rule *rule)
{
	bool yes = false;

	pthread_mutex_lock(&h->lock);
	*rule = h->rule;
	if (h->armed && (h->rule.ops & op)) {
		uint64_t n = h->calls++;

		yes = n >= h->rule.skip && n - h->rule.skip < h->rule.repeat;
		h->hits += yes;
	}
	pthread_mutex_unlock(&h->lock);
	return yes;
}

static uint64_t size_limit(struct hostfault *h)
{
	uint64_t limit;

	pthread_mutex_lock(&h->lock);
	limit = h->limit;
	pthread_mutex_unlock(&h->lock);
	return limit;
}

/* --- the table ------------------------------------------------------------*/

/* Bytes of a sector reach the disk together: a torn write ends between two. */
static size_t torn(size_t len, uint64_t off)
{
	uint64_t end = num_round_down(off + len / 2, 512);

	return end > off ? (size_t)(end - off) : 0;
}

static size_t shorten(const struct hostfault_rule *r, size_t len, uint64_t off)
{
	switch (r->kind) {
	case HOSTFAULT_SHORT_ONE:
		return len ? 1 : 0;
	case HOSTFAULT_TORN:
		return torn(len, off);
	case HOSTFAULT_SHORT_HALF:
		return (len + 1) / 2;
	case HOSTFAULT_ERROR:
	case HOSTFAULT_ERROR_LATE:
	case HOSTFAULT_EMPTY:
		break;
	}
	return len;
}

static bool fails_after(const struct hostfault_rule *r)
{
	return r->kind == HOSTFAULT_ERROR_LATE || r->kind == HOSTFAULT_TORN;
}

static ssize_t fault_pread(void *ctx, void *buf, size_t len, uint64_t off)
{
	struct fault_file *ff = ctx;
	struct hostfault_rule r;
	bool yes = hit(ff->h, HOSTFAULT_PREAD, &r);
	ssize_t n;

	if (yes && r.kind == HOSTFAULT_ERROR)
		return r.error;
	if (yes && r.kind == HOSTFAULT_EMPTY)
		return 0;
	if (yes)
		len = shorten(&r, len, off);
	n = ff->inner->ops->pread(ff->inner->ctx, buf, len, off);
	return yes && fails_after(&r) ? r.error : n;
}

static ssize_t fault_pwrite(void *ctx, const void *buf, size_t len,
			    uint64_t off)
{
	struct fault_file *ff = ctx;
	uint64_t limit = size_limit(ff->h);
	struct hostfault_rule r;
	bool yes = hit(ff->h, HOSTFAULT_PWRITE, &r);
	ssize_t n;

	if (yes && r.kind == HOSTFAULT_ERROR)
		return r.error;
	if (yes && r.kind == HOSTFAULT_EMPTY)
		return 0;
	if (yes)
		len = shorten(&r, len, off);
	if (len && off >= limit)
		return -ENOSPC;
	if (off < limit && len > limit - off)
		len = (size_t)(limit - off);
	n = ff->inner->ops->pwrite(ff->inner->ctx, buf, len, off);
	return yes && fails_after(&r) ? r.error : n;
}

static int fault_sync(void *ctx)
{
	struct fault_file *ff = ctx;
	struct hostfault_rule r;
	bool yes = hit(ff->h, HOSTFAULT_SYNC, &r);
	int ret;

	if (yes && r.kind == HOSTFAULT_ERROR)
		return r.error;
	ret = ff->inner->ops->sync(ff->inner->ctx);
	return yes && fails_after(&r) ? r.error : ret;
}

static int fault_falloc(void *ctx, enum host_falloc mode, uint64_t off,
			uint64_t len)
{
	struct fault_file *ff = ctx;
	uint64_t limit = size_limit(ff->h);
	struct hostfault_rule r;
	bool yes = hit(ff->h, HOSTFAULT_FALLOC, &r);
	int ret;

	if (yes && r.kind == HOSTFAULT_ERROR)
		return r.error;
	if (mode != HOST_FALLOC_PUNCH && (off > limit || len > limit - off))
		return -ENOSPC;
	ret = ff->inner->ops->falloc(ff->inner->ctx, mode, off, len);
	return yes && fails_after(&r) ? r.error : ret;
}

static int fault_truncate(void *ctx, uint64_t size)
{
	struct fault_file *ff = ctx;
	struct hostfault_rule r;
	bool yes = hit(ff->h, HOSTFAULT_TRUNCATE, &r);
	int ret;

	if (yes && r.kind == HOSTFAULT_ERROR)
		return r.error;
	if (size > size_limit(ff->h))
		return -ENOSPC;
	ret = ff->inner->ops->truncate(ff->inner->ctx, size);
	return yes && fails_after(&r) ? r.error : ret;
}

static int fault_stat(void *ctx, struct host_stat *st)
{
	struct fault_file *ff = ctx;
	struct hostfault_rule r;

	if (hit(ff->h, HOSTFAULT_STAT, &r))
		return r.error;
	return ff->inner->ops->stat(ff->inner->ctx, st);
}

static int64_t fault_seek(void *ctx, uint64_t off, enum host_seek what)
{
	struct fault_file *ff = ctx;
	struct hostfault_rule r;

	if (hit(ff->h, HOSTFAULT_SEEK, &r))
		return r.error;
	return ff->inner->ops->seek(ff->inner->ctx, off, what);
}

static int fault_lock(void *ctx, enum host_lock what, uint64_t byte)
{
	struct fault_file *ff = ctx;
	struct hostfault_rule r;

	if (hit(ff->h, HOSTFAULT_LOCK, &r))
		return r.error;
	return ff->inner->ops->lock(ff->inner->ctx, what, byte);
}

static void fault_close(void *ctx)
{
	struct fault_file *ff = ctx;

	hostfile_close(ff->inner);
	free(ff);
}

static const struct host_ops fault_ops = {
	.pread = fault_pread,
	.pwrite = fault_pwrite,
	.sync = fault_sync,
	.falloc = fault_falloc,
	.truncate = fault_truncate,
	.stat = fault_stat,
	.seek = fault_seek,
	.lock = fault_lock,
	.close = fault_close,
};

int hostfault_wrap(struct hostfault *h, struct hostfile **out,
		   struct hostfile *inner)
{
	autofree struct fault_file *ff = mem_array(1, sizeof(*ff));
	int ret;

	if (!ff)
		return -ENOMEM;
	ff->h = h;
	ff->inner = inner;
	ret = hostfile_wrap(out, &fault_ops, ff, inner->name, inner->writable);
	if (ret == 0)
		ff = NULL;
	return ret;
}
