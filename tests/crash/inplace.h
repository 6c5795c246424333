/*
 * inplace: crash states of "rawcow rebase -u" and "rawcow amend", which change
 * what the header says. In each the image is consistent, shows the same disk,
 * has its unknown extension, and records the old backing file or the new one.
 */
#pragma once

#include "workload.h"

#define INPLACE_CASES 9

/* Do case WHICH and look at its crash states. 0; -1 with r->text. */
int inplace_check(struct workload_run *r, unsigned which, uint64_t seed);
