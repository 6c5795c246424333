/*
 * hostfile: one open file of the host, reached only through a table of
 * operations, so that tests can record every access, replay it and make it
 * fail. Nothing else in rawcow reads or writes an image.
 *
 * The table works on whole requests where it can and may return short counts;
 * the hostfile_* functions loop, classify errors and add the name to messages.
 * None returns -EUCLEAN, which is said of images.
 * All of them may be called by several threads at once. A hostfile does not
 * order anything: a write is durable only after a later successful
 * hostfile_sync(). (docs/durability.md calls one hostfile_sync() "F".)
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct host_stat {
	uint64_t size;	/* bytes; of a block device its capacity */
	uint64_t blocks; /* 512-byte blocks that the host has allocated */
	uint64_t dev, ino; /* identity, for finding loops in a backing chain */
	int64_t mtime_ns;
	bool block_device;
};

enum host_falloc {
	HOST_FALLOC_ALLOCATE, /* make room; content kept, extends the file */
	HOST_FALLOC_ZERO,     /* reads as zero afterwards, stays allocated;
				 extends the file */
	HOST_FALLOC_PUNCH,    /* reads as zero afterwards, room given back; never
				 extends the file */
};

enum host_seek { HOST_SEEK_DATA, HOST_SEEK_HOLE };

/* Byte-range lock calls, for hostlock only. OFD semantics: they belong to the
 * open file, not to the process. */
enum host_lock {
	HOST_LOCK_SHARED, /* take a shared lock on one byte, never blocks */
	HOST_LOCK_UNLOCK,
	HOST_LOCK_TEST,	  /* could an exclusive lock be taken on that byte? */
};

/*
 * The table. CTX is the hostfile's own. Return: a count >= 0 or -errno; short
 * counts and -EINTR are allowed, 0 from pread means end of file.
 */
struct host_ops {
	ssize_t (*pread)(void *ctx, void *buf, size_t len, uint64_t off);
	ssize_t (*pwrite)(void *ctx, const void *buf, size_t len, uint64_t off);
	int (*sync)(void *ctx);
	/* -EOPNOTSUPP: this mode does not work here, and the caller falls back */
	int (*falloc)(void *ctx, enum host_falloc mode, uint64_t off,
		      uint64_t len);
	int (*truncate)(void *ctx, uint64_t size);
	int (*stat)(void *ctx, struct host_stat *st);
	/* offset found; -ENXIO past the end; -EOPNOTSUPP */
	int64_t (*seek)(void *ctx, uint64_t off, enum host_seek what);
	/* 0; HOST_LOCK_TEST: -EAGAIN when somebody holds it; -EOPNOTSUPP */
	int (*lock)(void *ctx, enum host_lock what, uint64_t byte);
	void (*close)(void *ctx);
};

struct hostfile {
	const struct host_ops *ops; /* const after open */
	void *ctx;		    /* const after open */
	char *name;		    /* as the user wrote it; const after open */
	bool writable;		    /* const after open */
};

enum hostfile_flags {
	HOSTFILE_RDWR = 1,   /* else read-only */
	HOSTFILE_CREATE = 2, /* create if missing, with RDWR. Never truncates:
				somebody may hold the file; hostlock_take(),
				then hostfile_truncate() */
	HOSTFILE_BENEATH = 4, /* PATH must lie below the folder DIRFD */
	HOSTFILE_BLKDEV_OK = 8, /* a block device is welcome too */
};

/*
 * Open PATH (relative to DIRFD, or AT_FDCWD) with the posix table. Only
 * regular files, and block devices with HOSTFILE_BLKDEV_OK; a FIFO, a folder,
 * a tty or a socket is refused without being opened for use. *OUT is owned by
 * the caller. -ENOENT, -EACCES, -EROFS, -EXDEV (left the folder with
 * HOSTFILE_BENEATH), -EMEDIUMTYPE (not a regular file), -ENOMEM, ...
 *
 * With HOSTFILE_BENEATH an absolute PATH is allowed when it leads below DIRFD,
 * and symlinks are followed as long as they do not leave it; -ENOSYS on a
 * kernel without openat2.
 */
