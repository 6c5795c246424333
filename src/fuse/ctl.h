/*
 * ctl: what other rawcow commands and the server of a mount say to each other,
 * by ioctls on the disk file. "rawcow umount" asks for a commit, and gets two
 * datagrams besides; orders change the image under the mount.
 *
 * The caller binds a datagram socket to an abstract address and names it in
 * the ioctl. The server sends a CTL_HELLO there at once (the credentials of
 * its sender tell the process id in the caller's own name space), and a
 * CTL_BYE when it has closed the image, just before it ends.
 */
#pragma once

#include <stdint.h>
#include <sys/ioctl.h>

#include "base/lock.h"
#include "core/image/image.h"

#define CTL_ADDR_MAX 32

struct ctl_request {
	/* in: abstract address without its leading NUL; 0: none */
	uint32_t addr_len;
	char addr[CTL_ADDR_MAX];
	/* out */
	int32_t pid;
	int32_t result; /* of the commit: 0 or -errno */
	uint32_t hello; /* a CTL_HELLO was sent */
};

#define CTL_IOC_COMMIT _IOWR('R', 0x71, struct ctl_request)

/* Work on the image while it is mounted; also by an ioctl on the disk file. */
enum ctl_verb {
	CTL_SNAPSHOT_CREATE = 1,
	CTL_SNAPSHOT_DELETE = 2,
	CTL_SNAPSHOT_APPLY = 3,
	CTL_BITMAP_ADD = 16, /* number: the granularity */
	CTL_BITMAP_REMOVE,
	CTL_BITMAP_CLEAR,
	CTL_BITMAP_ENABLE,
	CTL_BITMAP_DISABLE,
	CTL_BITMAP_MERGE, /* other: what is merged into name */
};

#define CTL_NAME_MAX 512
#define CTL_TEXT_MAX 512

struct ctl_order {
	uint32_t verb;		 /* in: enum ctl_verb */
	char name[CTL_NAME_MAX]; /* in: NUL-terminated */
	char other[CTL_NAME_MAX]; /* in: the same, for some verbs */
	uint64_t number;	 /* in: for some verbs */
	int32_t result;		 /* out: 0 or -errno */
	char text[CTL_TEXT_MAX]; /* out: why not; NUL-terminated */
};

#define CTL_IOC_ORDER _IOWR('R', 0x72, struct ctl_order)

enum ctl_kind { CTL_HELLO = 0x72630001, CTL_BYE = 0x72630002 };

struct ctl_message {
	uint32_t kind;
	int32_t result; /* CTL_BYE: of the last commit */
};

/* The server's side: who waits for its end. */
struct ctl {
	struct lock lock; /* guards the address */
	char addr[CTL_ADDR_MAX];
	unsigned addr_len;
};

void ctl_init(struct ctl *c);
void ctl_fini(struct ctl *c);

/* Commit IMG and fill the answer of REQ. */
void ctl_commit(struct ctl *c, struct image *img, struct ctl_request *req);

/* Do what ORDER says with IMG and fill its answer. */
void ctl_obey(struct image *img, struct ctl_order *order);

/* The image is closed, with RESULT: tell who waits. */
void ctl_bye(struct ctl *c, int result);
