#include "base/scratch.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"

struct buffers {
	void *buf[SCRATCH_SLOTS];
	size_t len[SCRATCH_SLOTS];
};

static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;
static _Thread_local struct buffers *mine;

static void release(void *arg)
{
	struct buffers *b = arg;

	for (unsigned i = 0; i < SCRATCH_SLOTS; i++)
		free(b->buf[i]);
	free(b);
}

/* The main thread runs no key destructors when it returns from main(). */
static void release_mine(void)
{
	if (mine)
		release(mine);
	mine = NULL;
}

static void make_key(void)
{
	pthread_key_create(&scratch_key, release);
	atexit(release_mine);
}

static struct buffers *buffers(void)
{
	if (mine)
		return mine;
	pthread_once(&scratch_once, make_key);
	mine = mem_array(1, sizeof(*mine));
	if (mine)
		pthread_setspecific(scratch_key, mine);
	return mine;
}

void *scratch_get(enum scratch_slot slot, size_t len)
{
	struct buffers *b = buffers();

	if (!b)
		return NULL;
	if (b->len[slot] >= len)
		return b->buf[slot];
	free(b->buf[slot]);
	b->buf[slot] = mem_aligned(len);
	b->len[slot] = b->buf[slot] ? len : 0;
	return b->buf[slot];
}