int hostfile_open(struct hostfile **out, int dirfd, const char *path,
		  unsigned flags, struct err *err);

/* A descriptor of the folder that FILE_NAME lies in, to open its neighbours
 * with. The caller closes it. -errno with text. */
int hostfile_open_folder(int *dirfd, const char *file_name, struct err *err);

/* Wrap a table of the caller's: tests, recorders. Takes ownership of CTX on
 * success only. -ENOMEM. */
int hostfile_wrap(struct hostfile **out, const struct host_ops *ops, void *ctx,
		  const char *name, bool writable);

/* Close and free; NULL is allowed. Locks end here. */
void hostfile_close(struct hostfile *f);

/* The file descriptor of a posix hostfile, -1 for any other. */
int hostfile_fd(const struct hostfile *f);

/*
 * Read LEN bytes at OFF. Bytes past the end of the file read as zero; *GOT
 * (may be NULL) says how many came from the file. 0 or -errno (-EIO for an
 * empty read inside the file). Retries short reads and -EINTR.
 */
int hostfile_pread(struct hostfile *f, void *buf, size_t len, uint64_t off,
		   size_t *got) __attribute__((warn_unused_result));

/* As hostfile_pread(), and -EIO if the file ends before OFF + LEN. */
int hostfile_pread_full(struct hostfile *f, void *buf, size_t len,
			uint64_t off) __attribute__((warn_unused_result));

/* The same of a file in units of UNIT bytes, a power of two, whose last one may
 * be cut short: what it lacks reads as zero. -EIO if a whole unit is missing. */
int hostfile_pread_units(struct hostfile *f, void *buf, size_t len,
			 uint64_t off, uint64_t unit)
	__attribute__((warn_unused_result));

/* Write all LEN bytes at OFF. 0 or -errno: -ENOSPC, -EDQUOT and -EFBIG are all
 * reported as -ENOSPC. A part may have been written on error. */
int hostfile_pwrite_full(struct hostfile *f, const void *buf, size_t len,
			 uint64_t off) __attribute__((warn_unused_result));

/* F: make durable all that was written before the call. 0 or -errno, and an
 * error is final [R8]: never call it again on this file. */
int hostfile_sync(struct hostfile *f) __attribute__((warn_unused_result));

/* Make [OFF, OFF + LEN) read as zero, allocated, extending the file if it is
 * shorter; falls back to writing zeroes. */
int hostfile_zero(struct hostfile *f, uint64_t off, uint64_t len)
	__attribute__((warn_unused_result));

/* Give the host room back; content reads zero afterwards. -EOPNOTSUPP where
 * the host cannot; nothing is changed then. */
int hostfile_punch(struct hostfile *f, uint64_t off, uint64_t len)
	__attribute__((warn_unused_result));

/* Reserve room without changing content, extending the file. -EOPNOTSUPP. */
int hostfile_allocate(struct hostfile *f, uint64_t off, uint64_t len)
	__attribute__((warn_unused_result));

int hostfile_truncate(struct hostfile *f, uint64_t size)
	__attribute__((warn_unused_result));
int hostfile_stat(struct hostfile *f, struct host_stat *st)
	__attribute__((warn_unused_result));

/* End of the data or hole that starts at OFF: *DATA says which it is, *END is
 * where it ends (at most the file's size). Without host support all is data.
 * -ENXIO: OFF does not lie inside the file. */
int hostfile_next_extent(struct hostfile *f, uint64_t off, bool *data,
			 uint64_t *end) __attribute__((warn_unused_result));

/* Is all of [OFF, OFF + LEN) known to be a hole inside the file? Saves reading
 * large tables of small files. */
bool hostfile_is_hole(struct hostfile *f, uint64_t off, uint64_t len);
