/* helper_soakdir: what is beside the disk: snapshots, texts, attributes. */
#include "helper_soak.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define PATH 512
#define CHUNK (1u << 20)

/* --- snapshots ------------------------------------------------------------------ */

#define KEPT 3

struct kept {
	char path[PATH]; /* of the folder */
	bool there;
	uint8_t *own;	 /* the keeper's pieces as they were, the others' not */
	uint64_t size, sum;
	bool summed;
};

static void keeper_write(struct soak_worker *w, int fd)
{
	uint64_t off, len;

	for (int i = 0; i < 4; i++) {
		soak_pick(w, 1, &off, &len);
		soak_scribble(w, off, len);
		helpers_pwrite(fd, w->soak->model + off, len, off);
	}
}

/* All that was written before, through whatever cache, is in it. */
static void keeper_make(struct soak_worker *w, struct kept *k)
{
	uint64_t off, len;

	if (mkdir(k->path, 0700))
		soak_bad(w, "mkdir %s", k->path);
	if (mkdir(k->path, 0700) == 0 || errno != EEXIST)
		soak_bad(w, "a second mkdir %s", k->path);
	for (uint64_t i = 0; i < soak_pieces(w->soak); i++) {
		soak_piece(w, i, &off, &len);
		memcpy(k->own + off, w->soak->model + off, len);
	}
	k->there = true;
	k->summed = false;
}

static uint64_t sum(uint64_t so_far, const uint8_t *p, size_t n)
{
	for (uint64_t x; n >= sizeof(x); p += sizeof(x), n -= sizeof(x)) {
		memcpy(&x, p, sizeof(x));
		so_far = (so_far ^ x) * 0x100000001b3u;
		so_far ^= so_far >> 29;
	}
	return so_far;
}

/* Of [AT, AT + N) what the keeper owns. */
static void keeper_compare(struct soak_worker *w, const struct kept *k,
			   const uint8_t *buf, uint64_t at, uint64_t n)
{
	uint64_t off, len;

	for (uint64_t i = 0; i < soak_pieces(w->soak); i++) {
		soak_piece(w, i, &off, &len);
		if (off >= at && off + len <= at + n)
			soak_compare(w, k->path, buf + (off - at),
				     k->own + off, off, len);
	}
}

/* A snapshot has what the disk had, and never has anything else. */
static void keeper_read(struct soak_worker *w, struct kept *k, int fd,
			uint8_t *buf)
{
	uint64_t s = 1, at = 0;
	ssize_t n;

	while ((n = pread(fd, buf, CHUNK, (off_t)at)) > 0) {
		keeper_compare(w, k, buf, at, (uint64_t)n);
		s = sum(s, buf, (size_t)n);
		at += (uint64_t)n;
	}
	if (n < 0)
		soak_bad(w, "reading %s at %" PRIu64, k->path, at);
	if (k->summed && (k->sum != s || k->size != at))
		soak_bad(w, "%s has changed: %" PRIu64 " bytes, %" PRIu64
			 " before", k->path, at, k->size);
	k->sum = s;
	k->size = at;
	k->summed = true;
}

static void keeper_look(struct soak_worker *w, struct kept *k, uint8_t *buf)
{
	char path[PATH + 16];
	int fd;

	snprintf(path, sizeof(path), "%s/disk.raw", k->path);
	fd = helpers_open(path, soak_dice(w, 3) ? "ro,direct" : "ro");
	keeper_read(w, k, fd, buf);
	if (rmdir(k->path) == 0 || errno != EBUSY)
		soak_bad(w, "rmdir %s while it is open", k->path);
	close(fd);
}

/* The kernel tells of a close later, and others look at it too. */
static void keeper_remove(struct soak_worker *w, struct kept *k)
{
	struct stat st;
	int tries = 0;

	while (rmdir(k->path)) {
		if (errno != EBUSY || ++tries > 2000)
			soak_bad(w, "rmdir %s", k->path);
		soak_nap(w);
	}
	if (stat(k->path, &st) == 0 || errno != ENOENT)
		soak_bad(w, "%s is still there", k->path);
	k->there = false;
}

static void keeper_list(struct soak_worker *w, const struct kept *k)
{
	char path[PATH];
	const struct dirent *e;
	int n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "%s/snapshots", w->soak->mnt);
	d = opendir(path);
	while (d && (e = readdir(d)))
		n += !strncmp(e->d_name, "keep", 4);
	if (!d || closedir(d))
		soak_bad(w, "reading snapshots");
	for (int i = 0; i < KEPT; i++)
		n -= k[i].there;
	if (n)
		soak_bad(w, "%d names too many in snapshots", n);
}

static void keeper_refused(struct soak_worker *w)
{
	char path[PATH];

	snprintf(path, sizeof(path), "%s/snapshots/x", w->soak->mnt);
	if (mkdir(path, 0700) == 0 || errno != EOPNOTSUPP)
		soak_bad(w, "mkdir %s", path);
}

static void keeper_change(struct soak_worker *w, struct kept *k, uint8_t *buf)
{
	unsigned i = (unsigned)soak_dice(w, KEPT);

	if (!w->soak->snapshots)
		keeper_refused(w);
	else if (!k[i].there)
		keeper_make(w, &k[i]);
	else if (soak_dice(w, 3))
		keeper_look(w, &k[i], buf);
	else
		keeper_remove(w, &k[i]);
	if (w->soak->snapshots)
		keeper_list(w, k);
}

