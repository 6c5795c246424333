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

#define CTL_NAME_MAX 1024
#define CTL_TEXT_MAX 512

struct ctl_order {
	uint32_t verb;		 /* in: enum ctl_verb */
	char name[CTL_NAME_MAX]; /* in: NUL-terminated */
	char other[CTL_NAME_MAX]; /* in: the same, for some verbs */
	uint64_t number;	 /* in: for some verbs */
	int32_t result;		 /* out: 0 or -errno */
	char text[CTL_TEXT_MAX]; /* out: why not; NUL-terminated */
};

/* Check the image while it is mounted. */
#define CTL_PROBLEMS_MAX 12288

struct ctl_check {
	int32_t result;		 /* out: 0 or -errno, */
	char text[CTL_TEXT_MAX]; /* and why the check could not be made */
	/* out: as struct check_result and struct checklive_result */
	uint64_t corruptions, leaks, check_errors, total_clusters,
		allocated_clusters, fragmented_clusters, compressed_clusters,
		image_end_offset, moving;
	uint32_t alone;
	uint32_t listed; /* out: in problems; the counts count all */
	/* out: each "CODE OFFSET TEXT\n", numbers in decimal; NUL at the end */
	char problems[CTL_PROBLEMS_MAX];
};

/*
 * What the image has, by pieces: each is cut from the whole list as it is then.
 * All pieces are of one list when all have the same sum.
 */
enum ctl_list_what {
	CTL_LIST_SNAPSHOTS = 1,
	CTL_LIST_BITMAPS,
};

#define CTL_LIST_MAX 12288

struct ctl_list {
	uint32_t what;		 /* in: enum ctl_list_what */
	int32_t result;		 /* out: 0 or -errno, */
	char text[CTL_TEXT_MAX]; /* and why there is no list */
	uint64_t offset;	 /* in: of this piece, bytes */
	uint64_t size, sum;	 /* out: of the whole list */
	uint32_t len;		 /* out: of this piece */
	char data[CTL_LIST_MAX]; /* out: what follows, not aligned */
};

/* In a list; behind it its id and its name, each with a NUL. */
struct ctl_snapshot {
	uint64_t vm_clock_nsec, vm_state_size, icount;
	uint32_t date_sec, date_nsec;
};

/* In a list; behind it its name with a NUL. */
struct ctl_bitmap {
	uint64_t granularity;
	uint32_t enabled, in_use, invalid, unused;
};

/* What a mount is and how it goes. */
enum ctl_state {
	CTL_STATE_OK = 1,
	CTL_STATE_READONLY,
	CTL_STATE_FAILED,  /* a sync failed: nothing is written any more */
	CTL_STATE_CORRUPT, /* the image contradicts itself: the same */
};

#define CTL_IMAGE_MAX 1024

struct ctl_status {
	uint32_t state; /* enum ctl_state; 0: the server does not know it */
	int32_t pid;
	uint64_t size;		     /* of the disk, bytes */
	uint64_t commits, syncs;     /* since the mount */
	uint64_t dirty_bytes;	     /* of tables, for the next commit */
	uint32_t writers;	     /* open files that may write the disk */
	char image[CTL_IMAGE_MAX];   /* as it was named, made absolute */
	char reason[CTL_TEXT_MAX];   /* why it is read-only, if not asked for */
};

/* A number is never used twice, and never again for another struct: who asks may
 * be older or newer than the server, which refuses what it does not know. */
#define CTL_IOC_COMMIT _IOWR('R', 0x71, struct ctl_request)
#define CTL_IOC_ORDER _IOWR('R', 0x72, struct ctl_order)
#define CTL_IOC_STATUS _IOR('R', 0x73, struct ctl_status)
#define CTL_IOC_CHECK _IOWR('R', 0x75, struct ctl_check)
#define CTL_IOC_LIST _IOWR('R', 0x76, struct ctl_list)

enum ctl_kind { CTL_HELLO = 0x72630001, CTL_BYE = 0x72630002 };

struct ctl_message {
	uint32_t kind;
	int32_t result; /* CTL_BYE: of the last commit */
};

/* The server's side: who waits for its end, the newest of them. Several may:
 * each tries to unmount what others still use. */
#define CTL_WAITING_MAX 16

struct ctl_waiting {
	char addr[CTL_ADDR_MAX];
	unsigned len; /* 0: nobody */
};

struct ctl {
	struct lock lock; /* guards the addresses */
	struct ctl_waiting waiting[CTL_WAITING_MAX];
	unsigned next; /* the oldest */
};

void ctl_init(struct ctl *c);
void ctl_fini(struct ctl *c);

/* Commit IMG and fill the answer of REQ. */
void ctl_commit(struct ctl *c, struct image *img, struct ctl_request *req);

/* Do what ORDER says with IMG and fill its answer. */
void ctl_obey(struct image *img, struct ctl_order *order);

/* Fill ST from IMG. */
void ctl_status(struct image *img, struct ctl_status *st);

/* Check IMG and fill OUT. */
void ctl_check(struct image *img, struct ctl_check *out);

/* Fill L with a piece of what it asks for (ctl_list.c). */
void ctl_list(struct image *img, struct ctl_list *l);

/* The image is closed, with RESULT: tell all who wait. */
void ctl_bye(struct ctl *c, int result);
