/*
 * undo: what a repair overwrites is saved first, so that the broken image can be
 * had back. The saving lies under the repair, in the table of host operations:
 * the repair does not know of it. What is in an undo file: undo_log.h.
 */
#pragma once

#include "core/host/hostfile.h"

struct undo;

/*
 * Save in LOG, an empty writable file, what is overwritten in IMAGE through
 * undo_file(). Both stay the caller's. 0 or -errno with text: -EEXIST when LOG
 * is not empty.
 */
int undo_begin(struct undo **out, struct hostfile *image, struct hostfile *log,
	       struct err *err);

/* IMAGE, with saving. It can be read, written and synced; nothing else. */
struct hostfile *undo_file(struct undo *u);

/* The repair has ended: note in LOG how it left the image, unless something
 * could not be saved, which the repair was told. Frees U in any case. 0 or -errno
 * with text: LOG can be applied all the same. */
int undo_end(struct undo *u, struct err *err);

/*
 * Give IMAGE its old content and length back. All is verified first: LOG
 * (writable) is whole, and the image is as the repair left it, or undone
 * already, else -ESTALE and nothing is changed. 0 or -errno with text; then call
 * it again. While it works LOG says that the repair did not end; of such a repair
 * it cannot be verified how it left the image, but after it was undone that can.
 */
int undo_apply(struct hostfile *image, struct hostfile *log, struct err *err);
