/* ops_ctl: what other rawcow commands ask of the disk, by ioctls (ctl.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "fuse/ops.h"
#include "fuse/order.h"
#include "fuse/reply.h"

static void ioctl_commit(struct ops_server *s, fuse_req_t req, const void *in)
{
	struct ctl_request c;

	memcpy(&c, in, sizeof(c));
	ctl_commit(&s->ctl, s->img, &c);
	fuse_reply_ioctl(req, 0, &c, sizeof(c));
}

static void ioctl_order(struct ops_server *s, fuse_req_t req, const void *in)
{
	struct ctl_order o;

	memcpy(&o, in, sizeof(o));
	order_take(s, req, &o);
}

static void ioctl_status(struct ops_server *s, fuse_req_t req)
{
	struct ctl_status st;

	ops_status(s, &st);
	fuse_reply_ioctl(req, 0, &st, sizeof(st));
}

void ops_status(struct ops_server *s, struct ctl_status *st)
{
	ctl_status(s->img, st);
	st->writers = atomic_load(&s->writers);
}

/* In this request's own thread: it takes as long as it takes. */
static void ioctl_check(struct ops_server *s, fuse_req_t req)
{
	autofree struct ctl_check *c = malloc(sizeof(*c));

	if (!c) {
		reply_status(req, -ENOMEM);
		return;
	}
	ctl_check(s->img, c);
	fuse_reply_ioctl(req, 0, c, sizeof(*c));
}

static void ioctl_list(struct ops_server *s, fuse_req_t req, const void *in)
{
	autofree struct ctl_list *l = malloc(sizeof(*l));

	if (!l) {
		reply_status(req, -ENOMEM);
		return;
	}
	memcpy(l, in, sizeof(*l));
	ctl_list(s->img, l);
	fuse_reply_ioctl(req, 0, l, sizeof(*l));
}

void ops_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg,
	       struct fuse_file_info *fi, unsigned flags, const void *in,
	       size_t in_len, size_t out_len)
{
	struct ops_server *s = fuse_req_userdata(req);
	const struct node *nd = node_get(&s->nodes, ino);
	uid_t uid = fuse_req_ctx(req)->uid;
	size_t size = _IOC_SIZE(cmd);
	bool known = cmd == CTL_IOC_COMMIT || cmd == CTL_IOC_ORDER ||
		     cmd == CTL_IOC_STATUS || cmd == CTL_IOC_CHECK ||
		     cmd == CTL_IOC_LIST;

	(void)arg;
	(void)fi;
	(void)flags;
	if (!known || !nd || nd->kind != NODE_DISK || out_len < size ||
	    (cmd != CTL_IOC_STATUS && in_len < size))
		reply_status(req, -ENOTTY);
	else if (uid != 0 && uid != getuid())
		reply_status(req, -EPERM);
	else if (cmd == CTL_IOC_COMMIT)
		ioctl_commit(s, req, in);
	else if (cmd == CTL_IOC_CHECK)
		ioctl_check(s, req);
	else if (cmd == CTL_IOC_LIST)
		ioctl_list(s, req, in);
	else if (cmd == CTL_IOC_ORDER)
		ioctl_order(s, req, in);
	else
		ioctl_status(s, req);
}
