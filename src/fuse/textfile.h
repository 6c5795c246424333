/*
 * textfile: files whose text is made when they are opened, as those of proc(5):
 * their size is shown as 0, and they are read without the page cache.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/lock.h"
#include "core/image/image.h"
#include "fuse/ctl.h"

/* More is not kept in memory for a reader. */
#define TEXTFILE_MAX (64u << 20)

/* A file of .rawcow/, made by who starts the session. */
struct textfile_maker {
	const char *name; /* NULL: the end of the list */
	int (*make)(struct image *img, const struct ctl_status *st, FILE *out);
};

struct textfile;

/* Those that are open; a program may still have some when the mount ends. */
struct textfiles {
	struct lock lock; /* a leaf; guards the list */
	struct textfile *open;
};

void textfile_init(struct textfiles *all);
/* No more requests: close what is left open. */
void textfile_fini(struct textfiles *all);

/*
 * Have MAKE write to a file in memory. Its errors; -ENOMEM, -EFBIG. Who makes
 * a text that may be large looks at textfile_full() now and then.
 */
int textfile_open(struct textfiles *all, struct textfile **out,
		  int (*make)(void *arg, FILE *f), void *arg);
void textfile_close(struct textfiles *all, struct textfile *t);

bool textfile_full(FILE *f);

/* The bytes at OFF, up to *LEN; *LEN becomes how many there are. */
const char *textfile_at(const struct textfile *t, uint64_t off, size_t *len);
