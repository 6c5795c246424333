#include "core/image/committer.h"

#include <signal.h>

#include "core/meta/meta.h"

void committer_init(struct committer *c)
{
	lock_init(&c->lock);
	lock_cond_init(&c->wake);
}

void committer_fini(struct committer *c)
{
	committer_stop(c);
	lock_cond_fini(&c->wake);
	lock_fini(&c->lock);
}

/* Sleep until it is time or somebody calls. False: stop. */
static bool wait_for_work(struct committer *c)
{
	bool go;

	lock_take(&c->lock);
	if (!c->stop && !c->kicked)
		lock_cond_wait_ms(&c->wake, &c->lock, c->seconds * 1000ULL);
	c->kicked = false;
	go = !c->stop;
	lock_drop(&c->lock);
	return go;
}

static void *loop(void *arg)
{
	struct committer *c = arg;

	while (wait_for_work(c)) {
		/* a failure is logged, and sticks to the image */
		(void)!writeback_all(c->meta);
	}
	return NULL;
}

int committer_start(struct committer *c, struct meta *m, unsigned seconds)
{
	sigset_t all, old;
	int r;

	c->meta = m;
	c->seconds = seconds;
	c->stop = false;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&c->thread, NULL, loop, c);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	c->running = r == 0;
	return -r;
}

void committer_stop(struct committer *c)
{
	if (!c->running)
		return;
	lock_take(&c->lock);
	c->stop = true;
	lock_cond_wake_all(&c->wake);
	lock_drop(&c->lock);
	pthread_join(c->thread, NULL);
	c->running = false;
}

bool committer_kick(struct committer *c)
{
	if (!c->running)
		return false;
	lock_take(&c->lock);
	if (!c->kicked) {
		c->kicked = true;
		lock_cond_wake_all(&c->wake);
	}
	lock_drop(&c->lock);
	return true;
}
