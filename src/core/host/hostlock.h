/*
 * hostlock: the byte locks by which QEMU and rawcow keep each other out of an
 * image (docs/format.md, "Locks"). Byte 100 + i is held for each permission
 * that is used, 200 + i for each that is not shared with others; i: 0
 * consistent read, 1 write, 2 write unchanged, 3 resize.
 */
#pragma once

#include "core/host/hostfile.h"

enum hostlock_role {
	HOSTLOCK_IMAGE_RW,     /* 100 101 103 201 203 */
	HOSTLOCK_IMAGE_RO,     /* 100 201 203; also any backing file */
	HOSTLOCK_IMAGE_SHARED, /* force_share: 100 only */
	HOSTLOCK_CREATE,       /* 101 103 203 */
	HOSTLOCK_DATA_RW,      /* 100 101 103 203: external data file */
	HOSTLOCK_DATA_RO,      /* 100 203 */
};

/*
 * Take the locks of ROLE on F; they last until the file is closed or
 * hostlock_drop(). Takes its own bytes first, then tests the opposite ones,
 * and gives its own back on failure. 0; -EAGAIN when another process holds the
 * image (the text names the lock, not the file, and, where /proc tells, the process);
 * -EOPNOTSUPP when the file has no such locks (the caller decides).
 */
int hostlock_take(struct hostfile *f, enum hostlock_role role, struct err *err);
void hostlock_drop(struct hostfile *f, enum hostlock_role role);
