/*
 * hostops_posix: files of the host through system calls.
 *
 * Opening goes in two steps, because the open itself of a FIFO, a tty or a
 * device can block or have effects: an O_PATH descriptor is checked with
 * fstat, then that very file is opened for use. With HOSTFILE_BENEATH the
 * kernel does the containment (openat2), so no symlink can be swapped in
 * between.
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
#include <linux/openat2.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"

#define NAME_TEXT_MAX 320 /* leaves room for the sentence in struct err */
#define FALLOC_MODES 3

struct posix_file {
	int fd;
	bool block_device;
	atomic_bool no_falloc[FALLOC_MODES];
};

/* --- opening --------------------------------------------------------------*/

/* Not 0 to 2: a later message to stderr must never land in an image. */
static int fd_above_stdio(int fd)
{
	int up;

	if (fd < 0)
		return -errno;
	if (fd > STDERR_FILENO)
		return fd;
	up = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (up < 0)
		up = -errno;
	close(fd);
	return up;
}

static int open_plain(int dirfd, const char *path, int how)
{
	return fd_above_stdio(openat(dirfd, path, how | O_CLOEXEC, 0666));
}

static int open_beneath(int dirfd, const char *path, int how)
{
	struct open_how oh = {
		.flags = (unsigned)(how | O_CLOEXEC),
		.mode = how & O_CREAT ? 0666 : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	long fd;

	/* -EAGAIN: something was renamed during the walk. */
	for (int i = 0; i < 100; i++) {
		fd = syscall(SYS_openat2, dirfd, path, &oh, sizeof(oh));
		if (fd >= 0 || errno != EAGAIN)
			break;
	}
	return fd_above_stdio((int)fd);
}

static int proc_path_of(int fd, char *buf, size_t size)
{
	char link[32];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, buf, size - 1);
	if (n < 0)
		return -errno;
	if ((size_t)n == size - 1)
		return -ENAMETOOLONG;
	buf[n] = '\0';
	return 0;
}

/*
 * An absolute name is fine when it leads below the folder: find out where it
 * leads, and reach that place again from the folder, with the kernel's check.
 */
static int open_absolute_beneath(int dirfd, const char *path, int how)
{
	autofree char *dir = malloc(PATH_MAX);
	autofree char *full = malloc(PATH_MAX);
	size_t n;
	int ret;
	int fd;

	if (!dir || !full)
		return -ENOMEM;
	fd = open_plain(AT_FDCWD, path, O_PATH);
	if (fd < 0)
		return fd;
	ret = proc_path_of(fd, full, PATH_MAX);
	close(fd);
	if (ret == 0)
		ret = proc_path_of(dirfd, dir, PATH_MAX);
	if (ret < 0)
		return ret;
	n = strcmp(dir, "/") ? strlen(dir) : 0;
	if (strncmp(full, dir, n) || full[n] != '/' || !full[n + 1])
		return -EXDEV;
	return open_beneath(dirfd, full + n + 1, how);
}

static int open_name(int dirfd, const char *path, int how, unsigned flags)
{
	if (!(flags & HOSTFILE_BENEATH))
		return open_plain(dirfd, path, how);
	if (path[0] == '/')
		return open_absolute_beneath(dirfd, path, how);
	return open_beneath(dirfd, path, how);
}

static const char *kind_name(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return "a folder";
	case S_IFIFO:
		return "a FIFO";
	case S_IFSOCK:
		return "a socket";
	case S_IFCHR:
		return "a character device";
	case S_IFBLK:
		return "a block device";
	default:
		return "something else";
	}
}

static int check_kind(const struct stat *st, unsigned flags, const char *name,
		      struct err *err)
{
	if (S_ISREG(st->st_mode))
		return 0;
	if (S_ISBLK(st->st_mode) && (flags & HOSTFILE_BLKDEV_OK))
		return 0;
	return err_set(err, -EMEDIUMTYPE, "'%s' is %s, not a regular file",
		       name, kind_name(st->st_mode));
}

static int explain_open(int code, const char *name, unsigned flags,
			struct err *err)
{
	bool write = flags & HOSTFILE_RDWR;

