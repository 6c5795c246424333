/*
 * mounted: commands that are given a mount point in the place of an image.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "fuse/ctl.h"

/* Is PATH a mount of rawcow's? SOURCE (SIZE bytes) is the image then, as it was
 * named when it was mounted. */
bool mounted_at(const char *path, char *source, size_t size);

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

/*
 * Who reads the file of a mounted image beside its server may meet it in the
 * middle of a change. Wait a little, and try again? *TRIES starts at 0.
 */
bool mounted_again(unsigned *tries);
