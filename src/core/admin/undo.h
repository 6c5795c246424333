/*
 * undo: what a repair overwrites is saved first, so that the broken image can be
 * had back. The saving lies under the repair, in the table of host operations:
 * the repair does not know of it.
 *
 * The undo file (all numbers big-endian):
 *
 *	   0  16  "rawcow undo 1\n\0\0"
 *	  16   8  length of the image before the repair
 *	  24   8  length after it; 0: the repair did not end, or an undo of it
 *	  32   8  sum of what lies behind the old end, after the repair
 *	  40  16  device and inode of the image
 *	  56   8  sum of bytes 0 to 55
 *	4096      records, one behind the other:
 *		   0   8  offset in the image
 *		   8   8  length N, at most 4096
 *		  16   8  sum of the old bytes and of offset and length
 *		  24   8  sum of the new bytes; 0: the repair did not end
 *		  32   N  the old bytes
 *
 * A sum is FNV-1a of 64 bits. Each block of 4096 bytes is saved once. The record
 * is stable before the block is written; one that is torn ends the list, and its
 * block was not written.
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
 * it again. While it works LOG says that the repair did not end.
 */
int undo_apply(struct hostfile *image, struct hostfile *log, struct err *err);
