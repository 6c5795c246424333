#include "fuse/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "fuse/fuselog.h"
#include "fuse/mountpoint.h"

/* --- what the kernel finds ------------------------------------------------- */

static void set_cache_mode(struct ops_server *v, enum opts_cache mode)
{
	bool through = mode == OPTS_CACHE_WRITETHROUGH ||
		       mode == OPTS_CACHE_DIRECTSYNC;

	v->direct_io = mode == OPTS_CACHE_NONE || mode == OPTS_CACHE_DIRECTSYNC;
	v->flush_each_write = through;
	v->writeback = !through && !v->direct_io && !v->readonly;
}

static void set_nodes(struct ops_server *v, const struct opts *o,
		      enum node_layout layout)
{
	mode_t mask = o->has_umask ? o->umask : 0077;
	struct node_owner owner = { .uid = o->uid, .gid = o->gid };

	if (v->readonly)
		mask |= 0222;
	owner.file_mode = 0666 & ~mask;
	owner.folder_mode = 0777 & ~mask;
	node_table_init(&v->nodes, layout, &owner, image_mtime_ns(v->img));
	for (unsigned i = 0; v->texts[i].name; i++)
		node_add_text(&v->nodes, i, v->texts[i].name, &owner,
			      image_mtime_ns(v->img));
	v->snaps.img = v->bitmaps.img = v->img;
	v->snaps.ino = v->nodes.snapshots;
	v->bitmaps.ino = v->nodes.bitmaps;
	v->snaps.uid = v->bitmaps.uid = owner.uid;
	v->snaps.gid = v->bitmaps.gid = owner.gid;
	v->snaps.file_mode = v->bitmaps.file_mode = owner.file_mode & ~0222U;
	v->snaps.folder_mode = owner.folder_mode & ~0222U;
}

void attach_setup(struct ops_server *v, const struct opts *o,
		  enum node_layout layout)
{
	v->readonly = image_readonly(v->img);
	v->growable = o->growable;
	v->shrinkable = o->shrinkable;
	v->max_read = o->max_read;
	set_cache_mode(v, o->cache);
	set_nodes(v, o, layout);
}

/* --- the mount ------------------------------------------------------------- */

/* A line of fuse.conf, as fusermount3 reads it. */
static bool line_allows_other(char *line)
{
	char *p = line + strspn(line, " \t");

	p[strcspn(p, "#")] = '\0';
	return !strncmp(p, "user_allow_other", 16) &&
	       !p[16 + strspn(p + 16, " \t\r\n")];
}

static bool user_may_allow_other(void)
{
	FILE *f = geteuid() ? fopen("/etc/fuse.conf", "re") : NULL;
	autofree char *line = NULL;
	size_t cap = 0;
	bool found = !geteuid();

	while (f && !found && getline(&line, &cap, f) > 0)
		found = line_allows_other(line);
	if (f)
		fclose(f);
	return found;
}

/* An image that is mounted on itself has its path lead to the disk, and mkfs(8)
 * refuses a file that is the source of a mount: the name alone leads nowhere. */
static const char *source_of(const struct opts *o)
{
	return strcmp(o->image, o->mountpoint) ? o->image :
						 strrchr(o->image, '/') + 1;
}

/* What libfuse is told: ours first, so that the user's own come to win. */
static char *mount_options(const struct ops_server *server,
			   const struct opts *o)
{
	struct opts all = { 0 };
	char *out = NULL;
	char max_read[16];

	snprintf(max_read, sizeof(max_read), "%u", o->max_read);
	if (opts_pass(&all, "nosuid", NULL) || opts_pass(&all, "nodev", NULL) ||
	    opts_pass(&all, "default_permissions", NULL) ||
	    opts_pass(&all, "subtype", "rawcow") ||
	    opts_pass(&all, "fsname", source_of(o)) ||
	    opts_pass(&all, server->readonly ? "ro" : "rw", NULL) ||
	    (o->max_read && opts_pass(&all, "max_read", max_read)) ||
	    (o->allow_other && opts_pass(&all, "allow_other", NULL)) ||
	    (o->allow_root && opts_pass(&all, "allow_root", NULL)) ||
	    (o->debug && opts_pass(&all, "debug", NULL)))
		goto end;
	if (!o->fuse_opts)
		out = mem_steal(&all.fuse_opts);
	else if (asprintf(&out, "%s,%s", all.fuse_opts, o->fuse_opts) < 0)
		out = NULL;
end:
	free(all.fuse_opts);
	return out;
}

