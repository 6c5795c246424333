/*
 * reply: answers to the kernel. The only place where an -errno of the core
 * becomes the number that a program sees, and the owner of the buffers that
 * reads are answered from.
 */
#pragma once

#include <stddef.h>

#include "fuse/fuselib.h"

/* Answer REQ with the result RC (0 or -errno) of an operation. */
void reply_status(fuse_req_t req, int rc);

/* The calling thread's own buffer, page-aligned, at least LEN bytes, valid
 * until its next call. NULL: no memory. */
void *reply_buffer(size_t len);
