/*
 * The yardstick: a FUSE server without any format.
 *
 * It serves a raw file as a raw file, mounted on a regular file.  A READ is
 * one pread into a buffer that the thread keeps, a WRITE is one pwrite, FSYNC
 * is fdatasync; nothing else happens.  What this program reaches is what the
 * kernel, libfuse and the host's file allow; what a server with a format loses
 * against it is what the format costs.  It is never tuned to look better or
 * worse: a change here needs a measurement of its own.
 *
 *	limit RAWFILE MOUNTPOINT [-o writeback] [-o max_background=N]
 *
 * It stays in the foreground, and is ready when MOUNTPOINT has RAWFILE's size.
 */
#define FUSE_USE_VERSION 35
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MAX_IO (1U << 20)
#define ATTR_TIMEOUT 3600.0

struct limit {
	const char *file;
	char *mountpoint;
	int fd;
	off_t size;
	int writeback;
	unsigned int max_background;
};

static struct limit *limit_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* Faulted in once: a fresh megabyte for each read would halve the speed. */
static void *kept_buffer(void)
{
	static _Thread_local void *buf;

	if (!buf) {
		buf = mmap(NULL, MAX_IO, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		if (buf == MAP_FAILED)
			abort();
	}
	return buf;
}

static void ll_init(void *userdata, struct fuse_conn_info *conn)
{
	struct limit *lim = userdata;

	conn->max_write = MAX_IO;
	if (lim->max_background)
		conn->max_background = lim->max_background;
	if (lim->writeback)
		conn->want |= conn->capable & FUSE_CAP_WRITEBACK_CACHE;
}

static void reply_attr(fuse_req_t req)
{
	struct limit *lim = limit_of(req);
	struct stat st;

	if (fstat(lim->fd, &st)) {
		fuse_reply_err(req, errno);
		return;
	}
	st.st_ino = FUSE_ROOT_ID;
	st.st_size = lim->size;
	fuse_reply_attr(req, &st, ATTR_TIMEOUT);
}

static void ll_getattr(fuse_req_t req, fuse_ino_t ino,
		       struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	reply_attr(req);
}

static void ll_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr,
		       int to_set, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	if ((to_set & FUSE_SET_ATTR_SIZE) &&
	    attr->st_size != limit_of(req)->size)
		fuse_reply_err(req, EPERM);
	else
		reply_attr(req);
}

static void ll_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	fi->keep_cache = 1;
	fuse_reply_open(req, fi);
}

static void ll_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	void *buf = kept_buffer();
	ssize_t n;

	(void)ino;
	(void)fi;
	n = pread(limit_of(req)->fd, buf, size < MAX_IO ? size : MAX_IO, off);
	if (n < 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply_buf(req, buf, (size_t)n);
}

static void ll_write(fuse_req_t req, fuse_ino_t ino, const char *buf,
		     size_t size, off_t off, struct fuse_file_info *fi)
{
	struct limit *lim = limit_of(req);
	ssize_t n;

	(void)ino;
	(void)fi;
	if (off >= lim->size) {
		fuse_reply_err(req, EFBIG);
		return;
	}
	if ((off_t)size > lim->size - off)
		size = (size_t)(lim->size - off);
	n = pwrite(lim->fd, buf, size, off);
	if (n < 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply_write(req, (size_t)n);
}

static void ll_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
		     struct fuse_file_info *fi)
{
	(void)ino;
	(void)datasync;
	(void)fi;
	fuse_reply_err(req, fdatasync(limit_of(req)->fd) ? errno : 0);
}

static void ll_done(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	fuse_reply_err(req, 0);
}

static void ll_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs sv;

	(void)ino;
	if (fstatvfs(limit_of(req)->fd, &sv))
		fuse_reply_err(req, errno);
	else
		fuse_reply_statfs(req, &sv);
}

static void ll_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		     struct fuse_file_info *fi)
{
	off_t pos = lseek(limit_of(req)->fd, off, whence);

	(void)ino;
	(void)fi;
	if (pos < 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply_lseek(req, pos);
}

static const struct fuse_lowlevel_ops ops = {
	.init = ll_init,
	.getattr = ll_getattr,
	.setattr = ll_setattr,
	.open = ll_open,
	.read = ll_read,
	.write = ll_write,
	.flush = ll_done,
	.release = ll_done,
	.fsync = ll_fsync,
	.statfs = ll_statfs,
	.lseek = ll_lseek,
};

/*
 * With the write-back cache the kernel trusts its own size of a regular file,
 * and that of the root of a mount on a file begins as 0; this sets it.  It has
 * to be asked from a thread of its own, since the loop answers it.
 */
static void *tell_size(void *arg)
{
	struct limit *lim = arg;

	if (truncate(lim->mountpoint, lim->size))
		perror("limit: truncate");
	return NULL;
}

static int serve(struct limit *lim, struct fuse_session *se)
{
	struct fuse_loop_config loop = {.max_idle_threads = 16};
	pthread_t teller;
	int rc;

	if (lim->writeback && pthread_create(&teller, NULL, tell_size, lim))
		return 1;
	rc = fuse_session_loop_mt(se, &loop);
	if (lim->writeback) {
		/* Before the join: it may wait for a reply that never comes. */
		fuse_session_unmount(se);
		pthread_join(teller, NULL);
	}
	return rc;
}

static int mount_and_serve(struct limit *lim, struct fuse_args *args)
{
	struct fuse_session *se =
		fuse_session_new(args, &ops, sizeof(ops), lim);
	int rc = 1;

	if (!se)
		return 1;
	if (fuse_set_signal_handlers(se))
		goto out;
	if (!fuse_session_mount(se, lim->mountpoint)) {
		rc = serve(lim, se);
		fuse_session_unmount(se);
	}
	fuse_remove_signal_handlers(se);
out:
	fuse_session_destroy(se);
	return rc != 0;
}

static int take_arg(void *data, const char *arg, int key, struct fuse_args *out)
{
	struct limit *lim = data;

	(void)out;
	if (key != FUSE_OPT_KEY_NONOPT)
		return 1;
	if (!lim->file)
		lim->file = strdup(arg);
	else if (!lim->mountpoint)
		lim->mountpoint = realpath(arg, NULL);
	else
		return -1;
	return 0;
}

static const struct fuse_opt options[] = {
	{"writeback", offsetof(struct limit, writeback), 1},
	{"max_background=%u", offsetof(struct limit, max_background), 0},
	FUSE_OPT_END};

int main(int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
	struct limit lim = {.fd = -1};

	if (fuse_opt_parse(&args, &lim, options, take_arg) || !lim.mountpoint) {
		fprintf(stderr, "usage: limit RAWFILE MOUNTPOINT "
				"[-o writeback] [-o max_background=N]\n");
		return 2;
	}
	lim.fd = open(lim.file, O_RDWR | O_CLOEXEC);
	if (lim.fd >= 0)
		lim.size = lseek(lim.fd, 0, SEEK_END);
	if (lim.fd < 0 || lim.size < 0) {
		fprintf(stderr, "limit: %s: %s\n", lim.file, strerror(errno));
		return 1;
	}
	return mount_and_serve(&lim, &args);
}
