/* hostopen: see hostopen.h. */
#include "core/host/hostopen.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"

#define NAME_TEXT_MAX 320 /* leaves room for the sentence in struct err */

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
		return err_set(err, code, "no permission to %s '%s'",
			       !write ? "read" : flags & HOSTFILE_CREATE ?
			       "create" : "write", name);
	case EROFS:
		return err_set(err, code, "'%s' is on a read-only filesystem",
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

int hostopen_file(int dirfd, const char *path, unsigned flags,
		  bool *block_device, struct err *err)
{
	char name[NAME_TEXT_MAX];
	struct stat st;
	int fd;

	err_escape(name, sizeof(name), path, strlen(path));
	fd = open_existing(dirfd, path, flags, name, err);
	if (fd == -ENOENT && (flags & HOSTFILE_CREATE))
		fd = open_new(dirfd, path, flags);
	if (fd == -EMEDIUMTYPE)
		return fd;
	if (fd < 0)
		return explain_open(fd, name, flags, err);
	if (fstat(fd, &st) < 0) {
		int ret = -errno;

		close(fd);
		return explain_open(ret, name, flags, err);
	}
	*block_device = S_ISBLK(st.st_mode);
	return fd;
}

int hostopen_folder(int *dirfd, const char *path, struct err *err)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_set_sys(err, -errno, "cannot open the folder '%s'",
				   path);
	*dirfd = fd;
	return 0;
}
