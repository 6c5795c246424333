#include "fuse/order.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "core/admin/snapshot.h"
#include "fuse/loopdev.h"
#include "fuse/ops_tree.h"
#include "fuse/reply.h"

struct order {
	struct job job;
	struct ops_server *s;
	fuse_req_t req;
	struct ctl_order o;
	char **gone; /* names that the kernel shall forget */
	size_t n_gone, gone_cap;
};

/* --- the size ----------------------------------------------------------------- */

struct fix {
	struct job job;
	struct ops_server *s;
};

static bool add_fix(struct ops_server *s, void (*run)(struct job *job))
{
	struct fix *f = calloc(1, sizeof(*f));

	if (!f)
		return false;
	f->job.run = run;
	f->s = s;
	if (!jobs_add(s->work, &f->job))
		free(f);
	return true;
}

static void run_fix(struct job *job)
{
	struct fix *f = (struct fix *)job;

	atomic_store(&f->s->fixing_size, false);
	own_fix_size(f->s->own);
	free(f);
}

void order_fix_size(struct ops_server *s)
{
	if (!s->work || atomic_exchange(&s->fixing_size, true))
		return;
	if (!add_fix(s, run_fix))
		/* the next write beyond the end asks again */
		atomic_store(&s->fixing_size, false);
}

static void run_widen(struct job *job)
{
	struct fix *f = (struct fix *)job;

	own_widen(f->s->own);
	free(f);
}

void order_widen(struct ops_server *s)
{
	(void)add_fix(s, run_widen);
}

/* --- orders --------------------------------------------------------------------- */

/* What a loop device holds of the disk would destroy another one when it writes it
 * back. Other programs that hold the file see the new content. */
static int refuse_apply(struct ops_server *s, struct ctl_order *o)
{
	char name[33];

	if (own_is_readonly(s->own)) {
		snprintf(o->text, sizeof(o->text), "the mount is read-only");
		return -EROFS;
	}
	if (!loopdev_on(own_dev(s->own), node_disk(&s->nodes)->ino, name,
			sizeof(name)))
		return 0;
	snprintf(o->text, sizeof(o->text),
		 "/dev/%s uses the disk and would write old content over it; "
		 "detach it first (losetup -d)", name);
	return -EBUSY;
}

/* All that programs have written so far belongs to what is done now. */
static int save_cache(struct order *w)
{
	int rc = own_sync(w->s->own);

	if (rc)
		snprintf(w->o.text, sizeof(w->o.text),
			 "what programs have written cannot be saved: %s",
			 strerror(-rc));
	return rc;
}

/* The kernel tells of a close() only after it has returned: who has just read a
 * snapshot and then deletes it shall not be told that it is in use. */
#define CLOSE_TRIES 10
#define CLOSE_PAUSE_NS 20000000L

/* After *TRIES of them RC is final. */
static bool closes_soon(int rc, unsigned *tries)
{
	const struct timespec pause = { .tv_nsec = CLOSE_PAUSE_NS };

	if (rc != -EBUSY || ++*tries >= CLOSE_TRIES)
		return false;
	nanosleep(&pause, NULL);
	return true;
}

/* The disk is another one: tell the kernel its size, then drop all pages, so
 * that reads and mappings find the new content. */
static void disk_changed(struct ops_server *s)
{
	fuse_ino_t ino = node_disk(&s->nodes)->ino;

	node_touch(node_disk(&s->nodes));
	own_fix_size(s->own);
	fuse_lowlevel_notify_inval_inode(s->se, ino, 0, 0);
}

