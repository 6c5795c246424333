#include "base/scratch.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/threadlocal.h"

struct buffers {
	void *buf[SCRATCH_SLOTS];
	size_t len[SCRATCH_SLOTS];
};

static struct threadlocal buffers = THREADLOCAL_INIT;

static void release(void *arg)
{
	struct buffers *b = arg;

	for (unsigned i = 0; i < SCRATCH_SLOTS; i++)
		free(b->buf[i]);
	free(b);
}

void *scratch_get(enum scratch_slot slot, size_t len)
{
	struct buffers *b = threadlocal_get(&buffers, sizeof(*b), release);

	if (!b)
		return NULL;
	if (b->len[slot] >= len)
		return b->buf[slot];
	free(b->buf[slot]);
	b->buf[slot] = mem_aligned(len);
	b->len[slot] = b->buf[slot] ? len : 0;
	return b->buf[slot];
}
