/*
 * twofile: crash states of "rawcow commit", which changes an image and its
 * backing file, and their external data files. Whatever each of them has kept of what was written since its
 * own last F, the disk shows what it showed before: that is the whole oracle.
 */
#pragma once

#include "workload.h"

#define TWOFILE_CONFIGS 8

/* Commit start image CONFIG and look at its crash states; SEED chooses which
 * sectors are torn. 0; -1 with r->text. */
int twofile_check(struct workload_run *r, unsigned config, uint64_t seed);
