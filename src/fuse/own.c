#include "fuse/own.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "fuse/jobs.h"
#include "fuse/mountpoint.h"

#define NS 1000000000LL

/* own's thread, "work" and that of signals, each in one call at most */
#define CALLERS_MAX 3

struct seek {
	struct job job; /* the answer, then closing FD */
	struct own *own;
	fuse_req_t req;
	uint64_t off;
	int whence;
	int fd;
};

struct own {
	struct job prime;	/* the first thing that work does */
	struct own_setup setup; /* const after start */
	struct jobs *work;	/* const after start */
	struct jobs *closer;	/* const after start */
	_Atomic dev_t dev; /* of the mount; 0 until it has answered */
	atomic_int sizing; /* the thread that tells the kernel the size, or 0 */
	atomic_int callers[CALLERS_MAX]; /* threads that use the mount, or 0 */
};

/*
 * A FUSE mount may hold 1 % of the machine's dirty pages, and writers are made
 * to wait long before that: too little for a disk, above all a new one, whose
 * speed the kernel does not know yet. Where we may, ask for more; the kernel
 * still keeps us below a share of our own.
 */
static void widen_cache(dev_t dev)
{
	static const char *const share[][2] = { { "max_ratio", "20" },
						{ "min_ratio", "5" } };

	for (unsigned i = 0; i < 2; i++) {
		char path[64];
		int fd;

		snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/%s",
			 major(dev), minor(dev), share[i][0]);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd < 0)
			return;
		if (write(fd, share[i][1], strlen(share[i][1])) < 0)
			log_line(LOG_LEVEL_DEBUG, "%s: %s", path,
				 strerror(errno));
		close(fd);
	}
}

/* From here on all of the mount is the caller's own [own_is_calling]. */
static atomic_int *begin_call(struct own *own)
{
	int nobody = 0;
	unsigned i = 0;

	while (!atomic_compare_exchange_strong(&own->callers[i], &nobody,
					       gettid())) {
		nobody = 0;
		i = (i + 1) % CALLERS_MAX;
	}
	return &own->callers[i];
}

static void end_call(atomic_int *caller)
{
	atomic_store(caller, 0);
}

bool own_is_calling(struct own *own, pid_t thread)
{
	bool found = false;

	for (unsigned i = 0; own && thread && i < CALLERS_MAX; i++)
		found |= thread == atomic_load(&own->callers[i]);
	return found;
}

/* Open the disk in the mount at PLACE. -ENOTCONN: that is not ours. */
static int open_at(struct own *own, const char *place, int flags)
{
	dev_t dev = atomic_load(&own->dev);
	autofree char *path = NULL;
	atomic_int *call;
	struct stat st;
	int fd, rc;

	if (asprintf(&path, "%s%s", place, own->setup.name) < 0)
		return -ENOMEM;
	call = begin_call(own);
	fd = open(path, flags | O_CLOEXEC);
	rc = fd < 0 ? -errno : 0;
	end_call(call);
	/* the kernel asks again, and forgets what was shown for this */
	(void)!stat(path, &st);
	if (rc)
		return rc;
	if (fstat(fd, &st) < 0)
		rc = -errno;
	else if (dev ? st.st_dev != dev : st.st_dev == own->setup.below)
		rc = -ENOTCONN;
	/* last: then the number was ours when it was looked at */
	else if (!own->setup.connected(own->setup.arg))
		rc = -ENOTCONN;
	if (rc)
		close(fd);
	return rc ? rc : fd;
}

/*
 * Open the disk, where the mount was made or where it is by now: its folder may
 * have been renamed. Fails if no path leads to it: another mount covers it, or
 * it was taken away and we serve those who still have it open.
 */
static int open_disk(struct own *own, int flags)
{
	dev_t dev = atomic_load(&own->dev);
	char place[PATH_MAX];
	int fd = open_at(own, own->setup.place, flags);

	for (unsigned i = 0; fd < 0 && dev && mountpoint_nth(dev, i, place);
	     i++)
		fd = open_at(own, place, flags);
	return fd;
}

/* A name of the open file FD. An O_PATH descriptor is no open file of the mount,
 * and cannot be truncated but by its name. */
static const char *name_of(int fd, char buf[32])
{
	snprintf(buf, 32, "/proc/self/fd/%d", fd);
	return buf;
}

static int set_size(struct own *own, int fd, uint64_t size)
{
	atomic_int *call = begin_call(own);
	struct stat st;
	char name[32];
	int rc;

	atomic_store(&own->sizing, gettid());
	rc = truncate(name_of(fd, name), (off_t)size) < 0 ? -errno : 0;
	atomic_store(&own->sizing, 0);
	end_call(call);
	(void)!fstat(fd, &st); /* as in open_at() */
	return rc;
}

bool own_is_sizing(struct own *own, pid_t thread)
{
	return thread && thread == atomic_load(&own->sizing);
}

/*
 * In file layout the kernel made the root inode before it asked us anything,
 * with size 0, and with the write-back cache it never asks again.
 */