/* One of the same name may be left of the last time. */
static void keeper_begin(struct soak_worker *w, struct kept *k, int slot)
{
	snprintf(k->path, sizeof(k->path), "%s/snapshots/keep%d", w->soak->mnt,
		 slot);
	k->own = helpers_buffer(w->soak->size);
	if (access(k->path, F_OK) == 0)
		keeper_remove(w, k);
}

void soak_keeper(struct soak_worker *w)
{
	int fd = helpers_open(w->soak->disk, NULL);
	uint8_t *buf = helpers_buffer(CHUNK);
	struct kept k[KEPT] = { 0 };

	for (int i = 0; i < KEPT; i++)
		keeper_begin(w, &k[i], i);
	while (soak_step(w)) {
		keeper_write(w, fd);
		keeper_change(w, k, buf);
	}
	for (int i = 0; i < KEPT; i++)
		free(k[i].own);
	free(buf);
	close(fd);
}

/* --- everything that can be looked at ------------------------------------------------ */

/* Snapshots and bitmaps come and go; nothing else does. */
static void may_be_gone(struct soak_worker *w, const char *path)
{
	bool comes = strstr(path, "/snapshots/") || strstr(path, "/bitmaps/");

	if (!comes || errno != ENOENT)
		soak_bad(w, "looking at %s", path);
}

static void look_into(struct soak_worker *w, const char *path)
{
	static _Thread_local char buf[65536];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0) {
		may_be_gone(w, path);
		return;
	}
	if (fstat(fd, &st) < 0 ||
	    pread(fd, buf, sizeof(buf),
		  (off_t)soak_dice(w, (uint64_t)st.st_size + 1)) < 0)
		soak_bad(w, "reading %s", path);
	close(fd);
}

static void look_at(struct soak_worker *w, const char *path, int depth)
{
	char below[PATH * 2];
	const struct dirent *e;
	struct stat st;
	DIR *d;

	if (lstat(path, &st)) {
		may_be_gone(w, path);
		return;
	}
	if (!S_ISDIR(st.st_mode)) {
		if (soak_dice(w, 4) == 0)
			look_into(w, path);
		return;
	}
	d = opendir(path);
	if (!d) {
		may_be_gone(w, path);
		return;
	}
	while ((errno = 0, e = readdir(d))) {
		if (depth > 3)
			soak_bad(w, "%s is deep", path);
		snprintf(below, sizeof(below), "%s/%s", path, e->d_name);
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			look_at(w, below, depth + 1);
	}
	if (errno)
		may_be_gone(w, path);
	closedir(d);
}

void soak_looker(struct soak_worker *w)
{
	char gone[PATH];
	struct statvfs v;
	struct stat st;

	snprintf(gone, sizeof(gone), "%s/snapshots/none", w->soak->mnt);
	while (soak_step(w)) {
		look_at(w, w->soak->mnt, 0);
		if (statvfs(w->soak->mnt, &v) || !v.f_blocks)
			soak_bad(w, "statvfs");
		if (stat(gone, &st) == 0 || errno != ENOENT)
			soak_bad(w, "stat of a name that is not there");
		if (rmdir(gone) == 0 || errno != ENOENT)
			soak_bad(w, "rmdir of a name that is not there");
		soak_nap(w);
	}
}

/* --- texts --------------------------------------------------------------------------- */

static void read_text(struct soak_worker *w, const char *path)
{
	static _Thread_local char buf[1u << 20];
	size_t len = 0, step = 1 + soak_dice(w, 8192);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0) {
		may_be_gone(w, path);
		return;
	}
	while ((n = read(fd, buf + len,
			 step < sizeof(buf) - len ? step :
						    sizeof(buf) - len)) > 0)
		len += (size_t)n;
	if (n < 0)
		soak_bad(w, "reading %s", path);
	close(fd);
	if (!soak_is_json(buf, len))
		soak_bad(w, "%s is not JSON: '%.*s'", path,
			 (int)(len < 2000 ? len : 2000), buf);
}

static void read_texts_in(struct soak_worker *w, const char *folder)
{
	char path[PATH], below[PATH * 2];
	const struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "%s/%s", w->soak->mnt, folder);
	d = opendir(path);
	if (!d)
		soak_bad(w, "opening %s", path);
	while ((e = readdir(d))) {
		snprintf(below, sizeof(below), "%s/%s", path, e->d_name);
		if (e->d_type == DT_REG)
			read_text(w, below);
	}
	closedir(d);
}

void soak_texts(struct soak_worker *w)
{
	while (soak_step(w)) {
		read_texts_in(w, ".rawcow");
		read_texts_in(w, "bitmaps");
		soak_nap(w);
	}
}

/* --- attributes ---------------------------------------------------------------------- */

/* Nobody else changes the mode; the times others do. */
void soak_attributes(struct soak_worker *w)
{
	struct timespec t[2] = { { .tv_sec = 1 }, { .tv_sec = 2 } };
	struct stat st;

	while (soak_step(w)) {
		mode_t mode = 0600 | (mode_t)soak_dice(w, 0200);

		if (chmod(w->soak->disk, mode) || stat(w->soak->disk, &st))
			soak_bad(w, "chmod");
		if ((st.st_mode & 07777) != mode)
			soak_bad(w, "mode %o after chmod %o", st.st_mode, mode);
		t[0].tv_sec = t[1].tv_sec = (time_t)soak_dice(w, 2000000000);
		if (utimensat(AT_FDCWD, w->soak->disk, t, 0))
			soak_bad(w, "utimensat");
		if (chown(w->soak->disk, getuid(), getgid()))
			soak_bad(w, "chown");
		soak_nap(w);
	}
}
