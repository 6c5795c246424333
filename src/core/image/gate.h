/*
 * gate: requests pass it one by one without meeting each other; who must have
 * the image alone (snapshots, resizing, whatever moves a root) closes it.
 *
 * Level 0 of docs/locking.md: closed with no lock held and outside any request.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "base/lock.h"
#include "core/meta/epoch.h"

struct image;

struct gate {
	atomic_bool shut; /* changed under lock */
	struct lock lock;
	struct lock_cond opened;
};

void gate_init(struct gate *g);
void gate_fini(struct gate *g);

/* Begin a request, waiting while the gate is closed; gate_leave() ends it. The
 * ticket is an epoch's, with what that promises (core/meta/epoch.h). */
struct epoch_ticket gate_enter(struct image *img);
void gate_leave(struct image *img, struct epoch_ticket t);

/*
 * Have the image alone: waits for others who close it, keeps newcomers out,
 * and returns when the last request has left. The committer may still run; it
 * finds nothing to do once gate_quiesce() has returned 0.
 */
void gate_close(struct image *img);
void gate_open(struct image *img);

/*
 * gate_close(), then commit everything: nothing is dirty, every freed cluster
 * is free, so that tables may be read and written through the host file, and
 * roots be moved with atonce_header(). -EROFS, -EIO; then the gate is
 * open.
 */
int gate_quiesce(struct image *img);
