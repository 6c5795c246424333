/* snapdir: names, attributes, contents. The table is read in snapdir_load.c. */
#include "fuse/snapdir.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/num.h"
#include "fuse/node.h"
#include "fuse/snapdir_priv.h"

#define STATE_NAME "vmstate"
#define NO_BLOCKS (-1)

void snapdir_init(struct snapdir *d)
{
	lock_init(&d->reading);
	lock_init(&d->lock);
	d->loaded = false;
	d->slot = NULL;
	d->n = d->cap = 0;
	d->by_key = d->by_shown = d->by_id = NULL;
	d->files = NULL;
}

void snapdir_fini(struct snapdir *d)
{
	HASH_CLEAR(by_key, d->by_key);
	HASH_CLEAR(by_shown, d->by_shown);
	HASH_CLEAR(by_id, d->by_id);
	for (size_t i = 0; i < d->n; i++)
		snapdir_free(d->slot[i]);
	free(d->slot);
	lock_fini(&d->lock);
	lock_fini(&d->reading);
}

/* --- inodes ------------------------------------------------------------------ */

enum part { PART_FOLDER, PART_DISK, PART_STATE, PART_LINK, PARTS };

static fuse_ino_t ino_of(const struct snap *s, enum part part)
{
	return SNAPDIR_INO + s->slot * PARTS + part;
}

static enum part part_of(fuse_ino_t ino)
{
	return (enum part)((ino - SNAPDIR_INO) % PARTS);
}

static struct snap *get_locked(struct snapdir *d, fuse_ino_t ino)
	LOCK_REQUIRES(&d->lock)
{
	uint64_t i = (ino - SNAPDIR_INO) / PARTS;
	struct snap *s = ino >= SNAPDIR_INO && i < d->n ? d->slot[i] : NULL;

	if (!s || s->gone || (part_of(ino) == PART_STATE && !s->state_size))
		return NULL;
	return s;
}

static struct snap *get(struct snapdir *d, fuse_ino_t ino)
{
	struct snap *s;

	lock_take(&d->lock);
	s = get_locked(d, ino);
	lock_drop(&d->lock);
	return s;
}

static int load(struct snapdir *d)
{
	bool loaded;

	lock_take(&d->lock);
	loaded = d->loaded;
	lock_drop(&d->lock);
	return loaded ? 0 : snapdir_refresh(d, NULL, NULL);
}

static int lookup_snapshot(struct snapdir *d, const char *name,
			   fuse_ino_t *ino)
{
	struct snap *s = NULL;

	lock_take(&d->lock);
	HASH_FIND(by_shown, d->by_shown, name, strlen(name), s);
	if (s) {
		*ino = ino_of(s, PART_FOLDER);
	} else {
		HASH_FIND(by_id, d->by_id, name, strlen(name), s);
		if (s)
			*ino = ino_of(s, PART_LINK);
	}
	lock_drop(&d->lock);
	return s ? 0 : -ENOENT;
}

int snapdir_lookup(struct snapdir *d, fuse_ino_t parent, const char *name,
		   fuse_ino_t *ino)
{
	const struct snap *s;

	if (parent == d->ino) {
		int r = load(d);

		return r < 0 ? r : lookup_snapshot(d, name, ino);
	}
	s = part_of(parent) == PART_FOLDER ? get(d, parent) : NULL;
	if (s && !strcmp(name, NODE_DISK_NAME))
		*ino = ino_of(s, PART_DISK);
	else if (s && s->state_size && !strcmp(name, STATE_NAME))
		*ino = ino_of(s, PART_STATE);
	else
		return -ENOENT;
	return 0;
}

int snapdir_find(struct snapdir *d, const char *name, struct snapshot *snap)
{
	fuse_ino_t ino;
	const struct snap *s;
	int r = snapdir_lookup(d, d->ino, name, &ino);

	if (r == 0 && part_of(ino) == PART_LINK)
		r = -ENOTDIR;
	s = r < 0 ? NULL : get(d, ino);
	if (!s)
		return r < 0 ? r : -ENOENT;
	*snap = (struct snapshot){ .l1_offset = s->l1_offset,
				   .id = strdup(s->id) };
	return snap->id ? 0 : -ENOMEM;
}

/* --- attributes ----------------------------------------------------------------- */

/* Blocks of 512 bytes that hold data for SEEK_DATA, backing files included. A
 * snapshot stays as it is, so they are counted once. */
static int64_t count_blocks(struct image *view)
{
	uint64_t end = image_size(view), sum = 0;
	struct image_extent e;

	for (uint64_t off = 0; off < end; off += e.len) {
		if (image_map(view, off, end - off, &e) < 0)
			return NO_BLOCKS;
		if (e.kind == IMAGE_EXTENT_DATA ||
		    e.kind == IMAGE_EXTENT_COMPRESSED)
			sum += e.len;
	}
	return (int64_t)num_div_ceil(sum, 512);
}

static int64_t blocks_of(struct snapdir *d, struct snap *s)
{
	struct snapshot key = { .l1_offset = s->l1_offset, .id = s->id };
	int64_t n = atomic_load(&s->blocks);
	struct image *view;

	if (n != NO_BLOCKS)
		return n;
	if (view_open(&view, d->img, &key, VIEW_PEEK, NULL) < 0)
		return 0;
	n = count_blocks(view);
	view_close(view);
	atomic_store(&s->blocks, n);
	return NUM_MAX(n, (int64_t)0);
}

