/*
 * checktext: what "rawcow check" prints: problems as they are found, then the
 * counts. JSON keys and summary are qemu-img's, so that scripts can use either.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli/progress.h"
#include "core/admin/check.h"

struct checktext {
	/* set by the caller */
	const char *image;
	bool quiet;
	struct progress progress;
	uint64_t moving; /* of a mounted image: clusters not judged */
	/* ours; whoever knows of problems that were not given to
	 * checktext_problem() adds them to OMITTED */
	struct json_object *problems; /* with JSON; else NULL */
	uint64_t n;
	uint64_t omitted; /* found, and not listed */
};

/* What a repair has changed: the differences of two checks. */
struct checktext_fixed {
	uint64_t corruptions, leaks;
	bool marks; /* dirty and corrupt */
};

/* As JSON, or as text; neither when quiet. */
void checktext_begin(struct checktext *t, bool json);

/* ARG is the struct checktext: for struct check_opts. */
void checktext_problem(void *arg, const struct problem *p);

/* The end of it: what R says, and what was repaired (NULL: nothing was to
 * be). */
void checktext_print(struct checktext *t, const struct check_result *r,
		     const struct checktext_fixed *f);

/* In the place of checktext_print(), when the check could not be made. */
void checktext_abandon(struct checktext *t);
