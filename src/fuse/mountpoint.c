#include "fuse/mountpoint.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "fuse/loopdev.h"

/* Undo the \ooo of /proc/self/mountinfo, in place. */
static void unescape(char *s)
{
	char *out = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] &&
		    s[3]) {
			*out++ = (char)((s[1] - '0') * 64 +
					(s[2] - '0') * 8 + (s[3] - '0'));
			s += 3;
		} else {
			*out++ = *s;
		}
	}
	*out = '\0';
}

/* DIR, resolved, and NAME in it. */
static char *resolve_in(const char *dir, const char *name)
{
	autofree char *full = realpath(dir, NULL);
	char *out;

	if (!full)
		return NULL;
	return asprintf(&out, "%s/%s", strcmp(full, "/") ? full : "", name) < 0 ?
		       NULL : out;
}

char *mountpoint_resolve(const char *path)
{
	char *full = realpath(path, NULL);
	autofree char *copy = NULL;
	char *slash;

	if (full || errno != ENOTCONN)
		return full;
	copy = strdup(path);
	if (!copy)
		return NULL;
	while ((slash = strrchr(copy, '/')) && slash > copy && !slash[1])
		*slash = '\0';
	if (!slash)
		return resolve_in(".", copy);
	*slash = '\0';
	return resolve_in(slash == copy ? "/" : copy, slash + 1);
}

static unsigned number_after(const char *text, const char *key)
{
	const char *p = text ? strstr(text, key) : NULL;

	return p ? (unsigned)strtoul(p + strlen(key), NULL, 10) : 0;
}

struct line {
	char *root; /* what of the file system is mounted */
	char *path; /* where */
	struct mountpoint mp;
};

/* Take one apart: "36 35 0:48 ROOT PATH opts optional... - TYPE SOURCE OPTS" */
static bool parse_line(char *text, struct line *out)
{
	char *rest = strstr(text, " - ");
	char *word[5];
	char *save, *type, *source;
	unsigned dev[2] = { 0, 0 };

	for (int i = 0; i < 5; i++) {
		word[i] = strtok_r(i ? NULL : text, " ", &save);
		if (!word[i])
			return false;
	}
	type = rest ? strtok_r(rest + 3, " \n", &save) : NULL;
	source = type ? strtok_r(NULL, " \n", &save) : NULL;
	if (!source)
		return false;
	sscanf(word[2], "%u:%u", &dev[0], &dev[1]);
	out->root = word[3];
	out->path = word[4];
	unescape(out->path);
	unescape(source);
	out->mp.dev = makedev(dev[0], dev[1]);
	snprintf(out->mp.fstype, sizeof(out->mp.fstype), "%s", type);
	snprintf(out->mp.source, sizeof(out->mp.source), "%s", source);
	rest = strtok_r(NULL, "\n", &save);
	out->mp.owner_uid = number_after(rest, "user_id=");
	out->mp.owner_gid = number_after(rest, "group_id=");
	return true;
}

/* A mount table that is read line by line. */
struct table {
	FILE *f;
	char *text;
	size_t cap;
	struct line line; /* the one that table_next() has found; in text */
};

#define OWN_TABLE "/proc/self/mountinfo"

static bool table_open(struct table *t, const char *path)
{
	*t = (struct table){ .f = fopen(path, "re") };
	return t->f;
}

static bool table_next(struct table *t)
{
	while (getline(&t->text, &t->cap, t->f) > 0)
		if (parse_line(t->text, &t->line))
			return true;
	return false;
}

static void table_close(struct table *t)
{
	free(t->text);
	fclose(t->f);
}

bool mountpoint_find(const char *path, struct mountpoint *out)
{
	struct table t;
	bool found = false;

	if (!table_open(&t, OWN_TABLE))
		return false;
	/* the last one lies on top */
	while (table_next(&t)) {
		if (strcmp(t.line.path, path) != 0)
			continue;
		*out = t.line.mp;
		found = true;
	}
	table_close(&t);
	return found;
}

/* The N-th mount of the device DEV in the mount table TABLE, from 0; only mounts
 * of all of it, if WHOLE. */
