/*
 * mountpoint: looking at the place of a mount before it is made and when it is
 * taken away.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "fuse/node.h"

/*
 * Can PATH be mounted on? *LAYOUT says as what. 0; -ENOENT, -ENOTEMPTY,
 * -EBUSY (a rawcow mount already), -EINVAL (neither file nor folder), ...
 */
int mountpoint_check(const char *path, bool nonempty,
		     enum node_layout *layout, struct err *err);

/* PATH made absolute, without links, as realpath() does, even if a mount there has
 * lost its server. To be freed; NULL: errno says why. */
char *mountpoint_resolve(const char *path);

struct mountpoint {
	dev_t dev;
	uid_t owner_uid; /* who mounted */
	gid_t owner_gid;
	char fstype[32];
	char source[PATH_MAX];
};

/* The topmost mount at exactly PATH (absolute, resolved). False: none. */
bool mountpoint_find(const char *path, struct mountpoint *out);

/*
 * Add to the text of ERR, about PATH (resolved), the mount of rawcow that may have
 * been meant, if there is one: PATH is its image, by its source, or lies in it.
 */
void mountpoint_hint(const char *path, struct err *err);

/*
 * Where the file system of device DEV is mounted: PATH of its N-th mount, from 0.
 * False: there are no more. Mounts of a part of it do not count.
 */
bool mountpoint_nth(dev_t dev, unsigned n, char path[PATH_MAX]);

/* Is FSTYPE rawcow's? */
bool mountpoint_is_ours(const struct mountpoint *mp);

/*
 * Who still has the mount with the device DEV, which was taken away where it was
 * found: another place here, or processes in other mount namespaces. One line;
 * empty when nobody was found that we may see.
 */
void mountpoint_holders(dev_t dev, char *line, size_t size);

/*
 * Who uses the mount at PATH, and how to make them stop, as one line; empty
 * when nobody was found that we may see.
 */
void mountpoint_users(const char *path, char *line, size_t size);

enum mountpoint_unmount {
	MOUNTPOINT_FREE, /* only if nobody uses it: -EBUSY */
	MOUNTPOINT_LAZY, /* who uses it keeps it */
};

/* Take the topmost mount at PATH away; an ordinary user by fusermount3. */
int mountpoint_unmount(const char *path, enum mountpoint_unmount how);
