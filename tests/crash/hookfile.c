#include "hookfile.h"

#include <errno.h>
#include <stdlib.h>

struct ctx {
	const struct hookfile *hook;
	struct hostfile *in;
};

static ssize_t hook_pread(void *v, void *buf, size_t len, uint64_t off)
{
	struct ctx *c = v;

	if (c->hook->before_pread)
		c->hook->before_pread(c->hook->arg, len, off);
	return c->in->ops->pread(c->in->ctx, buf, len, off);
}

static ssize_t hook_pwrite(void *v, const void *buf, size_t len, uint64_t off)
{
	struct ctx *c = v;

	if (c->hook->before_pwrite)
		c->hook->before_pwrite(c->hook->arg, len, off);
	return c->in->ops->pwrite(c->in->ctx, buf, len, off);
}

static int hook_sync(void *v)
{
	struct ctx *c = v;

	return c->in->ops->sync(c->in->ctx);
}

static int hook_falloc(void *v, enum host_falloc mode, uint64_t off,
		       uint64_t len)
{
	struct ctx *c = v;

	return c->in->ops->falloc(c->in->ctx, mode, off, len);
}

static int hook_truncate(void *v, uint64_t size)
{
	struct ctx *c = v;

	return c->in->ops->truncate(c->in->ctx, size);
}

static int hook_stat(void *v, struct host_stat *st)
{
	struct ctx *c = v;

	return c->in->ops->stat(c->in->ctx, st);
}

static int64_t hook_seek(void *v, uint64_t off, enum host_seek what)
{
	struct ctx *c = v;

	return c->in->ops->seek(c->in->ctx, off, what);
}

static int hook_lock(void *v, enum host_lock what, uint64_t byte)
{
	struct ctx *c = v;

	return c->in->ops->lock(c->in->ctx, what, byte);
}

static void hook_close(void *v)
{
	struct ctx *c = v;

	hostfile_close(c->in);
	free(c);
}

int hookfile_wrap(const struct hookfile *hook, struct hostfile **out,
		  struct hostfile *inner)
{
	static const struct host_ops ops = {
		.pread = hook_pread,
		.pwrite = hook_pwrite,
		.sync = hook_sync,
		.falloc = hook_falloc,
		.truncate = hook_truncate,
		.stat = hook_stat,
		.seek = hook_seek,
		.lock = hook_lock,
		.close = hook_close,
	};
	struct ctx *c = malloc(sizeof(*c));
	int rc;

	if (!c)
		return -ENOMEM;
	*c = (struct ctx){ hook, inner };
	rc = hostfile_wrap(out, &ops, c, "hook", inner->writable);
	if (rc)
		free(c);
	return rc;
}
