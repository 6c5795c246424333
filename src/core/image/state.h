/*
 * state: may this image be written, and what must happen before the first
 * write of a session.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/lock.h"
#include "core/format/header.h"

struct image;

struct state {
	bool readonly;		/* const after open */
	const char *reason;	/* const after open: why, when not asked for */
	struct lock lock;	/* level 1: one first write, one corrupt mark */
	atomic_bool ready;	/* the first write's duties are done */
	bool marked_corrupt;	/* lock */
};

void state_init(struct state *s, bool readonly);
void state_fini(struct state *s);

/* Make S read-only if H is marked dirty or corrupt. True if that is news. */
bool state_downgrade(struct state *s, const struct header *h);

/*
 * Before any change: -EROFS, -EIO (a sync failed, or the image is corrupt).
 * The first time it clears the autoclear bits of what rawcow does not keep
 * right, and marks bitmaps as in use, durably, before the change is made
 * (specification: "autoclear_features"). Call outside an epoch.
 */
int state_begin_write(struct image *img);

/* A request met a contradiction: mark a writable image as corrupt, once.
 * Returns -EIO. Call outside an epoch. */
int state_mark_corrupt(struct image *img);

/*
 * Before clusters are freed, or counted in another way: know what all are used
 * for (rolescan_finish()). -EIO: tables overlap, and the image is marked as
 * corrupt; -ENOMEM. The text begins with WHAT ("cannot ..."). Call outside an
 * epoch.
 */
int state_finish_roles(struct image *img, const char *what, struct err *err);
