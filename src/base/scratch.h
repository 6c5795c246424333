/*
 * scratch: buffers that a thread keeps, so that the data path allocates
 * nothing once it is warm. Freed when the thread ends.
 *
 * A slot belongs to one function; it must not call anything that uses the same
 * slot while it needs the content.
 */
#pragma once

#include <stddef.h>

enum scratch_slot {
	SCRATCH_COW,	    /* data/cow.c: one cluster being built */
	SCRATCH_STREAM,	    /* data/compressed.c: a compressed stream */
	SCRATCH_CLUSTER,    /* data/compressed.c: a decoded cluster */
	SCRATCH_PACK,	    /* data/pack.c: a stream being made */
	SCRATCH_CRYPT,	    /* data/crypt.c: sectors on their way to the file */
	SCRATCH_REPLY,	    /* fuse/reply.c: a read on its way to the kernel */
	SCRATCH_SLOTS
};

/* At least LEN bytes, page-aligned, content undefined; NULL on no memory. */
void *scratch_get(enum scratch_slot slot, size_t len);
