/*
 * progress: one line on the terminal for long work.
 */
#pragma once

#include <stdbool.h>

struct progress {
	bool shown;	   /* on a terminal, and asked for */
	unsigned permille; /* last written */
};

/* WANTED: the user gave -p. Without a terminal on stderr nothing is shown. */
void progress_begin(struct progress *p, bool wanted);

/* ARG is the struct progress: for the callbacks of core/admin. */
void progress_update(void *arg, unsigned permille);

/* Take the line away. */
void progress_end(struct progress *p);
