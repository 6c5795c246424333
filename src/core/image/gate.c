#include "core/image/gate.h"

#include "core/image/open.h"

void gate_init(struct gate *g)
{
	lock_init(&g->lock);
	lock_cond_init(&g->opened);
}

void gate_fini(struct gate *g)
{
	lock_cond_fini(&g->opened);
	lock_fini(&g->lock);
}

static void wait_until_open(struct gate *g)
{
	lock_take(&g->lock);
	while (atomic_load(&g->shut))
		lock_cond_wait(&g->opened, &g->lock);
	lock_drop(&g->lock);
}

/* Views of snapshots come and go through the gate of the image. */
static struct image *keeper(struct image *img)
{
	return img->view.of ? img->view.of : img;
}

struct epoch_ticket gate_enter(struct image *img)
{
	img = keeper(img);
	for (;;) {
		struct epoch_ticket t = epoch_enter(&img->meta.epoch);

		/* entered first: gate_close() either is seen here or waits */
		if (!atomic_load(&img->gate.shut))
			return t;
		epoch_leave(&img->meta.epoch, t);
		wait_until_open(&img->gate);
	}
}

void gate_leave(struct image *img, struct epoch_ticket t)
{
	epoch_leave(&keeper(img)->meta.epoch, t);
}

void gate_close(struct image *img)
{
	struct gate *g = &img->gate;

	lock_take(&g->lock);
	while (atomic_load(&g->shut))
		lock_cond_wait(&g->opened, &g->lock);
	atomic_store(&g->shut, true);
	lock_drop(&g->lock);
	epoch_wait(&img->meta.epoch);
}

void gate_open(struct image *img)
{
	struct gate *g = &img->gate;

	lock_take(&g->lock);
	atomic_store(&g->shut, false);
	lock_cond_wake_all(&g->opened);
	lock_drop(&g->lock);
}

int gate_quiesce(struct image *img)
{
	int r = state_begin_write(img);

	if (r < 0)
		return r;
	gate_close(img);
	r = writeback_all(&img->meta);
	if (r < 0)
		gate_open(img);
	return r;
}