static void obey(struct order *w)
{
	uint64_t size = image_size(w->s->img);
	struct ctl_order *o = &w->o;
	unsigned tries = 0;

	o->result = 0;
	if (o->verb == CTL_SNAPSHOT_APPLY)
		o->result = refuse_apply(w->s, o);
	if (o->verb == CTL_SNAPSHOT_APPLY && !o->result)
		/* what cannot be saved would be lost anyway */
		(void)!own_sync(w->s->own);
	else if (o->verb != CTL_SNAPSHOT_DELETE && !o->result)
		o->result = save_cache(w);
	if (o->result)
		return;
	do
		ctl_obey(w->s->img, o);
	while (o->verb == CTL_SNAPSHOT_DELETE &&
	       closes_soon(o->result, &tries));
	/* an error may have come later, where the size is another one */
	if (o->verb == CTL_SNAPSHOT_APPLY &&
	    (!o->result || image_size(w->s->img) != size))
		disk_changed(w->s);
}

static void answer(struct order *w)
{
	fuse_reply_ioctl(w->req, 0, &w->o, sizeof(w->o));
	for (size_t i = 0; i < w->n_gone; i++)
		free(w->gone[i]);
	free(w->gone);
	free(w);
}

static void note_gone(void *arg, const char *shown)
{
	struct order *w = arg;
	char *name = strdup(shown);

	if (name && mem_grow(&w->gone, &w->gone_cap, w->n_gone + 1,
			     sizeof(*w->gone)) == 0)
		w->gone[w->n_gone++] = name;
	else
		free(name);
}

/* In the tell thread: the kernel forgets the names, then the answer. */
static void run_tell(struct job *job)
{
	struct order *w = (struct order *)job;
	fuse_ino_t dir = w->s->nodes.snapshots;

	for (size_t i = 0; i < w->n_gone; i++)
		fuse_lowlevel_notify_inval_entry(w->s->se, dir, w->gone[i],
						 strlen(w->gone[i]));
	answer(w);
}

/* What is below snapshots/ follows; true: the kernel has to forget a part of
 * it. */
static bool names_changed(struct order *w)
{
	if (w->s->nodes.snapshots)
		(void)snapdir_refresh(&w->s->snaps, note_gone, w);
	return w->n_gone;
}

static bool is_snapshots(const struct ctl_order *o)
{
	return o->verb == CTL_SNAPSHOT_CREATE || o->verb == CTL_SNAPSHOT_DELETE;
}

static void run_order(struct job *job)
{
	struct order *w = (struct order *)job;

	obey(w);
	if (!w->o.result && is_snapshots(&w->o) && names_changed(w)) {
		job->run = run_tell;
		if (jobs_add(w->s->tell, job))
			return;
	}
	answer(w);
}

void order_take(struct ops_server *s, fuse_req_t req, const struct ctl_order *o)
{
	struct order *w = calloc(1, sizeof(*w));

	if (!w) {
		reply_status(req, -ENOMEM);
		return;
	}
	w->job.run = run_order;
	w->s = s;
	w->req = req;
	w->o = *o;
	if (jobs_add(s->work, &w->job))
		return;
	reply_status(req, -ENOTCONN);
	free(w);
}

/* --- folders ------------------------------------------------------------------------- */

struct change {
	struct job job;
	struct ops_server *s;
	fuse_req_t req;
	char name[SNAPNAME_MAX + 1]; /* of the folder */
};

/* What mkdir(2) and rmdir(2) say of it. */
static int folder_error(int rc)
{
	switch (rc) {
	case -EMFILE: /* as many as the format allows */
	case -ERANGE: /* a refcount is at its maximum */
		return -EMLINK;
	case -ENOTSUP:
		return -EOPNOTSUPP;
	default:
		return rc;
	}
}

static void log_change(const struct change *c, const char *what, int rc,
		       const struct err *err)
{
	if (rc < 0 && rc != -EBUSY && rc != -EEXIST)
		log_limited(LOG_LEVEL_ERROR, "%s snapshots/%s: %s", what,
			    c->name, *err->text ? err->text : strerror(-rc));
}

static int make(struct change *c, struct err *err)
{
	char name[SNAPNAME_MAX + 1];
	fuse_ino_t ino;
	int rc = snapdir_lookup(&c->s->snaps, c->s->snaps.ino, c->name, &ino);

	if (rc != -ENOENT)
		return rc < 0 ? rc : -EEXIST;
	if (!snapname_unescape(c->name, name))
		return -EINVAL;
	rc = own_sync(c->s->own);
	if (!rc)
		rc = snapshot_create(c->s->img, name, err);
	return rc;
}

