/*
 * hostfile: loops, error classes and fall-backs above a table of operations.
 *
 * There is no state besides the struct's const fields, hence no lock: every
 * function may run in any number of threads at once, as far as the table's
 * operations may (all tables in this tree allow it). The buffer of zeroes is
 * never written.
 */
#include "core/host/hostfile.h"

#include <errno.h>
#include <libgen.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "core/host/hostopen.h"
#include "core/host/hostops_posix.h"

/* Up to here one write of zeroes is cheaper than an extent operation, and
 * leaves one extent less behind. */
#define ZERO_BY_WRITE_MAX (64U << 10)
#define ZEROES_LEN (256U << 10)
#define EINTR_MAX 1000

/* Not const, to lie in .bss: costs neither file nor memory. */
static unsigned char zeroes[ZEROES_LEN];

int hostfile_wrap(struct hostfile **out, const struct host_ops *ops, void *ctx,
		  const char *name, bool writable)
{
	autofree struct hostfile *f = mem_array(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->name = strdup(name);
	if (!f->name)
		return -ENOMEM;
	f->ops = ops;
	f->ctx = ctx;
	f->writable = writable;
	*out = mem_steal(&f);
	return 0;
}

int hostfile_open(struct hostfile **out, int dirfd, const char *path,
		  unsigned flags, struct err *err)
{
	void *ctx = NULL;
	int ret;

	ret = hostops_posix_open(&ctx, dirfd, path, flags, err);
	if (ret < 0)
		return ret;
	ret = hostfile_wrap(out, &hostops_posix_table, ctx, path,
			    flags & HOSTFILE_RDWR);
	if (ret < 0) {
		hostops_posix_table.close(ctx);
		return err_set_sys(err, ret, "cannot open '%s'", path);
	}
	return 0;
}

int hostfile_open_folder(int *dirfd, const char *file_name, struct err *err)
{
	autofree char *copy = strdup(file_name);

	if (!copy)
		return err_set_sys(err, -ENOMEM, "cannot open");
	return hostopen_folder(dirfd, dirname(copy), err);
}

void hostfile_close(struct hostfile *f)
{
	if (!f)
		return;
	f->ops->close(f->ctx);
	free(f->name);
	free(f);
}

int hostfile_fd(const struct hostfile *f)
{
	return f->ops == &hostops_posix_table ? hostops_posix_fd(f->ctx) : -1;
}

static bool range_ok(uint64_t off, uint64_t len)
{
	return num_range_inside(off, len, INT64_MAX);
}

/* One name for "no room", whichever limit was hit. A damaged file system says
 * EUCLEAN, which is no word about the image. */
static int classify(int code)
{
	if (code == -EUCLEAN)
		return -EIO;
	return code == -EDQUOT || code == -EFBIG ? -ENOSPC : code;
}

/* After an empty read at OFF: 0 for the end of the file, 1 if there is more by
 * now, since another thread's write may have made it longer. */
static int has_more(struct hostfile *f, uint64_t off)
{
	struct host_stat st;
	int ret = hostfile_stat(f, &st);

	return ret < 0 ? ret : off < st.size;
}

int hostfile_pread(struct hostfile *f, void *buf, size_t len, uint64_t off,
		   size_t *got)
{
	unsigned char *p = buf;
	bool was_empty = false;
	size_t done = 0;

	if (!range_ok(off, len))
		return -EINVAL;
	while (done < len) {
		ssize_t n = f->ops->pread(f->ctx, p + done, len - done,
					  off + done);

		if (n == -EINTR)
			continue;
		if (n < 0)
			return classify((int)n);
		if (n == 0) {
			int more = has_more(f, off + done);

			/* empty again inside the file: the host lost it */
			if (more < 0 || (more && was_empty))
				return more < 0 ? more : -EIO;
			if (!more)
				break;
		}
		was_empty = n == 0;
		done += (size_t)n;
	}
	if (done < len)
		memset(p + done, 0, len - done);
	if (got)
		*got = done;
	return 0;
}

int hostfile_pread_full(struct hostfile *f, void *buf, size_t len, uint64_t off)
{
	size_t got;
	int ret = hostfile_pread(f, buf, len, off, &got);

	if (ret < 0)
		return ret;
	return got == len ? 0 : -EIO;
}

int hostfile_pread_units(struct hostfile *f, void *buf, size_t len,
			 uint64_t off, uint64_t unit)
{
	size_t got;
	int ret = hostfile_pread(f, buf, len, off, &got);

	if (ret < 0 || got == len)
		return ret;
	ret = has_more(f, num_round_down(off + len - 1, unit));
	return ret == 0 ? -EIO : NUM_MIN(ret, 0);
}

int hostfile_pwrite_full(struct hostfile *f, const void *buf, size_t len,
			 uint64_t off)
{
	const unsigned char *p = buf;
	size_t done = 0;

	if (!f->writable)
		return -EROFS;
	if (!range_ok(off, len))
		return -ENOSPC;
	while (done < len) {
		ssize_t n = f->ops->pwrite(f->ctx, p + done, len - done,
					   off + done);

		if (n == -EINTR)
			continue;
		if (n < 0)
			return classify((int)n);
		if (n == 0)
			return -EIO;
		done += (size_t)n;
	}
	return 0;
}

int hostfile_sync(struct hostfile *f)
{
	int ret;

	/* Interrupted is not failed: nothing was lost yet. */
	do {
		ret = f->ops->sync(f->ctx);
	} while (ret == -EINTR);
	return classify(ret);
}

static int falloc(struct hostfile *f, enum host_falloc mode, uint64_t off,
		  uint64_t len)
{
	int ret;

	if (!f->writable)
		return -EROFS;
	if (!range_ok(off, len))
		return -ENOSPC;
	if (!len)
		return 0;
	/* A file system may restart a long allocation for ever under a timer's
	 * signals; then say that it does not work. */
	for (int i = 0; i < EINTR_MAX; i++) {
		ret = f->ops->falloc(f->ctx, mode, off, len);
		if (ret != -EINTR)
			return classify(ret);
	}
	return -EOPNOTSUPP;
}

static int write_zeroes(struct hostfile *f, uint64_t off, uint64_t len)
{
	while (len) {
		size_t n = (size_t)NUM_MIN(len, (uint64_t)ZEROES_LEN);
		int ret = hostfile_pwrite_full(f, zeroes, n, off);

		if (ret < 0)
			return ret;
		off += n;
		len -= n;
	}
	return 0;
}

int hostfile_zero(struct hostfile *f, uint64_t off, uint64_t len)
{
	int ret = -EOPNOTSUPP;

	if (!f->writable)
		return -EROFS;
	if (!range_ok(off, len))
		return -ENOSPC;
	if (len > ZERO_BY_WRITE_MAX)
		ret = falloc(f, HOST_FALLOC_ZERO, off, len);
	if (ret == -EOPNOTSUPP)
		ret = write_zeroes(f, off, len);
	return ret;
}

int hostfile_punch(struct hostfile *f, uint64_t off, uint64_t len)
{
	return falloc(f, HOST_FALLOC_PUNCH, off, len);
}

int hostfile_allocate(struct hostfile *f, uint64_t off, uint64_t len)
{
	return falloc(f, HOST_FALLOC_ALLOCATE, off, len);
}

int hostfile_truncate(struct hostfile *f, uint64_t size)
{
	int ret;

	if (!f->writable)
		return -EROFS;
	if (size > INT64_MAX)
		return -ENOSPC;
	do {
		ret = f->ops->truncate(f->ctx, size);
	} while (ret == -EINTR);
	return classify(ret);
}

int hostfile_stat(struct hostfile *f, struct host_stat *st)
{
	int ret;

	do {
		ret = f->ops->stat(f->ctx, st);
	} while (ret == -EINTR);
	return classify(ret);
}

/* -ENXIO from either seek: nothing but a hole up to the end of the file. */
static int find_extent(struct hostfile *f, uint64_t off, uint64_t size,
		       bool *data, uint64_t *end)
{
	int64_t at = f->ops->seek(f->ctx, off, HOST_SEEK_DATA);

	*data = false;
	*end = size;
	if (at == -ENXIO)
		return 0;
	if (at >= 0 && (uint64_t)at > off) {
		*end = NUM_MIN((uint64_t)at, size);
		return 0;
	}
	*data = true;
	if (at >= 0)
		at = f->ops->seek(f->ctx, off, HOST_SEEK_HOLE);
	if (at == -EOPNOTSUPP || at == -ENXIO)
		return 0;
	if (at < 0)
		return classify((int)at);
	if ((uint64_t)at > off)
		*end = NUM_MIN((uint64_t)at, size);
	return 0;
}

int hostfile_next_extent(struct hostfile *f, uint64_t off, bool *data,
			 uint64_t *end)
{
	struct host_stat st;
	int ret = hostfile_stat(f, &st);

	if (ret < 0)
		return ret;
	if (off >= st.size)
		return -ENXIO;
	return find_extent(f, off, st.size, data, end);
}

bool hostfile_is_hole(struct hostfile *f, uint64_t off, uint64_t len)
{
	uint64_t end;
	bool data;

	return hostfile_next_extent(f, off, &data, &end) == 0 && !data &&
	       end - off >= len;
}
