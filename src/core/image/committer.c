#include "core/image/committer.h"

#include <errno.h>
#include <signal.h>

#include "core/image/open.h"

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

static bool has_work(struct committer *c)
{
	bool has;

	lock_take(&c->lock);
	has = c->stop || c->kicked;
	lock_drop(&c->lock);
	return has;
}

/* Fill the role map while there is nothing else to do. False: it is full, or
 * the image is broken. What lacks memory is tried again later. */
static bool fill_roles(struct committer *c)
{
	int r = 1;

	while (r > 0 && !has_work(c))
		r = rolescan_step(&c->img->meta);
	if (r == -EUCLEAN)
		state_mark_corrupt(c->img);
	return r > 0 || r == -ENOMEM;
}

static void *loop(void *arg)
{
	struct committer *c = arg;
	bool filling = true;

	do {
		filling = filling && fill_roles(c);
		if (!wait_for_work(c))
			return NULL;
		/* a failure is logged, and sticks to the image */
		(void)!writeback_settle(&c->img->meta);
	} while (true);
}

int committer_start(struct committer *c, struct image *img, unsigned seconds)
{
	sigset_t all, old;
	int r;

	c->img = img;
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