static int find_made(struct change *c, struct fuse_entry_param *e)
{
	struct ops_server *s = c->s;
	fuse_ino_t ino;
	int rc = snapdir_refresh(&s->snaps, NULL, NULL);

	if (!rc)
		rc = snapdir_lookup(&s->snaps, s->snaps.ino, c->name, &ino);
	return rc ? rc : ops_tree_entry(s, ino, e);
}

/* A snapshot that cannot be shown has not been made. */
static void take_back(struct change *c)
{
	char name[SNAPNAME_MAX + 1];
	struct err err = { "" };
	int rc = -EINVAL;

	if (snapname_unescape(c->name, name))
		rc = snapshot_delete(c->s->img, name, &err);
	log_change(c, "taking back", rc, &err);
}

static void run_mkdir(struct job *job)
{
	struct change *c = (struct change *)job;
	struct ops_server *s = c->s;
	struct fuse_entry_param e;
	struct err err = { "" };
	int rc = make(c, &err);

	log_change(c, "mkdir", rc, &err);
	if (!rc) {
		rc = find_made(c, &e);
		if (rc)
			take_back(c);
	}
	node_touch(node_get(&s->nodes, s->snaps.ino));
	if (rc)
		reply_status(c->req, folder_error(rc));
	else
		fuse_reply_entry(c->req, &e);
	free(c);
}

/* The name is looked up here, where nothing else changes snapshots: a new one may
 * get the id and the place of one that was deleted. */
static int unmake(struct change *c, struct err *err)
{
	struct snapshot snap;
	int rc = snapdir_find(&c->s->snaps, c->name, &snap);
	unsigned tries = 0;

	if (rc)
		return rc;
	do
		rc = snapshot_delete_this(c->s->img, &snap, err);
	while (closes_soon(rc, &tries));
	snaptable_fini(&snap);
	log_change(c, "rmdir", rc, err);
	return rc;
}

static void run_rmdir(struct job *job)
{
	struct change *c = (struct change *)job;
	struct ops_server *s = c->s;
	struct err err = { "" };
	int rc = unmake(c, &err);

	if (!rc)
		(void)snapdir_refresh(&s->snaps, NULL, NULL);
	node_touch(node_get(&s->nodes, s->snaps.ino));
	reply_status(c->req, folder_error(rc));
	free(c);
}

static struct change *new_change(struct ops_server *s, fuse_req_t req,
				 const char *name)
{
	struct change *c = calloc(1, sizeof(*c));

	if (c) {
		c->s = s;
		c->req = req;
		snprintf(c->name, sizeof(c->name), "%s", name);
	}
	return c;
}

static void start(struct change *c)
{
	if (jobs_add(c->s->work, &c->job))
		return;
	reply_status(c->req, -ENOTCONN);
	free(c);
}

void order_mkdir(struct ops_server *s, fuse_req_t req, const char *name)
{
	char plain[SNAPNAME_MAX + 1];
	struct change *c;
	int rc = 0;

	if (strlen(name) > SNAPNAME_MAX)
		rc = -ENAMETOOLONG;
	else if (!snapname_unescape(name, plain))
		rc = -EINVAL;
	c = rc ? NULL : new_change(s, req, name);
	if (!c) {
		reply_status(req, rc ? rc : -ENOMEM);
		return;
	}
	c->job.run = run_mkdir;
	start(c);
}

void order_rmdir(struct ops_server *s, fuse_req_t req, const char *name)
{
	struct change *c = NULL;
	int rc = strlen(name) > SNAPNAME_MAX ? -ENOENT : 0;

	if (!rc)
		c = new_change(s, req, name);
	if (!c) {
		reply_status(req, rc ? rc : -ENOMEM);
		return;
	}
	c->job.run = run_rmdir;
	start(c);
}
