/*
 * bitmaps: the persistent bitmaps of an image that is open to write: which
 * changes of the disk they note (specification: "Dirty tracking bitmaps").
 *
 * A bitmap with the auto flag is *tracked* unless it was in use when the image
 * was opened: its bits are in memory, and each request sets those of the
 * granules it touches before it changes them. The life of a tracked bitmap:
 *
 *	stored --first change of a session--> in use (a flag on disk, synced
 *	before that change) --closing, or an operation on bitmaps--> stored anew
 *
 * A crash leaves it in use, which says that it misses changes. All others stay
 * as they are, unless the disk gets another size.
 *
 * Level 0 and 1 of docs/locking.md: the list and all places change while the
 * caller has the image alone (gate.h), in use while state.lock is held.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "core/format/headerext.h"
#include "core/image/bitmaplist.h"
#include "core/image/image.h"

/* Bits of all bitmaps that are in memory at once, bytes. */
#define BITMAPS_MEMORY_MAX (256ULL << 20)

struct bitmaps {
	struct bitmaplist list;
	size_t tracked; /* how many of them are; 0: requests pass at once */
	bool deferred;	/* const after open: nothing is ever tracked */
	bool in_use;	/* the tracked ones are marked so on disk */
	uint64_t claimed; /* const after open: bytes of the image file when
			     tables were found broken or not */
	uint64_t old_size; /* of the disk, between resize and resized */
	struct err why;	/* why the image or its directory is not to be written;
			   or empty */
};

/*
 * For an image that will be written. EXT are its header extensions. -EUCLEAN,
 * -ENOTSUP, -ENOMEM with text: a bitmap could not be kept right, so the image
 * must not be written. With DEFER nothing is tracked: for who changes bitmaps
 * but never the disk; a broken directory is then found later.
 */
int bitmaps_open(struct image *img, const struct headerext_list *ext,
		 bool defer, struct err *err);
void bitmaps_fini(struct bitmaps *bs);

/* [OFF, OFF + LEN) is about to change. Inside a request. */
void bitmaps_touch(struct image *img, uint64_t off, uint64_t len);

/* Before the first change of a session: mark the tracked bitmaps as in use,
 * stably. 0 or -EIO for good. state.lock is held, or the caller is alone. */
int bitmaps_begin(struct image *img);

/*
 * Nothing changes any more and all is committed: store what is tracked. 0;
 * -ENOSPC, -EIO, ...: what could not be stored stays marked as in use, and the
 * log says so.
 */
int bitmaps_close(struct image *img);

/*
 * The disk gets SIZE bytes. Before that, while the size on disk is the old one:
 * no bitmap's table fits any longer, so all are taken into memory and marked as
 * in use, and a crash leaves them so. -ENOTSUP, -ENOMEM, -EFBIG with text: one
 * cannot be; -EIO. Who got 0 calls bitmaps_resized() when image_size() is what
 * it will be, also after a failure R: the bitmaps are cut or extended and
 * stored, or, if the size has not changed, their marks go, which needs no room.
 * What a larger size has brought counts as changed. Returns R, or, if that is 0,
 * why a bitmap is lost although the disk has its new size, with text; else the
 * log says so.
 */
int bitmaps_resize(struct image *img, uint64_t size, struct err *err);
int bitmaps_resized(struct image *img, int r, struct err *err);

/* Have B's bits in memory, or not. bitmaps_hold() reads them from disk;
 * -ENOMEM beyond BITMAPS_MEMORY_MAX, -EUCLEAN, -EIO with text. */
int bitmaps_hold(struct image *img, struct bitmap *b, struct err *err);
void bitmaps_release(struct bitmap *b);

/* Give B, whose bits are not in memory, empty ones that are to be stored.
 * -ENOMEM with text, as bitmaps_hold(). */
int bitmaps_blank(struct image *img, struct bitmap *b, struct err *err);

/* Note changes in B from now on, or no longer. B's bits are in memory. The next
 * bitmapstore_put() makes it so on disk. Where tracking is deferred nothing
 * happens. */
void bitmaps_track(struct image *img, struct bitmap *b, bool on);

/* NULL, or why B's bits mean nothing. */
const char *bitmaps_invalid(const struct bitmap *b);
