/*
 * session: the life of one mount, from the options to the exit status.
 */
#pragma once

#include "fuse/opts.h"
#include "fuse/textfile.h"

enum session_status {
	SESSION_OK = 0,
	SESSION_FAILED = 1,	/* not mounted, or still so without a server */
	SESSION_NOT_SAVED = 74, /* EX_IOERR: the last commit failed, or what the
				   kernel held could not be written */
};

/*
 * Mount and serve until unmounted or told to end; or, in the background,
 * return as soon as another process does that. Prints its errors. TEXTS are the
 * files of .rawcow/. The exit status of the program.
 */
enum session_status session_run(struct opts *opts,
				const struct textfile_maker *texts);
