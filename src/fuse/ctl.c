#include "fuse/ctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/admin/bitmap.h"
#include "core/admin/checklive.h"
#include "core/admin/snapshot.h"

static bool send_to(const char *addr, unsigned len, enum ctl_kind kind,
		    int result)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct ctl_message m = { .kind = kind, .result = result };
	socklen_t salen = offsetof(struct sockaddr_un, sun_path) + 1 + len;
	bool ok;
	int fd;

	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	memcpy(sa.sun_path + 1, addr, len);
	ok = sendto(fd, &m, sizeof(m), MSG_NOSIGNAL, (struct sockaddr *)&sa,
		    salen) == sizeof(m);
	close(fd);
	return ok;
}

void ctl_init(struct ctl *c)
{
	*c = (struct ctl){ .next = 0 };
	lock_init(&c->lock);
}

void ctl_fini(struct ctl *c)
{
	lock_fini(&c->lock);
}

void ctl_commit(struct ctl *c, struct image *img, struct ctl_request *req)
{
	struct ctl_waiting *w;

	req->pid = getpid();
	req->result = image_commit_all(img);
	req->hello = 0;
	if (req->addr_len == 0 || req->addr_len > CTL_ADDR_MAX)
		return;
	req->hello = send_to(req->addr, req->addr_len, CTL_HELLO, 0);
	if (!req->hello)
		return;
	lock_take(&c->lock);
	w = &c->waiting[c->next++ % CTL_WAITING_MAX];
	memcpy(w->addr, req->addr, CTL_ADDR_MAX);
	w->len = req->addr_len;
	lock_drop(&c->lock);
}

/* Orders about bitmaps. -ENOTSUP: it is none. */
static int obey_bitmap(struct image *img, const struct ctl_order *o,
		       struct err *err)
{
	switch (o->verb) {
	case CTL_BITMAP_ADD:
		return bitmap_add(img, o->name, o->number, err);
	case CTL_BITMAP_REMOVE:
		return bitmap_remove(img, o->name, err);
	case CTL_BITMAP_CLEAR:
		return bitmap_clear(img, o->name, err);
	case CTL_BITMAP_ENABLE:
		return bitmap_enable(img, o->name, err);
	case CTL_BITMAP_DISABLE:
		return bitmap_disable(img, o->name, err);
	case CTL_BITMAP_MERGE:
		return bitmap_merge(img, o->name, img, o->other, err);
	default:
		return err_set(err, -ENOTSUP,
			       "the server of this mount is older and does not know that");
	}
}

void ctl_obey(struct image *img, struct ctl_order *order)
{
	struct err err = { "" };

	order->name[CTL_NAME_MAX - 1] = '\0';
	order->other[CTL_NAME_MAX - 1] = '\0';
	switch (order->verb) {
	case CTL_SNAPSHOT_CREATE:
		order->result = snapshot_create(img, order->name, &err);
		break;
	case CTL_SNAPSHOT_DELETE:
		order->result = snapshot_delete(img, order->name, &err);
		break;
	case CTL_SNAPSHOT_APPLY:
		order->result = snapshot_apply(img, order->name, &err);
		break;
	default:
		order->result = obey_bitmap(img, order, &err);
	}
	snprintf(order->text, sizeof(order->text), "%s", err.text);
}

static enum ctl_state state_of(struct image *img)
{
	if (image_failed(img))
		return CTL_STATE_FAILED;
	if (image_corrupt(img) && !image_readonly(img))
		return CTL_STATE_CORRUPT;
	return image_readonly(img) ? CTL_STATE_READONLY : CTL_STATE_OK;
}

void ctl_status(struct image *img, struct ctl_status *st)
{
	const char *reason = image_readonly_reason(img);
	struct image_counters c;

	image_counters(img, &c);
	*st = (struct ctl_status){
		.state = state_of(img),
		.pid = getpid(),
		.size = image_size(img),
		.commits = c.commits,
		.syncs = c.syncs,
		.dirty_bytes = c.dirty_bytes,
	};
	snprintf(st->image, sizeof(st->image), "%s", image_file(img)->name);
	snprintf(st->reason, sizeof(st->reason), "%s", reason ? reason : "");
}

struct check_text {
	struct ctl_check *out;
	size_t len;
};

static void add_problem(void *arg, const struct problem *p)
{
	struct check_text *t = arg;
	size_t room = sizeof(t->out->problems) - t->len;
	int n = snprintf(t->out->problems + t->len, room,
			 "%u %" PRIu64 " %s\n", (unsigned)p->code, p->hoff,
			 p->text);

	if (n < 0 || (size_t)n >= room) {
		t->out->problems[t->len] = '\0';
		return;
	}
	t->len += (size_t)n;
	t->out->listed++;
}

void ctl_check(struct image *img, struct ctl_check *out)
{
	struct check_text t = { .out = out };
	const struct check_opts opts = { .report = add_problem,
					 .report_arg = &t };
	struct checklive_result live;
	struct err err = { "" };

	memset(out, 0, sizeof(*out));
	out->result = checklive_run(img, &opts, &live, &err);
	snprintf(out->text, sizeof(out->text), "%s", err.text);
	out->corruptions = live.res.corruptions;
	out->leaks = live.res.leaks;
	out->check_errors = live.res.check_errors;
	out->total_clusters = live.res.total_clusters;
	out->allocated_clusters = live.res.allocated_clusters;
	out->fragmented_clusters = live.res.fragmented_clusters;
	out->compressed_clusters = live.res.compressed_clusters;
	out->image_end_offset = live.res.image_end_offset;
	out->moving = live.moving;
	out->alone = live.alone;
}

void ctl_bye(struct ctl *c, int result)
{
	lock_take(&c->lock);
	for (unsigned i = 0; i < CTL_WAITING_MAX; i++)
		if (c->waiting[i].len)
			send_to(c->waiting[i].addr, c->waiting[i].len, CTL_BYE,
				result);
	lock_drop(&c->lock);
}