	switch (-code) {
	case ENOENT:
		return err_set(err, code, "'%s' does not exist", name);
	case EACCES:
	case EPERM:
		if (write && !(flags & HOSTFILE_CREATE))
			return err_set(err, code,
				       "no permission to write '%s'; with "
				       "-o ro it is opened read-only",
				       name);
		return err_set(err, code, "no permission to %s '%s'",
			       write ? "create" : "read", name);
	case EROFS:
		return err_set(err, code,
			       "'%s' is on a read-only filesystem; with -o ro "
			       "it is opened read-only",
			       name);
	case EXDEV:
		return err_set(err, code,
			       "'%s' is outside the folder of the image",
			       name);
	case ENOSYS:
		return err_set(err, code,
			       "cannot check that '%s' stays in its folder: "
			       "this kernel has no openat2 (Linux 5.6 or later)",
			       name);
	default:
		return err_set_sys(err, code, "cannot open '%s'", name);
	}
}

static int same_file(int fd, const struct stat *want)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_dev != want->st_dev || st.st_ino != want->st_ino)
		return -ESTALE;
	return 0;
}

/* Open for use the file that PFD (O_PATH) refers to. */
static int reopen(int pfd, const struct stat *st, int dirfd, const char *path,
		  int how, unsigned flags)
{
	char link[32];
	int ret;
	int fd;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", pfd);
	fd = open_plain(AT_FDCWD, link, how);
	if (fd == -ENOENT || fd == -ENOTDIR) /* no /proc here */
		fd = open_name(dirfd, path, how, flags);
	if (fd < 0)
		return fd;
	ret = same_file(fd, st);
	if (ret < 0) {
		close(fd);
		return ret;
	}
	return fd;
}

static int open_existing(int dirfd, const char *path, unsigned flags,
			 const char *name, struct err *err)
{
	int how = O_NONBLOCK | O_NOCTTY;
	struct stat st;
	int pfd;
	int fd;

	how |= flags & HOSTFILE_RDWR ? O_RDWR : O_RDONLY;
	pfd = open_name(dirfd, path, O_PATH, flags);
	if (pfd < 0)
		return pfd;
	if (fstat(pfd, &st) < 0)
		fd = -errno;
	else if (check_kind(&st, flags, name, err) < 0)
		fd = -EMEDIUMTYPE;
	else
		fd = reopen(pfd, &st, dirfd, path, how, flags);
	close(pfd);
	return fd;
}

static int open_new(int dirfd, const char *path, unsigned flags)
{
	return open_name(dirfd, path,
			 O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK | O_NOCTTY,
			 flags);
}

int hostops_posix_open(void **ctx, int dirfd, const char *path, unsigned flags,
		       struct err *err)
{
	autofree struct posix_file *p = mem_array(1, sizeof(*p));
	char name[NAME_TEXT_MAX];
	struct stat st;

	if (!p)
		return err_set_sys(err, -ENOMEM, "cannot open a file");
	err_escape(name, sizeof(name), path, strlen(path));
	p->fd = open_existing(dirfd, path, flags, name, err);
	if (p->fd == -ENOENT && (flags & HOSTFILE_CREATE))
		p->fd = open_new(dirfd, path, flags);
	if (p->fd == -EMEDIUMTYPE)
		return p->fd;
	if (p->fd < 0)
		return explain_open(p->fd, name, flags, err);
	if (fstat(p->fd, &st) < 0) {
		int ret = -errno;

		close(p->fd);
		return explain_open(ret, name, flags, err);
	}
	p->block_device = S_ISBLK(st.st_mode);
	*ctx = mem_steal(&p);
	return 0;
}

int hostops_posix_fd(const void *ctx)
{
	const struct posix_file *p = ctx;

	return p->fd;
}

/* --- the table ------------------------------------------------------------*/

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

int hostops_posix_open_folder(int *dirfd, const char *path, struct err *err)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_set_sys(err, -errno, "cannot open the folder '%s'",
				   path);
	*dirfd = fd;
	return 0;
}
