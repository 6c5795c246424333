/*
 * hostmem: a host file in memory.
 *
 * A struct hostmem is the content; hostfiles opened on it come and go, so a
 * test can close an image and look at, clone or reopen what is left. Content
 * is kept in shared 4 KiB pages: a clone costs one pointer a page, and pages
 * that were never written cost nothing. All functions may be called by several
 * threads at once.
 *
 * Locks are -EOPNOTSUPP; everything else works as on a sparse regular file.
 */
#pragma once

#include "core/host/hostfile.h"

/* Files may not grow beyond this: -EFBIG. */
#define HOSTMEM_MAX_SIZE (1ULL << 46)

enum hostmem_op {
	HOSTMEM_PREAD,
	HOSTMEM_PWRITE,
	HOSTMEM_SYNC,
	HOSTMEM_FALLOC,
	HOSTMEM_TRUNCATE,
	HOSTMEM_STAT,
	HOSTMEM_SEEK,
	HOSTMEM_OPS
};

struct hostmem;

/* An empty file; NULL on no memory. One reference belongs to the caller, one
 * to each open hostfile. */
struct hostmem *hostmem_new(void);
void hostmem_free(struct hostmem *m); /* NULL is allowed */

/* A copy of content and size that shares nothing visible. NULL: no memory. */
struct hostmem *hostmem_clone(struct hostmem *m);

/* A hostfile on M; its name is "mem". 0 or -ENOMEM. */
int hostmem_open(struct hostfile **out, struct hostmem *m, bool writable);

/* Direct access, not counted as calls. Reads past the end give zeroes, writes
 * extend. 0 or -errno. */
uint64_t hostmem_size(struct hostmem *m);
void hostmem_read(struct hostmem *m, void *buf, size_t len, uint64_t off);
int hostmem_write(struct hostmem *m, const void *buf, size_t len,
		  uint64_t off);
int hostmem_zero(struct hostmem *m, uint64_t off, uint64_t len);
int hostmem_resize(struct hostmem *m, uint64_t size);
bool hostmem_equal(struct hostmem *a, struct hostmem *b);

/* Copy from and to a file of the host (sparse). 0 or -errno. */
int hostmem_load(struct hostmem *m, const char *path);
int hostmem_save(struct hostmem *m, const char *path);

/* How often OP was called through hostfiles on M. */
uint64_t hostmem_count(struct hostmem *m, enum hostmem_op op);
