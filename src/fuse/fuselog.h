/*
 * fuselog: what libfuse has to say. Until the mount is up its last complaint is
 * kept, to become part of our own message; from then on it goes to the log.
 */
#pragma once

/* Have libfuse talk to us. Once, before its first call. */
void fuselog_init(void);

/* ": TEXT", the last complaint; "" when there was none. */
const char *fuselog_complaint(void);

/* To the log from now on. Called while there is one thread. */
void fuselog_to_log(void);
