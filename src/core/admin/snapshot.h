/*
 * snapshot: internal snapshots of an open image (specification: "Snapshots").
 *
 * All take an image that is open to write, mounted or not, and have it alone
 * while they work (core/image/gate.h): requests wait. Beyond the commit of what
 * was written before, each syncs twice: everything new, then sector 0, which
 * makes it true in one step [R7]. What becomes free is counted down after that.
 * A crash leaves the image as before or after, and leaked clusters at most.
 *
 * NAME_OR_ID is looked for among the names first, as qemu-img does, then among
 * the ids. Errors common to all: -EROFS; -ENOENT; -EUCLEAN: tables are broken;
 * -ENOSPC; -EIO (for good), each with text.
 */
#pragma once

#include "base/err.h"
#include "core/format/snaptable.h"
#include "core/image/image.h"

/*
 * Keep the disk as it is now under NAME (up to 255 bytes, not empty). Several
 * may have one name; each has an id of its own. -ERANGE: a refcount cannot
 * count one more; -EINVAL: NAME; -ENOTSUP; -EMFILE: there are 65,536.
 */
int snapshot_create(struct image *img, const char *name, struct err *err);

/* Make the disk what it was in a snapshot; what it is now is lost unless
 * another snapshot has it. The disk may change its size; then the text of an
 * error may also say that it is applied, but a bitmap is lost. */
int snapshot_apply(struct image *img, const char *name_or_id, struct err *err);

/* -EBUSY: a view (core/image/view.h) holds it. */
int snapshot_delete(struct image *img, const char *name_or_id,
		    struct err *err);

/* As snapshot_delete() for the one with the id and place of SNAP. */
int snapshot_delete_this(struct image *img, const struct snapshot *snap,
			 struct err *err);
