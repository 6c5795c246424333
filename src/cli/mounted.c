#include "cli/mounted.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/num.h"
#include "cli/cmd.h"
#include "fuse/mountpoint.h"

bool mounted_at(const char *path)
{
	autofree char *full = mountpoint_resolve(path);
	struct mountpoint mp;

	return full && mountpoint_find(full, &mp) && mountpoint_is_ours(&mp);
}

static int gone(const char *path, struct err *err)
{
	char safe[256];

	return err_set(err, -ENOTCONN, "the server of the mount is gone "
		       "(killed?); run: fusermount3 -uz %s",
		       err_escape(safe, sizeof(safe), path, strlen(path)));
}

void mounted_hint(const char *path, struct err *err)
{
	autofree char *full = mountpoint_resolve(path);

	if (full)
		mountpoint_hint(full, err);
}

int mounted_fail(const char *path, struct err *err)
{
	char safe[256];
	struct stat st;

	if (!mounted_at(path)) {
		mounted_hint(path, err);
		return cmd_fail(NULL, err);
	}
	if (stat(path, &st) < 0 && errno == ENOTCONN)
		(void)gone(path, err);
	else
		err_append(err, "; an image is mounted there: name its file, "
			   "or run first: rawcow umount %s",
			   err_escape(safe, sizeof(safe), path, strlen(path)));
	return cmd_fail(NULL, err);
}

static int open_disk(const char *path)
{
	char in[PATH_MAX];
	struct stat st;

	if (stat(path, &st) < 0)
		return -1;
	if (!S_ISDIR(st.st_mode))
		return open(path, O_RDONLY | O_CLOEXEC);
	snprintf(in, sizeof(in), "%s/%s", path, NODE_DISK_NAME);
	return open(in, O_RDONLY | O_CLOEXEC);
}

static int ask(const char *path, unsigned long what, void *arg,
	       struct err *err)
{
	int fd = open_disk(path);
	int r = 0;

	if (fd < 0 && errno == ENOTCONN)
		return gone(path, err);
	if (fd < 0)
		return err_set_sys(err, -errno, "cannot open the mounted disk");
	if (ioctl(fd, what, arg) < 0)
		r = errno == ENOTCONN ? gone(path, err) :
			err_set_sys(err, -errno,
				    "cannot ask the server of the mount");
	close(fd);
	return r;
}

/* The server may be anybody's, and its text without an end. */
static int refused(int result, const char text[CTL_TEXT_MAX], struct err *err)
{
	return err_set(err, result, "%.*s", CTL_TEXT_MAX, text);
}

int mounted_order(const char *path, struct ctl_order *order, struct err *err)
{
	int r = ask(path, CTL_IOC_ORDER, order, err);

	if (r < 0)
		return r;
	return order->result < 0 ? refused(order->result, order->text, err) : 0;
}

int mounted_status(const char *path, struct ctl_status *st, struct err *err)
{
	return ask(path, CTL_IOC_STATUS, st, err);
}

int mounted_check(const char *path, struct ctl_check *out, struct err *err)
{
	int r = ask(path, CTL_IOC_CHECK, out, err);

	if (r < 0)
		return r;
	return out->result < 0 ? refused(out->result, out->text, err) : 0;
}

/* --- lists --------------------------------------------------------------------- */

/* How often a list may change while it is fetched, unless it fits one piece. */
#define TRIES 20

/* The list by pieces into F. -EAGAIN: there is another one by now. */
static int fetch_once(const char *path, struct ctl_list *l, FILE *f,
		      struct err *err)
{
	uint64_t sum = 0;
	int r;

	l->offset = 0;
	do {
		r = ask(path, CTL_IOC_LIST, l, err);
		if (r < 0)
			return r;
		if (l->result < 0)
			return refused(l->result, l->text, err);
		if (l->offset && l->sum != sum)
			return err_set(err, -EAGAIN, "the list changes all the time");
		sum = l->sum;
		l->len = NUM_MIN(l->len, (uint32_t)CTL_LIST_MAX);
		fwrite(l->data, 1, l->len, f);
		l->offset += l->len;
	} while (l->len && l->offset < l->size);
	return 0;
}

static int fetch(const char *path, enum ctl_list_what what, char **out,
		 size_t *size, struct err *err)
{
	autofree struct ctl_list *l = calloc(1, sizeof(*l));
	FILE *f = l ? open_memstream(out, size) : NULL;
	int r = -EAGAIN;

	if (!f)
		return err_set(err, -ENOMEM, "no memory for a list");
	l->what = what;
	for (int i = 0; r == -EAGAIN && i < TRIES; i++) {
		rewind(f);
		r = fetch_once(path, l, f, err);
	}
	if (fclose(f))
		r = err_set(err, -ENOMEM, "no memory for a list");
	return r;
}

/* A list, and how much of it is taken. A server that is older or newer may leave
 * it in the middle of an item: what there is of that is not taken. */
struct reader {
	const char *p;
	size_t left;
};

static bool take(struct reader *r, void *out, size_t len)
{
	if (len > r->left)
		return false;
	memcpy(out, r->p, len);
	r->p += len;
	r->left -= len;
	return true;
}

static const char *take_text(struct reader *r)
{
	const char *text = r->p;
	const char *end = r->left ? memchr(text, 0, r->left) : NULL;

	if (!end)
		return NULL;
	r->left -= (size_t)(end + 1 - text);
	r->p = end + 1;
	return text;
}

static int add_snapshot(struct snaplist *list, size_t *cap,
			const struct ctl_snapshot *c, const char *id,
			const char *name)
{
	struct snapshot *s;

	if (mem_grow(&list->snap, cap, list->n + 1, sizeof(*s)) < 0)
		return -ENOMEM;
	s = &list->snap[list->n++];
	*s = (struct snapshot){ .date_sec = c->date_sec,
				.date_nsec = c->date_nsec,
				.vm_clock_nsec = c->vm_clock_nsec,
				.vm_state_size = c->vm_state_size,
				.icount = c->icount,
				.id = strdup(id),
				.name = strdup(name) };
	return s->id && s->name ? 0 : -ENOMEM;
}

int mounted_snapshots(const char *path, struct snaplist *list, struct err *err)
{
	autofree char *all = NULL;
	struct reader in = { 0 };
	struct ctl_snapshot c;
	size_t cap = 0;
	int r = fetch(path, CTL_LIST_SNAPSHOTS, &all, &in.left, err);

	*list = (struct snaplist){ 0 };
	in.p = all;
	while (r == 0 && take(&in, &c, sizeof(c))) {
		const char *id = take_text(&in);
		const char *name = take_text(&in);

		if (!name)
			break;
		r = add_snapshot(list, &cap, &c, id, name);
		if (r < 0)
			err_set(err, r, "no memory for a list");
	}
	return r;
}

int mounted_bitmaps(const char *path,
		    int (*fn)(void *arg, const struct image_bitmap *b),
		    void *arg, struct err *err)
{
	autofree char *all = NULL;
	struct reader in = { 0 };
	struct ctl_bitmap c;
	int r = fetch(path, CTL_LIST_BITMAPS, &all, &in.left, err);

	in.p = all;
	while (r == 0 && take(&in, &c, sizeof(c))) {
		struct image_bitmap b = { .name = take_text(&in),
					  .granularity = c.granularity,
					  .enabled = c.enabled,
					  .in_use = c.in_use,
					  .invalid = c.invalid ? "" : NULL };

		if (!b.name)
			break;
		r = fn(arg, &b);
	}
	return r;
}
