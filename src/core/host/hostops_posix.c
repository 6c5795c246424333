/*
 * hostops_posix: files of the host through system calls.
 *
 * Threads and locks: fd and block_device are const after open; system calls
 * take no lock of ours, and the file position is never used (SEEK_DATA and
 * SEEK_HOLE move it, but nobody reads it). The no_falloc flags are atomics and
 * only go from false to true; a thread that reads a stale value makes one
 * needless system call.
 */
#include "core/host/hostops_posix.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "core/host/hostopen.h"

#define FALLOC_MODES 3

struct posix_file {
	int fd;
	bool block_device;
	atomic_bool no_falloc[FALLOC_MODES];
};

static ssize_t posix_pread(void *ctx, void *buf, size_t len, uint64_t off)
{
	struct posix_file *p = ctx;
	ssize_t n = pread(p->fd, buf, len, (off_t)off);

	return n < 0 ? -errno : n;
}

static ssize_t posix_pwrite(void *ctx, const void *buf, size_t len,
			    uint64_t off)
{
	struct posix_file *p = ctx;
	ssize_t n = pwrite(p->fd, buf, len, (off_t)off);

	return n < 0 ? -errno : n;
}

static int posix_sync(void *ctx)
{
	struct posix_file *p = ctx;

	return fdatasync(p->fd) < 0 ? -errno : 0;
}

static int falloc_flags(enum host_falloc mode)
{
	switch (mode) {
	case HOST_FALLOC_ALLOCATE:
		return 0;
	case HOST_FALLOC_ZERO:
		return FALLOC_FL_ZERO_RANGE;
	case HOST_FALLOC_PUNCH:
		break;
	}
	return FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
}

/*
 * "Never works here" is remembered; -EINVAL and the like may be about this
 * range only (a block device wants aligned ones), so those are just passed on
 * as "not this time".
 */
static int posix_falloc(void *ctx, enum host_falloc mode, uint64_t off,
			uint64_t len)
{
	struct posix_file *p = ctx;
	atomic_bool *never = &p->no_falloc[mode];

	if (atomic_load_explicit(never, memory_order_relaxed))
		return -EOPNOTSUPP;
	if (fallocate(p->fd, falloc_flags(mode), (off_t)off, (off_t)len) == 0)
		return 0;
	switch (errno) {
	case EOPNOTSUPP:
	case ENOSYS:
	case ENOTTY:
		atomic_store_explicit(never, true, memory_order_relaxed);
		return -EOPNOTSUPP;
	case EINVAL:
	case EPERM:
	case ENODEV:
		return -EOPNOTSUPP;
	default:
		return -errno;
	}
}

static int posix_truncate(void *ctx, uint64_t size)
{
	struct posix_file *p = ctx;

	return ftruncate(p->fd, (off_t)size) < 0 ? -errno : 0;
}

static int posix_stat(void *ctx, struct host_stat *out)
{
	struct posix_file *p = ctx;
	struct stat st;

	if (fstat(p->fd, &st) < 0)
		return -errno;
	*out = (struct host_stat){
		.size = (uint64_t)st.st_size,
		.blocks = (uint64_t)st.st_blocks,
		.dev = st.st_dev,
		.ino = st.st_ino,
		.mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 +
			    st.st_mtim.tv_nsec,
		.block_device = p->block_device,
	};
	if (!p->block_device)
		return 0;
	if (ioctl(p->fd, BLKGETSIZE64, &out->size) < 0)
		return -errno;
	out->blocks = out->size / 512;
	return 0;
}

static int64_t posix_seek(void *ctx, uint64_t off, enum host_seek what)
{
	struct posix_file *p = ctx;
	off_t at = lseek(p->fd, (off_t)off,
			 what == HOST_SEEK_DATA ? SEEK_DATA : SEEK_HOLE);

	if (at >= 0)
		return at;
	return errno == EINVAL ? -EOPNOTSUPP : -errno;
}

static int lock_error(int code)
{
	switch (code) {
	case EAGAIN:
	case EACCES:
		return -EAGAIN;
	case EINVAL:
	case ENOSYS:
	case ENOLCK:
		return -EOPNOTSUPP;
	default:
		return -code;
	}
}

static int posix_lock(void *ctx, enum host_lock what, uint64_t byte)
{
	struct posix_file *p = ctx;
	struct flock fl = {
		.l_whence = SEEK_SET,
		.l_start = (off_t)byte,
		.l_len = 1,
	};
	int cmd = F_OFD_SETLK;

	switch (what) {
	case HOST_LOCK_SHARED:
		fl.l_type = F_RDLCK;
		break;
	case HOST_LOCK_UNLOCK:
		fl.l_type = F_UNLCK;
		break;
	case HOST_LOCK_TEST:
		fl.l_type = F_WRLCK;
		cmd = F_OFD_GETLK;
		break;
	}
	if (fcntl(p->fd, cmd, &fl) < 0)
		return lock_error(errno);
	if (what == HOST_LOCK_TEST && fl.l_type != F_UNLCK)
		return -EAGAIN;
	return 0;
}

static void posix_close(void *ctx)
{
	struct posix_file *p = ctx;

	close(p->fd);
	free(p);
}

const struct host_ops hostops_posix_table = {
	.pread = posix_pread,
	.pwrite = posix_pwrite,
	.sync = posix_sync,
	.falloc = posix_falloc,
	.truncate = posix_truncate,
	.stat = posix_stat,
	.seek = posix_seek,
	.lock = posix_lock,
	.close = posix_close,
};

int hostops_posix_open(void **ctx, int dirfd, const char *path, unsigned flags,
		       struct err *err)
{
	autofree struct posix_file *p = mem_array(1, sizeof(*p));

	if (!p)
		return err_set_sys(err, -ENOMEM, "cannot open a file");
	p->fd = hostopen_file(dirfd, path, flags, &p->block_device, err);
	if (p->fd < 0)
		return p->fd;
	*ctx = mem_steal(&p);
	return 0;
}

int hostops_posix_fd(const void *ctx)
{
	const struct posix_file *p = ctx;

	return p->fd;
}