static bool find_dev(const char *table, dev_t dev, bool whole, unsigned n,
		     char path[PATH_MAX])
{
	struct table t;
	bool found = false;

	if (!table_open(&t, table))
		return false;
	while (!found && table_next(&t))
		found = t.line.mp.dev == dev &&
			(!whole || !strcmp(t.line.root, "/")) && !n--;
	if (found)
		snprintf(path, PATH_MAX, "%s", t.line.path);
	table_close(&t);
	return found;
}

bool mountpoint_nth(dev_t dev, unsigned n, char path[PATH_MAX])
{
	return find_dev(OWN_TABLE, dev, true, n, path);
}

bool mountpoint_is_ours(const struct mountpoint *mp)
{
	return !strcmp(mp->fstype, "fuse.rawcow");
}

static bool lies_in(const char *name, const char *path)
{
	size_t n = strlen(path);

	return !strncmp(name, path, n) && (!name[n] || name[n] == '/');
}

void mountpoint_hint(const char *path, struct err *err)
{
	struct table t;
	char safe[256];
	bool found = false;

	if (!table_open(&t, OWN_TABLE))
		return;
	while (!found && table_next(&t))
		found = mountpoint_is_ours(&t.line.mp) &&
			(!strcmp(t.line.mp.source, path) ||
			 lies_in(path, t.line.path));
	if (found)
		err_append(err, "; see the mount at %s",
			   err_escape(safe, sizeof(safe), t.line.path,
				      strlen(t.line.path)));
	table_close(&t);
}

static int check_empty(const char *path, struct err *err)
{
	DIR *d = opendir(path);
	const struct dirent *e;
	int n = 0;

	if (!d)
		return err_set_sys(err, -errno, "mount point %s", path);
	while (n < 3 && (e = readdir(d)))
		n++;
	closedir(d);
	if (n <= 2)
		return 0;
	return err_set(err, -ENOTEMPTY, "mount point %s is a folder with "
		       "files in it; use another, or -o nonempty to hide them",
		       path);
}

int mountpoint_check(const char *path, bool nonempty,
		     enum node_layout *layout, struct err *err)
{
	struct mountpoint mp;
	struct stat st;

	*layout = NODE_LAYOUT_FOLDER;
	if (stat(path, &st) < 0 && errno == ENOTCONN)
		return err_set(err, -ENOTCONN, "mount point %s: the server of "
			       "the mount there is gone; run: fusermount3 -uz %s",
			       path, path);
	if (mountpoint_find(path, &mp) && mountpoint_is_ours(&mp))
		return err_set(err, -EBUSY, "mount point %s is a mount of %s "
			       "already; run: rawcow umount %s", path,
			       mp.source, path);
	if (stat(path, &st) < 0)
		return err_set_sys(err, -errno, "mount point %s", path);
	if (S_ISREG(st.st_mode)) {
		*layout = NODE_LAYOUT_FILE;
		return 0;
	}
	if (!S_ISDIR(st.st_mode))
		return err_set(err, -EINVAL, "mount point %s is neither a "
			       "regular file nor a folder", path);
	return nonempty ? 0 : check_empty(path, err);
}

static bool is_number(const char *s)
{
	return isdigit((unsigned char)*s);
}

/* Does a link below the folder DIR lead into PATH? */
static bool links_into(const char *dir, const char *path)
{
	char name[600], target[4096];
	DIR *d = opendir(dir);
	const struct dirent *e;
	bool found = false;

	if (!d)
		return false;
	while (!found && (e = readdir(d))) {
		ssize_t n;

		snprintf(name, sizeof(name), "%s/%s", dir, e->d_name);
		n = readlink(name, target, sizeof(target) - 1);
		if (n <= 0)
			continue;
		target[n] = '\0';
		found = lies_in(target, path);
	}
	closedir(d);
	return found;
}

static bool read_word(const char *path, char *buf, int size)
{
	FILE *f = fopen(path, "re");
	bool ok;

	if (!f)
		return false;
	ok = fgets(buf, size, f) != NULL;
	fclose(f);
	buf[ok ? strcspn(buf, "\n") : 0] = '\0';
	return ok;
}

