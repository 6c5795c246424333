#include "fuse/bitmapdir.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(e) ((e)->lost = true)
#include "base/hash.h"

#include "base/log.h"
#include "base/mem.h"

#define SUFFIX ".json"

struct bitmapdir_name {
	size_t i;
	char *stored;
	char shown[SNAPNAME_MAX + 1];
	uint64_t seen; /* when they were looked for this time, or later */
	bool lost;     /* uthash had no memory */
	UT_hash_handle hh;
};

void bitmapdir_init(struct bitmapdir *d)
{
	lock_init(&d->lock);
	d->name = NULL;
	d->by_stored = NULL;
	d->n = d->cap = 0;
	d->begun = d->done = 0;
}

static void name_free(struct bitmapdir_name *n)
{
	if (n)
		free(n->stored);
	free(n);
}

void bitmapdir_fini(struct bitmapdir *d)
{
	HASH_CLEAR(hh, d->by_stored);
	for (size_t i = 0; i < d->n; i++)
		name_free(d->name[i]);
	free(d->name);
	lock_fini(&d->lock);
}

/* --- names ---------------------------------------------------------------------- */

static void show(struct bitmapdir_name *n)
{
	if (!snapname_escape(n->stored, n->shown) ||
	    strlen(n->shown) + strlen(SUFFIX) > SNAPNAME_MAX)
		snprintf(n->shown, sizeof(n->shown), "@@%zu", n->i + 1);
	strcat(n->shown, SUFFIX);
}

static int enter_locked(struct bitmapdir *d, struct bitmapdir_name *n,
			const char *stored) LOCK_REQUIRES(&d->lock)
{
	if (!n)
		return -ENOMEM;
	n->i = d->n;
	n->stored = strdup(stored);
	if (!n->stored ||
	    mem_grow(&d->name, &d->cap, d->n + 1, sizeof(*d->name)) < 0)
		return -ENOMEM;
	HASH_ADD_KEYPTR(hh, d->by_stored, n->stored, strlen(n->stored), n);
	if (n->lost)
		return -ENOMEM;
	show(n);
	d->name[d->n++] = n;
	return 0;
}

static int see_locked(struct bitmapdir *d, const char *stored, uint64_t now)
	LOCK_REQUIRES(&d->lock)
{
	struct bitmapdir_name *n;
	int r;

	HASH_FIND_STR(d->by_stored, stored, n);
	if (!n) {
		n = calloc(1, sizeof(*n));
		r = enter_locked(d, n, stored);
		if (r < 0) {
			name_free(n);
			return r;
		}
	}
	if (n->seen < now)
		n->seen = now;
	return 0;
}

struct look {
	struct bitmapdir *d;
	uint64_t now;
};

static int see(void *arg, const struct image_bitmap *b)
{
	const struct look *l = arg;
	int r;

	lock_take(&l->d->lock);
	r = see_locked(l->d, b->name, l->now);
	lock_drop(&l->d->lock);
	return r;
}

/* Which bitmaps are there? Those that were seen at *NOW or later. */
static int look_for(struct bitmapdir *d, uint64_t *now)
{
	struct err err = { "" };
	struct look l = { .d = d };
	int r;

	lock_take(&d->lock);
	l.now = *now = ++d->begun;
	lock_drop(&d->lock);
	r = image_bitmap_list(d->img, see, &l, &err);
	if (r < 0) {
		log_limited(LOG_LEVEL_ERROR, "bitmaps cannot be shown: %s",
			    *err.text ? err.text : strerror(-r));
		return r;
	}
	lock_take(&d->lock);
	d->done = l.now;
	lock_drop(&d->lock);
	return 0;
}

int bitmapdir_lookup(struct bitmapdir *d, const char *name, fuse_ino_t *ino)
{
	uint64_t now;
	int r = look_for(d, &now);

	if (r < 0)
		return r;
	r = -ENOENT;
	lock_take(&d->lock);
	for (size_t i = 0; i < d->n && r < 0; i++)
		if (d->name[i]->seen >= now &&
		    !strcmp(d->name[i]->shown, name)) {
			*ino = BITMAPDIR_INO + i;
			r = 0;
		}
	lock_drop(&d->lock);
	return r;
}

int bitmapdir_entry(struct bitmapdir *d, uint64_t *pos,
		    char name[SNAPNAME_MAX + 1], struct stat *st)
{
	uint64_t now;
	int r = *pos == 0 ? look_for(d, &now) : 0;

	if (r < 0)
		return r;
	r = -ENOENT;
	lock_take(&d->lock);
	for (; *pos < d->n && r < 0; ++*pos) {
		if (d->name[*pos]->seen < d->done)
			continue;
		strcpy(name, d->name[*pos]->shown);
		st->st_ino = BITMAPDIR_INO + *pos;
		st->st_mode = S_IFREG;
		r = 0;
	}
	lock_drop(&d->lock);
	return r;
}

static char *stored_name(struct bitmapdir *d, fuse_ino_t ino)
{
	uint64_t i = ino - BITMAPDIR_INO;
	char *name;

	lock_take(&d->lock);
	name = i < d->n ? strdup(d->name[i]->stored) : NULL;
	lock_drop(&d->lock);
	return name;
}

int bitmapdir_stat(struct bitmapdir *d, fuse_ino_t ino, struct stat *st)
{
	autofree char *name = stored_name(d, ino);

	if (!name)
		return -ENOENT;
	*st = (struct stat){ .st_ino = ino,
			     .st_mode = S_IFREG | d->file_mode,
			     .st_uid = d->uid,
			     .st_gid = d->gid,
			     .st_nlink = 1,
			     .st_blksize = 4096 };
	clock_gettime(CLOCK_REALTIME_COARSE, &st->st_mtim);
	st->st_atim = st->st_ctim = st->st_mtim;
	return 0;
}

/* --- content --------------------------------------------------------------------- */

struct output {
	struct bitmapdir *d;
	const char *name;
	FILE *f;
	bool began;
};

static int put_extent(void *arg, uint64_t start, uint64_t len, bool dirty)
{
	struct output *o = arg;

	fprintf(o->f, "%s{ \"start\": %" PRIu64 ", \"length\": %" PRIu64
		", \"dirty\": %s }", o->began ? ",\n" : "", start, len,
		dirty ? "true" : "false");
	o->began = true;
	return textfile_full(o->f) ? -EFBIG : 0;
}

static int make(void *arg, FILE *f)
{
	struct output *o = arg;
	struct err err = { "" };
	int r;

	o->f = f;
	fputc('[', f);
	r = image_bitmap_extents(o->d->img, o->name, put_extent, o, &err);
	fputs("]\n", f);
	if (r < 0 && r != -ENOENT && r != -EFBIG)
		log_limited(LOG_LEVEL_ERROR, "a bitmap cannot be shown: %s",
			    *err.text ? err.text : strerror(-r));
	return r == -ENOTSUP ? -EIO : r;
}

int bitmapdir_open(struct bitmapdir *d, fuse_ino_t ino, struct textfiles *all,
		   struct textfile **out)
{
	autofree char *name = stored_name(d, ino);
	struct output o = { .d = d, .name = name };

	return name ? textfile_open(all, out, make, &o) : -ENOENT;
}
