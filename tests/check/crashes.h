/*
 * crashes: a repair that is cut off at any point. Every state that a crash may
 * leave must be no worse than the broken image, read the same wherever that
 * could be read, and be what a repair begins with and finishes.
 */
#pragma once

#include <stdbool.h>

#include "lib/hostmem.h"

/* Repair clones of BROKEN. False: TEXT (SIZE bytes) says what went wrong. */
bool crashes_run(struct hostmem *broken, char *text, unsigned long size);

/* Repair a clone of BROKEN with an undo file: is everything that it saves synced
 * before the image is written the next time? */
bool crashes_undo_order(struct hostmem *broken);