int snapdir_stat(struct snapdir *d, fuse_ino_t ino, struct stat *st)
{
	struct snap *s = get(d, ino);
	enum part part = part_of(ino);

	if (!s)
		return -ENOENT;
	*st = (struct stat){ .st_ino = ino,
			     .st_uid = d->uid,
			     .st_gid = d->gid,
			     .st_nlink = 1,
			     .st_blksize = 4096,
			     .st_mode = S_IFREG | d->file_mode };
	st->st_atim = st->st_mtim = st->st_ctim = s->time;
	if (part == PART_FOLDER) {
		st->st_mode = S_IFDIR | d->folder_mode;
		st->st_nlink = 2;
	} else if (part == PART_LINK) {
		st->st_mode = S_IFLNK | 0777;
		st->st_size = (off_t)strlen(s->shown);
	} else if (part == PART_STATE) {
		st->st_size = (off_t)s->state_size;
		st->st_blocks = (blkcnt_t)num_div_ceil(s->state_size, 512);
	} else {
		st->st_size = (off_t)s->disk_size;
		st->st_blocks = (blkcnt_t)blocks_of(d, s);
	}
	return 0;
}

/* --- folders --------------------------------------------------------------------- */

static int part_entry(struct snapdir *d, fuse_ino_t ino, uint64_t *pos,
		      char *name, struct stat *st)
{
	const struct snap *s = get(d, ino);
	uint64_t n = s ? 1 + (s->state_size != 0) : 0;

	if (*pos >= n)
		return -ENOENT;
	strcpy(name, *pos ? STATE_NAME : NODE_DISK_NAME);
	st->st_ino = ino_of(s, *pos ? PART_STATE : PART_DISK);
	st->st_mode = S_IFREG;
	++*pos;
	return 0;
}

int snapdir_entry(struct snapdir *d, fuse_ino_t ino, uint64_t *pos,
		  char name[SNAPNAME_MAX + 1], struct stat *st)
{
	int r;

	if (ino != d->ino)
		return part_entry(d, ino, pos, name, st);
	r = load(d);
	if (r < 0)
		return r;
	r = -ENOENT;
	lock_take(&d->lock);
	while (*pos < d->n && r < 0) {
		const struct snap *s = d->slot[(*pos)++];

		if (s->gone)
			continue;
		strcpy(name, s->shown);
		st->st_ino = ino_of(s, PART_FOLDER);
		st->st_mode = S_IFDIR;
		r = 0;
	}
	lock_drop(&d->lock);
	return r;
}

int snapdir_readlink(struct snapdir *d, fuse_ino_t ino,
		     char to[SNAPNAME_MAX + 1])
{
	const struct snap *s = get(d, ino);

	if (!s)
		return -ENOENT;
	if (part_of(ino) != PART_LINK)
		return -EINVAL;
	strcpy(to, s->shown);
	return 0;
}

/* --- files ------------------------------------------------------------------------ */

struct snapdir_file {
	struct snapdir *d;
	struct snap *s;
	struct image *view;
	bool state;
	struct snapdir_file *prev, *next;
};

/* F uses the view that others have open, or else VIEW (may be NULL). Not if the
 * snapshot is gone meanwhile: a new one may have got its id and place, and VIEW
 * would be of that. */
static bool join(struct snapdir_file *f, struct image *view)
{
	struct snapdir *d = f->d;
	struct snap *s = f->s;

	lock_take(&d->lock);
	if (!s->view && !s->gone)
		s->view = view;
	f->view = s->view;
	if (f->view) {
		s->opens++;
		DL_APPEND(d->files, f);
	}
	lock_drop(&d->lock);
	return f->view;
}

static int open_view(struct snapdir_file *f)
{
	struct snapshot key = { .l1_offset = f->s->l1_offset, .id = f->s->id };
	struct image *mine;
	int r;

	if (join(f, NULL))
		return 0;
	r = view_open(&mine, f->d->img, &key, VIEW_HOLD, NULL);
	if (r < 0)
		return r;
	r = join(f, mine) ? 0 : -ENOENT;
	if (f->view != mine)
		view_close(mine);
	return r;
}

void snapdir_close(struct snapdir_file *f)
{
	struct snapdir *d = f->d;
	struct image *last = NULL;

	lock_take(&d->lock);
	DL_DELETE(d->files, f);
	if (--f->s->opens == 0) {
		last = f->s->view;
		f->s->view = NULL;
	}
	lock_drop(&d->lock);
	if (last)
		view_close(last);
	free(f);
}

void snapdir_end(struct snapdir *d)
{
	/* nobody else is there any more */
	while (d->files)
		snapdir_close(d->files);
}

int snapdir_open(struct snapdir *d, fuse_ino_t ino, struct snapdir_file **out)
{
	struct snap *s = get(d, ino);
	struct snapdir_file *f;
	int r;

	if (!s)
		return -ENOENT;
	if (part_of(ino) != PART_DISK && part_of(ino) != PART_STATE)
		return -EISDIR;
	f = malloc(sizeof(*f));
	if (!f)
		return -ENOMEM;
	*f = (struct snapdir_file){ .d = d,
				    .s = s,
				    .state = part_of(ino) == PART_STATE };
	r = open_view(f);
	if (r < 0)
		free(f);
	else
		*out = f;
	return r;
}

uint64_t snapdir_size(const struct snapdir_file *f)
{
	return f->state ? f->s->state_size : image_size(f->view);
}

struct image *snapdir_disk(const struct snapdir_file *f)
{
	return f->state ? NULL : f->view;
}

int snapdir_read(struct snapdir_file *f, void *buf, size_t len, uint64_t off)
{
	return f->state ? view_state_read(f->view, buf, len, off)
			: image_read(f->view, buf, len, off);
}
