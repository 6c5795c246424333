#include "fuse/reply.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"

/* The biggest read that the kernel sends. */
#define BUFFER_MIN (1 << 20)

struct buffer {
	void *mem;
	size_t len;
};

static _Thread_local struct buffer mine;
static pthread_key_t key;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;

static int translate(int rc)
{
	/* programs that read disks know EIO, and few know EUCLEAN */
	return rc == -EUCLEAN ? EIO : -rc;
}

void reply_status(fuse_req_t req, int rc)
{
	fuse_reply_err(req, rc < 0 ? translate(rc) : 0);
}

static void free_at_thread_end(void *mem)
{
	free(mem);
}

static void make_key(void)
{
	pthread_key_create(&key, free_at_thread_end);
}

void *reply_buffer(size_t len)
{
	void *mem;

	if (len <= mine.len)
		return mine.mem;
	pthread_once(&key_once, make_key);
	len = NUM_MAX(len, (size_t)BUFFER_MIN);
	mem = mem_aligned(len);
	if (!mem)
		return NULL;
	memset(mem, 0, len);
	free(mine.mem);
	mine = (struct buffer){ .mem = mem, .len = len };
	pthread_setspecific(key, mem);
	return mem;
}

void reply_buffer_drop(void)
{
	if (!mine.mem)
		return;
	pthread_setspecific(key, NULL);
	free(mine.mem);
	mine = (struct buffer){ 0 };
}