int attach_new(struct fuse_session **out, struct ops_server *server,
	       const struct opts *o, struct err *err)
{
	autofree char *list = mount_options(server, o);
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);

	if (!list || fuse_opt_add_arg(&args, "rawcow") ||
	    fuse_opt_add_arg(&args, "-o") || fuse_opt_add_arg(&args, list)) {
		fuse_opt_free_args(&args);
		return err_set(err, -ENOMEM, "out of memory");
	}
	fuselog_init();
	*out = fuse_session_new(&args, &ops_table, sizeof(ops_table), server);
	fuse_opt_free_args(&args);
	if (!*out)
		return err_set(err, -EINVAL, "mount options refused%s",
			       fuselog_complaint());
	return 0;
}

int attach_check(const struct opts *o, struct err *err)
{
	struct ops_server nobody = { .readonly = o->img.readonly };
	struct fuse_session *se;
	int rc;

	if ((o->allow_other || o->allow_root) && !user_may_allow_other())
		return err_set(err, -EPERM, "-o allow_other and allow_root "
			       "need the line user_allow_other in "
			       "/etc/fuse.conf");
	if (access("/dev/fuse", F_OK) < 0)
		return err_set_sys(err, -errno, "/dev/fuse (modprobe fuse?)");
	rc = attach_new(&se, &nobody, o, err);
	if (!rc)
		fuse_session_destroy(se);
	return rc;
}

int attach_mount(struct fuse_session *se, const struct opts *o,
		 struct err *err)
{
	int rc;

	fuselog_listen();
	rc = fuse_session_mount(se, o->mountpoint);
	fuselog_hear(rc < 0);
	if (rc < 0)
		return err_set(err, -EIO, "cannot mount on %s%s",
			       o->mountpoint, fuselog_complaint());
	return 0;
}

bool attach_is_connected(struct fuse_session *se)
{
	struct pollfd p = { .fd = fuse_session_fd(se) };

	return poll(&p, 1, 0) >= 0 && !(p.revents & (POLLERR | POLLNVAL));
}

/* The device may be that of another mount by now, but not of this image, which is
 * locked. */
bool attach_is_aborted(struct fuse_session *se, dev_t dev,
		       const struct opts *o)
{
	struct mountpoint mp;
	char path[PATH_MAX];

	return !attach_is_connected(se) && dev &&
	       mountpoint_nth(dev, 0, path) && mountpoint_find(path, &mp) &&
	       mp.dev == dev && mountpoint_is_ours(&mp) &&
	       !strcmp(mp.source, source_of(o));
}

/* libfuse unmounts by name, unless it sees that the connection is gone: put
 * something in its place that looks so. */
static void disconnect(struct fuse_session *se)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return;
	close(fds[0]);
	dup3(fds[1], fuse_session_fd(se), O_CLOEXEC);
	close(fds[1]);
}

static bool lies_on_top(dev_t dev, const char *path)
{
	struct mountpoint mp;

	return mountpoint_find(path, &mp) && mp.dev == dev;
}

/* Those that cannot be taken away are left: their number. The device is ours only
 * while we are connected: the next mount of anybody gets the same number. */
static unsigned unmount_all(struct fuse_session *se, dev_t dev,
			    enum mountpoint_unmount how)
{
	char path[PATH_MAX];
	unsigned left = 0;

	while (mountpoint_nth(dev, left, path)) {
		bool on_top = lies_on_top(dev, path);

		if (!attach_is_connected(se))
			return 0;
		if (!on_top || mountpoint_unmount(path, how) < 0)
			left++;
	}
	return left;
}

/* Without /proc the name is all there is. */
static bool knows_places(dev_t dev)
{
	return dev && !access("/proc/self/mountinfo", R_OK);
}

int attach_unmount_free(struct fuse_session *se, dev_t dev)
{
	return knows_places(dev) && unmount_all(se, dev, MOUNTPOINT_FREE) ?
		       -EBUSY : 0;
}

int attach_unmount(struct fuse_session *se, dev_t dev)
{
	unsigned left = 0;

	if (knows_places(dev)) {
		left = unmount_all(se, dev, MOUNTPOINT_LAZY);
		disconnect(se);
	}
	fuse_session_unmount(se);
	return left ? -EBUSY : 0;
}
