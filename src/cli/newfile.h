/*
 * newfile: a file that a command is to fill. What one holds is replaced only
 * when that was asked for, and while nobody uses it.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "core/host/hostfile.h"

struct newfile {
	const char *path;
	struct hostfile *f; /* NULL: not open */
	bool made;	    /* it was not there before */
};

/*
 * Open N->path, make it if it is missing, and take the locks of who makes an
 * image. FLAGS: HOSTFILE_BLKDEV_OK. FORCE: even if it is not empty; what it holds
 * is still there on return, so that it is lost to nothing but the filling. 0;
 * -EEXIST, -EAGAIN (somebody uses it), -errno with text. Needs newfile_close()
 * in any case.
 */
int newfile_open(struct newfile *n, bool force, unsigned flags,
		 struct err *err);

/*
 * Close, if it is open. RET: how filling it went. A file that was made is
 * removed again if that failed; else its name is durable on return. Returns
 * RET, or what failed here.
 */
int newfile_close(struct newfile *n, int ret, struct err *err);

/* A new file is durable when its name is: sync the folder of PATH, unless it may
 * not be read. 0 or -errno with text. */
int newfile_sync_name(const char *path, struct err *err);
