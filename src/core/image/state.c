#include "core/image/state.h"

#include <errno.h>

#include "core/format/feature.h"
#include "core/format/qcow2.h"
#include "core/image/open.h"
#include "core/meta/atonce.h"

void state_init(struct state *s, bool readonly)
{
	s->readonly = readonly;
	lock_init(&s->lock);
}

void state_fini(struct state *s)
{
	lock_fini(&s->lock);
}

bool state_downgrade(struct state *s, const struct header *h)
{
	if (s->readonly)
		return false;
	if (h->incompatible & QCOW2_INCOMPAT_CORRUPT)
		s->reason = "it is marked corrupt; repair it with 'rawcow check -r all'";
	else if (h->incompatible & QCOW2_INCOMPAT_DIRTY)
		s->reason = "it is marked dirty, so its refcounts may be wrong; repair it with 'rawcow check -r all'";
	s->readonly = s->reason != NULL;
	return s->readonly;
}

static int clear_stale(struct image *img)
{
	uint64_t stale = feature_autoclear_stale(&img->header);

	/* said of bitmaps that are not there */
	if (!img->bitmaps.list.dir.n)
		stale |= img->header.autoclear & QCOW2_AUTOCLEAR_BITMAPS;
	if (img->header.version < 3 || !stale)
		return 0;
	return atonce_features(&img->meta, 0, stale, 0);
}

static int first_write(struct image *img)
{
	struct state *s = &img->state;
	int r = 0;

	lock_take(&s->lock);
	if (atomic_load(&img->meta.corrupt)) {
		r = -EIO; /* found while this one waited */
	} else if (!atomic_load(&s->ready)) {
		r = clear_stale(img);
		if (r == 0)
			r = bitmaps_begin(img);
		if (r == 0)
			atomic_store(&s->ready, true);
	}
	lock_drop(&s->lock);
	return r;
}

int state_begin_write(struct image *img)
{
	if (img->state.readonly)
		return -EROFS;
	if (atomic_load(&img->meta.failed))
		return -EIO;
	/* who found it may have had no need of it, and said nothing */
	if (atomic_load(&img->meta.corrupt))
		return state_mark_corrupt(img);
	return atomic_load(&img->state.ready) ? 0 : first_write(img);
}

int state_mark_corrupt(struct image *img)
{
	struct state *s = &img->state;

	if (s->readonly || img->header.version < 3)
		return -EIO;
	lock_take(&s->lock);
	if (!s->marked_corrupt)
		(void)!atonce_features(&img->meta, QCOW2_INCOMPAT_CORRUPT, 0,
				       0);
	s->marked_corrupt = true;
	lock_drop(&s->lock);
	return -EIO;
}

int state_finish_roles(struct image *img, const char *what, struct err *err)
{
	int r = rolescan_finish(&img->meta);

	if (r == -EUCLEAN)
		return err_set(err, state_mark_corrupt(img),
			       "%s: tables overlap; run 'rawcow check'", what);
	return r < 0 ? err_set_sys(err, r, "%s", what) : 0;
}
