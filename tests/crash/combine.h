/*
 * combine: which combinations of versions are tried.
 *
 * All, as long as they are not too many. Else: the parts of each class all old
 * or all new, in every combination of classes; each single deviation from all
 * old and from all new; pairs of deviations, one of them in a part that changed
 * just now; and some by chance.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define COMBINE_CLASSES 16

struct combine_part {
	uint32_t versions; /* two or more, the oldest first */
	uint8_t class;	   /* below COMBINE_CLASSES */
	bool changed;	   /* just now */
};

struct combine {
	const struct combine_part *part;
	uint32_t n;
	uint32_t *pick; /* for each part the version, when TRY is called */
	uint64_t max;	/* more combinations than that are too many */
	uint64_t *dice;
	void (*try)(void *arg);
	void *arg;
};

/* Call c->try() for each combination, for some more than once. */
void combine_run(const struct combine *c);
