/*
 * snapname: names of snapshots, which may be any bytes, as names of folders.
 *
 * A byte that a file name must not or should not have becomes %XX (two upper
 * case hex digits): '/', control characters (those of UTF-8 too), what is not
 * UTF-8, a leading '.' of "." and "..", a leading '@', and a '%' that would be
 * read as such an escape. All else stands for itself, so that ordinary names
 * stay as they are, and there is one way back.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define SNAPNAME_MAX 255 /* bytes; the kernel's limit for a name */

/* OUT (SNAPNAME_MAX + 1 bytes) is NAME as a file name. False when it is empty
 * or gets too long: then there is none. */
bool snapname_escape(const char *name, char *out);

/* The way back, to OUT (SNAPNAME_MAX + 1 bytes). False unless SHOWN is exactly
 * what snapname_escape() makes of some name. */
bool snapname_unescape(const char *shown, char *out);

/* OUT is "@" and the escaped ID: another name of any snapshot. False as for
 * snapname_escape(). */
bool snapname_of_id(const char *id, char *out);
