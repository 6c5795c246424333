/*
 * view: an internal snapshot beside the disk it was made of, as an image of its
 * own that can only be read: image_read(), image_map(), image_size() and
 * image_cluster_size() work on it. It shares files, keys, backing and the gate
 * with the image, and has small caches of its own: nobody changes what a
 * snapshot refers to, so they never differ from the file.
 *
 * A snapshot is not deleted while a view holds it; a view that only peeks is
 * revoked instead.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/lock.h"
#include "core/format/snaptable.h"
#include "core/image/image.h"
#include "core/image/snaplist.h"

enum view_use {
	VIEW_HOLD, /* as long as it is open the snapshot stays */
	VIEW_PEEK, /* reads give -ESTALE once the snapshot was deleted */
};

/* The views of one image. */
struct view_set {
	struct lock lock; /* guards the list; a leaf (docs/locking.md) */
	struct image *first;
};

void view_set_init(struct view_set *v);
void view_set_fini(struct view_set *v);

/* The snapshots that IMG has now. The caller frees with snaplist_fini() in any
 * case. Errors of snaplist_read(). */
int view_list(struct image *img, struct snaplist *list, struct err *err);

/*
 * Open the snapshot with the id and the place of SNAP (one of view_list(), its
 * other fields do not matter). -ENOENT: there is none any more; -EUCLEAN: its
 * tables cannot be; -EIO, -ENOMEM. Close it before IMG.
 */
int view_open(struct image **out, struct image *img,
	      const struct snapshot *snap, enum view_use use, struct err *err);
void view_close(struct image *view);

/* The saved state of the machine: bytes; 0 for none. */
uint64_t view_state_size(const struct image *view);
/* Read LEN bytes of it at OFF, inside its size. As image_read(); -EUCLEAN also
 * when the snapshot does not have as much. */
int view_state_read(struct image *view, void *buf, size_t len, uint64_t off);

/* For who has IMG alone and wants to delete SNAP: -EBUSY when a view holds it,
 * else views that peek are revoked. */
int view_revoke(struct image *img, const struct snapshot *snap);
