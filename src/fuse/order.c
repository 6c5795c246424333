#include "fuse/order.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "fuse/reply.h"

struct order {
	struct job job;
	struct ops_server *s;
	fuse_req_t req;
	struct ctl_order o;
};

/* --- the size ----------------------------------------------------------------- */

struct fix {
	struct job job;
	struct ops_server *s;
};

static void run_fix(struct job *job)
{
	struct fix *f = (struct fix *)job;

	atomic_store(&f->s->fixing_size, false);
	own_fix_size(f->s->own);
	free(f);
}

void order_fix_size(struct ops_server *s)
{
	struct fix *f;

	if (!s->work || atomic_exchange(&s->fixing_size, true))
		return;
	f = calloc(1, sizeof(*f));
	if (!f) {
		/* the next write beyond the end asks again */
		atomic_store(&s->fixing_size, false);
		return;
	}
	f->job.run = run_fix;
	f->s = s;
	jobs_add(s->work, &f->job);
}

/* --- who must not have the disk --------------------------------------------------- */

/* Does the loop device NAME stand on the file PATH? */
static bool loop_is_on(const char *name, const char *path)
{
	char file[PATH_MAX], line[PATH_MAX];
	bool found;
	FILE *f;

	if (snprintf(file, sizeof(file), "/sys/block/%s/loop/backing_file",
		     name) >= (int)sizeof(file))
		return false;
	f = fopen(file, "re");
	if (!f)
		return false;
	found = fgets(line, sizeof(line), f);
	fclose(f);
	if (!found)
		return false;
	line[strcspn(line, "\n")] = '\0';
	return !strcmp(line, path);
}

/*
 * A loop device has a page cache, and perhaps a mounted file system, of its own
 * which nobody tells that the disk is another one now: what it writes back
 * would destroy it. Other programs that hold the file see the new content.
 */
static int refuse_loop(const char *path, struct ctl_order *o)
{
	DIR *d = opendir("/sys/block");
	const struct dirent *e;
	int rc = 0;

	while (d && !rc && (e = readdir(d)))
		if (!strncmp(e->d_name, "loop", 4) &&
		    loop_is_on(e->d_name, path)) {
			rc = -EBUSY;
			snprintf(o->text, sizeof(o->text),
				 "/dev/%.32s uses the disk and would write old "
				 "content over it; detach it first (losetup "
				 "-d)", e->d_name);
		}
	if (d)
		closedir(d);
	return rc;
}

/* --- orders --------------------------------------------------------------------- */

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

static void obey(struct order *w)
{
	struct ctl_order *o = &w->o;

	o->result = 0;
	if (o->verb == CTL_SNAPSHOT_APPLY)
		o->result = refuse_loop(w->s->disk_path, o);
	if (!o->result && o->verb == CTL_SNAPSHOT_CREATE)
		o->result = save_cache(w);
	/* what cannot be saved would be lost anyway */
	else if (!o->result && o->verb == CTL_SNAPSHOT_APPLY)
		(void)!own_sync(w->s->own);
	if (!o->result)
		ctl_obey(w->s->img, o);
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

static void run_order(struct job *job)
{
	struct order *w = (struct order *)job;

	obey(w);
	if (!w->o.result && w->o.verb == CTL_SNAPSHOT_APPLY)
		disk_changed(w->s);
	fuse_reply_ioctl(w->req, 0, &w->o, sizeof(w->o));
	free(w);
}

bool order_is_work(const struct ctl_order *o)
{
	return o->verb == CTL_SNAPSHOT_CREATE ||
	       o->verb == CTL_SNAPSHOT_DELETE || o->verb == CTL_SNAPSHOT_APPLY;
}

void order_take(struct ops_server *s, fuse_req_t req, const struct ctl_order *o)
{
	struct order *w = calloc(1, sizeof(*w));

	if (!w) {
		reply_status(req, -ENOMEM);
		return;
	}
	*w = (struct order){ { NULL, run_order }, s, req, *o };
	jobs_add(s->work, &w->job);
}
