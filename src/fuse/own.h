/*
 * own: the thread by which the server uses its own mount, as any program
 * would. It must not be one of those that serve requests, since each of its
 * calls comes back as requests.
 *
 * - Before ready: stat, and with the kernel's write-back cache set size and
 *   time, which the kernel otherwise believes to be 0 for a root inode.
 * - SEEK_DATA and SEEK_HOLE: the kernel does not send its dirty pages first,
 *   so pages not sent yet would look like a hole. Make it send them.
 * - At the end: make it send all it holds, and close.
 *
 * The mount is known by its device, for it may be moved with its folder, be
 * covered by another, or be taken away while programs have the disk open. Then
 * its path leads elsewhere, perhaps to the image itself: nothing is done to a
 * file that is not the mount's [own.c].
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "fuse/fuselib.h"

struct own;

struct own_setup {
	/* kept: the mount point, and what leads from there to the disk file */
	const char *place, *name;
	dev_t below;	  /* the device of what the mount covers */
	uint64_t (*size)(void *arg); /* of the disk, now */
	int64_t mtime_ns;
	bool writeback;
	/* called in the thread when the mount answered, or failed with a text */
	void (*ready)(void *arg, int rc, const struct err *err);
	/* answer REQ, now that dirty pages were sent (SENT) or could not be */
	void (*seek)(void *arg, fuse_req_t req, uint64_t off, int whence,
		     bool sent);
	/* is the device's number still the mount's? */
	bool (*connected)(void *arg);
	/* have the kernel send what it holds of the disk, without using the
	 * mount: slower. 0 or -errno */
	int (*fetch)(void *arg);
	void *arg;
};

/* Start the thread; SETUP is copied. -ENOMEM, -EAGAIN. */
int own_start(struct own **out, const struct own_setup *setup);

/* Have SETUP's seek() called for REQ soon. -ENOMEM; -ENOTCONN: the thread has
 * ended. */
int own_seek(struct own *own, fuse_req_t req, uint64_t off, int whence);

/*
 * Does THREAD (of fuse_req_ctx) tell the kernel the size just now? What it names
 * may be what the size was a moment before: it is not a wish, and the answer
 * tells what the size is.
 */
bool own_is_sizing(struct own *own, pid_t thread);

/*
 * Does THREAD use the mount just now for the server itself? Then everything there
 * shall be its own, for a moment: owner and mode are the user's to change, and the
 * kernel looks at them.
 */
bool own_is_calling(struct own *own, pid_t thread);

/*
 * The kernel believes in a size of its own: a write beyond the end has grown it,
 * or the disk has got another one. Set it right, and drop cached pages beyond.
 * Waits for the disk's inode lock: not from a thread that serves requests, nor
 * from the own thread.
 */
void own_fix_size(struct own *own);

/* The disk has got larger: tell the kernel, but take nothing away that programs
 * have written behind its end meanwhile. Waits, as own_fix_size() does. */
void own_widen(struct own *own);

/* Make the kernel send all dirty pages of the disk; waits, as own_fix_size()
 * does. 0 or -errno; also for an error of before that nobody was told. */
int own_sync(struct own *own);

/* Was the mount made read-only, as mount(8) -o remount,ro does? Then the kernel
 * can be told of no other size. Waits for requests. */
bool own_is_readonly(struct own *own);

/* The device of the mount; 0: it has not answered yet. */
dev_t own_dev(const struct own *own);

/* End the thread; requests not answered yet are answered. The others here, which
 * run in their caller's thread, still work. */
void own_end(struct own *own);

/* own_end(), unless that was done, and free OWN. */
void own_stop(struct own *own);
