/*
 * open: the open image itself, and the steps that open one.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/lock.h"
#include "core/data/disk.h"
#include "core/format/headerext.h"
#include "core/image/bitmaps.h"
#include "core/image/chain.h"
#include "core/image/committer.h"
#include "core/image/gate.h"
#include "core/image/image.h"
#include "core/image/state.h"
#include "core/image/view.h"

/* Of an image that is a view of a snapshot of another one (view.h). */
struct image_view {
	struct image *of;    /* NULL: not a view */
	struct snapshot key; /* id and l1_offset: which */
	uint64_t state_off, state_size; /* of the machine's state; guest bytes */
	bool held;
	bool gone;	    /* changed by who has OF alone */
	struct image *next; /* of->views.lock */
};

struct image {
	struct hostfile *file;
	struct hostfile *data_file; /* external data file, or NULL */
	struct header header;	/* as opened */
	struct geom geom;
	struct meta meta;
	struct disk disk;
	struct crypt crypt; /* disk.crypt refers to it, or is NULL */
	struct chain_backing backing; /* disk.backing refers to it */
	struct gate gate;
	struct state state;
	struct bitmaps bitmaps;
	struct committer committer;
	enum image_detect detect_zeroes; /* const after open */
	bool discard_ignore, no_flush;	 /* const after open */
	bool of_snapshot; /* const after open: shows a snapshot, not the disk */
	struct view_set views;		 /* of its snapshots */
	struct image_view view;
	atomic_int looks_preallocated; /* of image_host.c; 0: not known yet */
};

/*
 * Open FILE as a qcow2 image with its chain. CHAIN collects the files of the
 * chain so far (this one included on return). Owns FILE on success only.
 */
int open_image(struct image **out, struct hostfile *file,
	       const struct image_opts *opts, struct chain *chain,
	       struct err *err);

/* The disk has SIZE bytes from now on. Who calls has the image alone. */
void image_set_size(struct image *img, uint64_t size);

/* Free everything, write nothing. */
void open_discard(struct image *img);