static int prime_size(struct own *own, int fd, struct err *err)
{
	uint64_t size = own->setup.size(own->setup.arg);
	struct timespec t[2];
	struct stat st;
	char name[32];
	int rc = set_size(own, fd, size);

	if (rc)
		return err_set_sys(err, rc,
				   "cannot set the size of the disk file");
	t[0].tv_sec = t[1].tv_sec = own->setup.mtime_ns / NS;
	t[0].tv_nsec = t[1].tv_nsec = own->setup.mtime_ns % NS;
	utimensat(AT_FDCWD, name_of(fd, name), t, 0);
	if (fstat(fd, &st) < 0 || (uint64_t)st.st_size != size)
		return err_set(err, -EIO, "the kernel shows a wrong disk size");
	return 0;
}

static int prime(struct own *own, struct err *err)
{
	int fd = open_disk(own, O_PATH);
	struct stat st;
	int rc = fd < 0 ? fd : fstat(fd, &st) < 0 ? -errno : 0;

	if (rc)
		err_set_sys(err, rc, "the mount does not answer");
	else
		atomic_store(&own->dev, st.st_dev);
	if (!rc && own->setup.writeback) {
		widen_cache(st.st_dev);
		rc = prime_size(own, fd, err);
	}
	if (fd >= 0)
		close(fd);
	return rc;
}

static void run_close(struct job *job)
{
	struct seek *s = (struct seek *)job;

	if (s->fd >= 0)
		close(s->fd);
	free(s);
}

static void run_seek(struct job *job)
{
	struct seek *s = (struct seek *)job;
	struct own *own = s->own;
	bool sent = false;

	/* not fsync(): that waits for the inode's lock, which the kernel
	 * holds until the seek is answered */
	s->fd = open_disk(own, O_RDONLY);
	if (s->fd >= 0)
		sent = !sync_file_range(s->fd, 0, 0,
					SYNC_FILE_RANGE_WAIT_BEFORE |
					SYNC_FILE_RANGE_WRITE |
					SYNC_FILE_RANGE_WAIT_AFTER);
	own->setup.seek(own->setup.arg, s->req, s->off, s->whence, sent);
	/* so does close(), and the next seek may hold that lock by now */
	job->run = run_close;
	(void)!jobs_add(own->closer, job); /* it ends after this thread */
}

static void run_prime(struct job *job)
{
	struct own *own = (struct own *)job;
	struct err err = { "" };

	own->setup.ready(own->setup.arg, prime(own, &err), &err);
}

int own_start(struct own **out, const struct own_setup *setup)
{
	struct own *own = calloc(1, sizeof(*own));
	int rc;

	if (!own)
		return -ENOMEM;
	own->setup = *setup;
	own->prime.run = run_prime;
	rc = jobs_start(&own->closer);
	if (!rc)
		rc = jobs_start(&own->work);
	if (rc) {
		own_stop(own);
		return rc;
	}
	*out = own;
	(void)!jobs_add(own->work, &own->prime); /* it has just begun */
	return 0;
}

int own_seek(struct own *own, fuse_req_t req, uint64_t off, int whence)
{
	struct seek *s = malloc(sizeof(*s));

	if (!s)
		return -ENOMEM;
	*s = (struct seek){ .job.run = run_seek,
			    .own = own,
			    .req = req,
			    .off = off,
			    .whence = whence };
	if (jobs_add(own->work, &s->job))
		return 0;
	free(s);
	return -ENOTCONN;
}

void own_fix_size(struct own *own)
{
	uint64_t size = own->setup.size(own->setup.arg);
	int fd = open_disk(own, O_PATH);
	int rc = fd < 0 ? fd : set_size(own, fd, size);

	if (fd >= 0)
		close(fd);
	if (rc && rc != -ENOTCONN)
		log_limited(LOG_LEVEL_WARN, "the kernel shows a wrong size of "
			    "the disk file, which cannot be set: %s",
			    strerror(-rc));
}

void own_widen(struct own *own)
{
	uint64_t size = own->setup.size(own->setup.arg);
	int fd = open_disk(own, O_WRONLY);

	if (fd < 0)
		return;
	atomic_store(&own->sizing, gettid());
	if (fallocate(fd, 0, 0, (off_t)size) < 0 && errno != EFBIG)
		log_limited(LOG_LEVEL_WARN, "the kernel shows a smaller size of "
			    "the disk file than it has: %s", strerror(errno));
	atomic_store(&own->sizing, 0);
	close(fd);
}

int own_sync(struct own *own)
{
	int fd = open_disk(own, O_RDONLY);
	int rc = 0;

	if (fd < 0)
		return own->setup.fetch(own->setup.arg);
	if (fsync(fd) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

bool own_is_readonly(struct own *own)
{
	int fd = open_disk(own, O_PATH);
	struct statvfs st;
	bool yes;

	if (fd < 0)
		return false;
	yes = !fstatvfs(fd, &st) && (st.f_flag & ST_RDONLY);
	close(fd);
	return yes;
}

dev_t own_dev(const struct own *own)
{
	return atomic_load(&own->dev);
}

void own_end(struct own *own)
{
	jobs_end(own->work);
	jobs_end(own->closer);
}

void own_stop(struct own *own)
{
	jobs_stop(own->work);
	jobs_stop(own->closer);
	free(own);
}
