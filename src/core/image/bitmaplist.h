/*
 * bitmaplist: the bitmap directory of an image, read whole, as values that the
 * reader owns.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/format/bitmapdir.h"
#include "core/format/header.h"
#include "core/format/headerext.h"
#include "core/host/hostfile.h"

/*
 * One bitmap. While its bits are in memory they are an array of little-endian
 * words, which is how they are stored; requests only ever set them, with
 * atomics and no lock. All else changes while who changes it has the image
 * alone.
 */
struct bitmap {
	struct bitmapdir_entry e; /* as a clean close has it; texts are TEXT's */
	uint8_t *text;		  /* extra data, name, NUL */
	_Atomic uint64_t *words;  /* NULL: not in memory */
	uint64_t bits;		  /* of words */
	bool tracked;		  /* changes of the disk are noted in words */
	bool broken;		  /* const after open to write: an entry of its
				     table is invalid; it can only be removed */
	atomic_bool changed;	  /* words differ from what is stored */
};

struct bitmaplist {
	struct bitmap *b;
	size_t n, cap;
	struct bitmapdir dir; /* n 0: no directory */
};

/*
 * Read the directory that EXT (of an image with H) names. Without the
 * extension, or where the autoclear bit says that it is void, the list is
 * empty. -EUCLEAN with text: the extension or an entry is invalid, two have
 * one name; LIST then holds the entries before that one. -EIO, -ENOMEM. The
 * caller frees with bitmaplist_fini() in any case.
 */
int bitmaplist_read(struct bitmaplist *list, struct hostfile *file,
		    const struct header *h, const struct headerext_list *ext,
		    const struct geom *g, uint64_t file_size, struct err *err);

/* As above, after reading the extensions from FILE as they are now. */
int bitmaplist_load(struct bitmaplist *list, struct hostfile *file,
		    const struct header *h, const struct geom *g,
		    struct err *err);

void bitmaplist_fini(struct bitmaplist *list);

/* The name as text: NUL-terminated, bytes as stored. */
const char *bitmaplist_name(const struct bitmap *b);

/* The bitmap with this name; -ENOENT with text. */
int bitmaplist_find(const struct bitmaplist *list, const char *name, size_t *i,
		    struct err *err);

/* Put E, whose texts are copied, behind the others. -ENOMEM. */
int bitmaplist_add(struct bitmaplist *list, const struct bitmapdir_entry *e);
/* Take the Ith out and free it. */
void bitmaplist_drop(struct bitmaplist *list, size_t i);
