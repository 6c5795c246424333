/*
 * attach: joining the kernel: what it finds, what libfuse and mount(2) are
 * told, all by the user's options; and parting from it.
 */
#pragma once

#include "fuse/ops.h"
#include "fuse/opts.h"

/* Set what V shows of v->img: as what (LAYOUT), whose, and what of it the kernel
 * may keep. */
void attach_setup(struct ops_server *v, const struct opts *o,
		  enum node_layout layout);

/*
 * Make libfuse's session, whose requests SERVER answers. *OUT is the caller's,
 * to end with fuse_session_destroy(). -EINVAL with libfuse's own words, -ENOMEM.
 */
int attach_new(struct fuse_session **out, struct ops_server *server,
	       const struct opts *o, struct err *err);

/*
 * Would these two succeed, as far as can be said before the image is opened?
 * -EPERM, -ENOENT (no /dev/fuse), or as attach_new(), with text.
 */
int attach_check(const struct opts *o, struct err *err);

/* Mount SE at O->mountpoint. -EIO, with text. */
int attach_mount(struct fuse_session *se, const struct opts *o,
		 struct err *err);

/* Has the kernel a mount of SE, or somebody who still uses one? Once it has not,
 * the device's number may be that of another mount. */
bool attach_is_connected(struct fuse_session *se);

/* Has somebody aborted the connection of the mount DEV of O, as umount(8) -f does?
 * Then it is still there. */
bool attach_is_aborted(struct fuse_session *se, dev_t dev,
		       const struct opts *o);

/* Take the mount of device DEV away, if nobody uses it, while requests are still
 * served. -EBUSY: somebody does. 0 without /proc, and nothing is done. */
int attach_unmount_free(struct fuse_session *se, dev_t dev);

/*
 * Take the mount of device DEV (0: not known) away, wherever it is by now, and end
 * the connection: what the kernel still asks fails. A mount that stands in its
 * place by now stays; -EBUSY: so does ours, below that.
 */
int attach_unmount(struct fuse_session *se, dev_t dev);