static bool find_loop(const char *path, char *line, size_t size)
{
	DIR *d = opendir("/sys/block");
	const struct dirent *e;
	bool found = false;

	if (!d)
		return false;
	while (!found && (e = readdir(d))) {
		char file[PATH_MAX];

		if (!loopdev_backing(e->d_name, file, sizeof(file)) ||
		    !lies_in(file, path))
			continue;
		snprintf(line, size, "/dev/%s is attached to it: unmount that "
			 "device, then losetup -d /dev/%s", e->d_name,
			 e->d_name);
		found = true;
	}
	closedir(d);
	return found;
}

static bool find_process(const char *path, char *line, size_t size)
{
	DIR *d = opendir("/proc");
	const struct dirent *e;
	bool found = false;

	if (!d)
		return false;
	while (!found && (e = readdir(d))) {
		char name[300], cwd[4096], comm[64];
		ssize_t n;

		if (!is_number(e->d_name))
			continue;
		snprintf(name, sizeof(name), "/proc/%s/cwd", e->d_name);
		n = readlink(name, cwd, sizeof(cwd) - 1);
		cwd[n > 0 ? n : 0] = '\0';
		snprintf(name, sizeof(name), "/proc/%s/fd", e->d_name);
		if (!lies_in(cwd, path) && !links_into(name, path))
			continue;
		snprintf(name, sizeof(name), "/proc/%s/comm", e->d_name);
		if (!read_word(name, comm, sizeof(comm)))
			snprintf(comm, sizeof(comm), "?");
		snprintf(line, size, "process %s (%s) uses it", e->d_name,
			 comm);
		found = true;
	}
	closedir(d);
	return found;
}

void mountpoint_users(const char *path, char *line, size_t size)
{
	*line = '\0';
	if (!find_loop(path, line, size))
		find_process(path, line, size);
}

/* --- mounts elsewhere ---------------------------------------------------------- */

static void find_namespace(dev_t dev, char *line, size_t size)
{
	DIR *d = opendir("/proc");
	const struct dirent *e;
	char first[16] = "", comm[64], name[300], path[PATH_MAX];
	unsigned more = 0;

	if (!d)
		return;
	while ((e = readdir(d))) {
		snprintf(name, sizeof(name), "/proc/%s/mountinfo", e->d_name);
		if (!is_number(e->d_name) || !find_dev(name, dev, false, 0, path))
			continue;
		if (*first)
			more++;
		else
			snprintf(first, sizeof(first), "%.15s", e->d_name);
	}
	closedir(d);
	if (!*first)
		return;
	snprintf(name, sizeof(name), "/proc/%s/comm", first);
	if (!read_word(name, comm, sizeof(comm)))
		snprintf(comm, sizeof(comm), "?");
	snprintf(line, size, more ? "process %s (%s) and %u more have it in "
		 "another mount namespace" : "process %s (%s) has it in "
		 "another mount namespace", first, comm, more);
}

void mountpoint_holders(dev_t dev, char *line, size_t size)
{
	char path[PATH_MAX];

	*line = '\0';
	if (find_dev(OWN_TABLE, dev, false, 0, path))
		snprintf(line, size, "it is also mounted at %s", path);
	else
		find_namespace(dev, line, size);
}

static int run_fusermount(const char *path, enum mountpoint_unmount how)
{
	char name[] = "fusermount3";
	char free_only[] = "-u", lazy[] = "-uz", quiet[] = "-q", end[] = "--";
	char *copy = strdup(path);
	char *argv[] = { name, how == MOUNTPOINT_LAZY ? lazy : free_only,
			 quiet, end, copy, NULL };
	pid_t pid;
	int ws = 0;
	int rc = copy ? posix_spawnp(&pid, name, NULL, NULL, argv, environ) :
			ENOMEM;

	free(copy);
	if (rc)
		return -rc;
	while (waitpid(pid, &ws, 0) < 0 && errno == EINTR)
		;
	/* it does not say why by its status; busy is nearly all there is */
	return WIFEXITED(ws) && WEXITSTATUS(ws) == 0 ? 0 : -EBUSY;
}

int mountpoint_unmount(const char *path, enum mountpoint_unmount how)
{
	int detach = how == MOUNTPOINT_LAZY ? MNT_DETACH : 0;

	if (geteuid() != 0)
		return run_fusermount(path, how);
	return umount2(path, UMOUNT_NOFOLLOW | detach) < 0 ? -errno : 0;
}
