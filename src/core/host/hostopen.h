/*
 * hostopen: from a name to a descriptor, with no effect on what is not meant to
 * be opened. Only hostops_posix.c and hostfile.c use it.
 *
 * Opening goes in two steps, because the open itself of a FIFO, a tty or a
 * device can block or have effects: an O_PATH descriptor is checked with
 * fstat, then that very file is opened for use. With HOSTFILE_BENEATH the
 * kernel does the containment (openat2), so no symlink can be swapped in
 * between.
 */
#pragma once

#include "core/host/hostfile.h"

/* A descriptor above 2 as hostfile_open() says, or -errno with text; *BLOCK_DEVICE
 * says what it is of. */
int hostopen_file(int dirfd, const char *path, unsigned flags,
		  bool *block_device, struct err *err);

/* *DIRFD of the folder PATH; -errno with text. */
int hostopen_folder(int *dirfd, const char *path, struct err *err);
