/* snapdir: the table of snapshots becomes names and inodes. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(e) ((e)->gone = true)
#include "base/hash.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "fuse/snapdir_priv.h"

void snapdir_free(struct snap *s)
{
	free(s->key);
	free(s->id);
	free(s->shown);
	free(s->id_shown);
	free(s);
}

static char *key_of(const struct snapshot *snap)
{
	char *key;

	return asprintf(&key, "%" PRIx64 ":%s", snap->l1_offset, snap->id) < 0 ?
		       NULL : key;
}

static bool taken_locked(struct snapdir *d, const char *name)
	LOCK_REQUIRES(&d->lock)
{
	struct snap *s;

	HASH_FIND(by_shown, d->by_shown, name, strlen(name), s);
	if (!s)
		HASH_FIND(by_id, d->by_id, name, strlen(name), s);
	return s;
}

/* The first of its name, its id, its number that nobody else has. */
static int choose_names_locked(struct snapdir *d, struct snap *s,
			       const struct snapshot *snap)
	LOCK_REQUIRES(&d->lock)
{
	char name[SNAPNAME_MAX + 1];

	if (snapname_of_id(snap->id, name) && !taken_locked(d, name)) {
		s->id_shown = strdup(name);
		if (!s->id_shown)
			return -ENOMEM;
	}
	if (snapname_escape(snap->name, name) && !taken_locked(d, name))
		s->shown = strdup(name);
	else if (s->id_shown)
		s->shown = strdup(s->id_shown);
	else if (asprintf(&s->shown, "@@%" PRIu64, s->slot) < 0)
		s->shown = NULL;
	return s->shown ? 0 : -ENOMEM;
}

static int enter_locked(struct snapdir *d, struct snap *s)
	LOCK_REQUIRES(&d->lock)
{
	if (mem_grow(&d->slot, &d->cap, d->n + 1, sizeof(*d->slot)) < 0)
		return -ENOMEM;
	HASH_ADD_KEYPTR(by_key, d->by_key, s->key, strlen(s->key), s);
	if (!s->gone)
		HASH_ADD_KEYPTR(by_shown, d->by_shown, s->shown,
				strlen(s->shown), s);
	if (!s->gone && s->id_shown)
		HASH_ADD_KEYPTR(by_id, d->by_id, s->id_shown,
				strlen(s->id_shown), s);
	if (!s->gone) {
		d->slot[d->n++] = s;
		return 0;
	}
	/* uthash had no memory: out of those that it is in */
	if (s->by_shown.tbl)
		HASH_DELETE(by_shown, d->by_shown, s);
	if (s->by_key.tbl)
		HASH_DELETE(by_key, d->by_key, s);
	return -ENOMEM;
}

static int add_locked(struct snapdir *d, const struct snapshot *snap, char *key)
	LOCK_REQUIRES(&d->lock)
{
	struct snap *s = calloc(1, sizeof(*s));
	int r = -ENOMEM;

	if (!s) {
		free(key);
		return r;
	}
	s->slot = d->n;
	s->key = key;
	s->seen = true;
	s->id = strdup(snap->id);
	s->l1_offset = snap->l1_offset;
	/* nobody can ask for more than a file can be long */
	s->disk_size = NUM_MIN(num_round_down(snap->disk_size, 512ULL),
			       (uint64_t)INT64_MAX);
	s->state_size = NUM_MIN(snap->vm_state_size, (uint64_t)INT64_MAX);
	s->time.tv_sec = snap->date_sec;
	s->time.tv_nsec = snap->date_nsec % 1000000000;
	atomic_init(&s->blocks, -1);
	if (s->id)
		r = choose_names_locked(d, s, snap);
	if (r == 0)
		r = enter_locked(d, s);
	if (r < 0)
		snapdir_free(s);
	return r;
}

static int merge_locked(struct snapdir *d, const struct snaplist *list)
	LOCK_REQUIRES(&d->lock)
{
	int r = 0;

	for (size_t i = 0; i < d->n; i++)
		d->slot[i]->seen = false;
	for (size_t i = 0; i < list->n && r == 0; i++) {
		char *key = key_of(&list->snap[i]);
		struct snap *s = NULL;

		if (!key)
			return -ENOMEM;
		HASH_FIND(by_key, d->by_key, key, strlen(key), s);
		if (!s) {
			r = add_locked(d, &list->snap[i], key);
			continue;
		}
		/* a second record with the same id and tables is the same */
		s->seen = true;
		free(key);
	}
	return r;
}

/* Take those not seen out of the way; the next one, or NULL. */
static struct snap *next_gone_locked(struct snapdir *d, size_t *i)
	LOCK_REQUIRES(&d->lock)
{
	while (*i < d->n) {
		struct snap *s = d->slot[(*i)++];

		if (s->seen || s->gone)
			continue;
		s->gone = true;
		HASH_DELETE(by_key, d->by_key, s);
		HASH_DELETE(by_shown, d->by_shown, s);
		if (s->id_shown)
			HASH_DELETE(by_id, d->by_id, s);
		return s;
	}
	return NULL;
}

static void drop_gone(struct snapdir *d,
		      void (*gone)(void *arg, const char *shown), void *arg)
{
	const struct snap *s;
	size_t i = 0;

	do {
		lock_take(&d->lock);
		s = next_gone_locked(d, &i);
		lock_drop(&d->lock);
		if (s && gone)
			gone(arg, s->shown);
	} while (s);
}

int snapdir_refresh(struct snapdir *d,
		    void (*gone)(void *arg, const char *shown), void *arg)
{
	struct snaplist list;
	struct err err = { "" };
	int r;

	lock_take(&d->reading);
	r = view_list(d->img, &list, &err);
	if (r == 0) {
		lock_take(&d->lock);
		r = merge_locked(d, &list);
		d->loaded = r == 0;
		lock_drop(&d->lock);
		if (r == 0)
			drop_gone(d, gone, arg);
		else
			err_set_sys(&err, r, "no memory");
	}
	snaplist_fini(&list);
	lock_drop(&d->reading);
	if (r < 0)
		log_limited(LOG_LEVEL_ERROR, "snapshots cannot be shown: %s",
			    err.text);
	return r;
}
