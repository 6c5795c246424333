#include "fuse/reply.h"

#include <errno.h>

#include "base/num.h"
#include "base/scratch.h"

/* The biggest read that the kernel sends. */
#define BUFFER_MIN (1 << 20)

static int translate(int rc)
{
	/* programs that read disks know EIO, and few know EUCLEAN */
	return rc == -EUCLEAN ? EIO : -rc;
}

void reply_status(fuse_req_t req, int rc)
{
	fuse_reply_err(req, rc < 0 ? translate(rc) : 0);
}

void *reply_buffer(size_t len)
{
	return scratch_get(SCRATCH_REPLY, NUM_MAX(len, (size_t)BUFFER_MIN));
}
