/*
 * loopdev: which loop device stands on a file. It has a page cache, and perhaps a
 * mounted file system, of its own, which nobody tells what becomes of the file.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The path, SIZE bytes with its NUL, that the block device NAME of /sys/block was
 * given as its file. False: it is no loop device, or has none. */
bool loopdev_backing(const char *name, char *path, int size);

/* Does a loop device stand on the file INO of DEV? Then NAME is the first such;
 * SIZE bytes. */
bool loopdev_on(dev_t dev, ino_t ino, char *name, size_t size);
