/*
 * fuselog: what libfuse has to say. Until the mount is up its last complaint is
 * kept, to become part of our own message; from then on it goes to the log.
 */
#pragma once

#include <stdbool.h>

/* Have libfuse talk to us. Once, before its first call. */
void fuselog_init(void);

/* ": TEXT", the last complaint; "" when there was none. */
const char *fuselog_complaint(void);

/*
 * In between, what fusermount3 says on standard error is kept: the complaint, if
 * it FAILED; else it is printed. For the thread that is alone.
 */
void fuselog_listen(void);
void fuselog_hear(bool failed);

/* To the log from now on. Called while there is one thread. */
void fuselog_to_log(void);
