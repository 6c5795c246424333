/* found: what check says of an image, as one line. */
#pragma once

#include "core/admin/problem.h"
#include "lib/hostmem.h"

#define FOUND_TEXT 600

struct found {
	unsigned n[PROBLEM_N];
};

/* For check_opts.report; ARG is a struct found. */
void found_add(void *arg, const struct problem *p);
/* Check M: FOUND is filled. */
void found_check(struct hostmem *m, struct found *found);
/* "code number, code number"; "" if there is nothing. Returns TEXT, which has
 * FOUND_TEXT bytes. */
const char *found_text(struct hostmem *m, char *text);
