/*
 * mounted: commands that are given a mount point in the place of an image.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "core/image/snaplist.h"
#include "fuse/ctl.h"

/* Is PATH a mount of rawcow's, with its server or without? */
bool mounted_at(const char *path);

/* Add to the text of ERR, about PATH, which mount may have been meant: that of
 * PATH as an image, or the one that PATH lies in. */
void mounted_hint(const char *path, struct err *err);

/* As cmd_fail(), for an image PATH that could not be opened, which ERR says: if it
 * is a mount, or mounted, that too, and what to do. */
int mounted_fail(const char *path, struct err *err);

/*
 * Have the server of the mount at PATH carry ORDER out, after all that programs
 * have written there. 0 or -errno with text, which names no file.
 */
int mounted_order(const char *path, struct ctl_order *order, struct err *err);

/* Ask the server of the mount at PATH how it is. As mounted_order(). */
int mounted_status(const char *path, struct ctl_status *st, struct err *err);

/* Have the server of the mount at PATH check its image. 0, and OUT is filled;
 * -errno with text. */
int mounted_check(const char *path, struct ctl_check *out, struct err *err);

/* The snapshots that the image mounted at PATH has, all of one moment. As
 * mounted_order(); the caller frees with snaplist_fini() in any case. */
int mounted_snapshots(const char *path, struct snaplist *list, struct err *err);

/* Call FN for each bitmap of the image mounted at PATH, as image_bitmap_list()
 * does. As mounted_order(), or the first result of FN that is not 0. */
int mounted_bitmaps(const char *path,
		    int (*fn)(void *arg, const struct image_bitmap *b),
		    void *arg, struct err *err);
