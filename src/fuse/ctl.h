/*
 * ctl: what "rawcow umount" and the server of a mount say to each other: an
 * ioctl on the disk file, answered after a commit, and two datagrams.
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

/* The image is closed, with RESULT: tell who waits. */
void ctl_bye(struct ctl *c, int result);
