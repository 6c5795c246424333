/*
 * bitmodel: what the bitmaps of an image must and may say after a crash. They
 * are "a", "d" (imgmake.h) and "x", which a workload makes and removes.
 *
 * An operation on bitmaps leaves them as before or as after; once it was
 * acknowledged, as after. A bitmap that is not marked as in use
 *	- is dirty wherever MUST is, and nowhere but where MAY is,
 *	- while it notes changes, is dirty wherever the disk differs from BASE.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "checker.h"

enum bitmodel_what {
	BITMODEL_ADD,
	BITMODEL_REMOVE,
	BITMODEL_CLEAR,
	BITMODEL_ENABLE,
	BITMODEL_DISABLE,
	BITMODEL_MERGE, /* into map, what is dirty in from */
};

struct bitmodel_op {
	enum bitmodel_what what;
	unsigned map, from; /* of CHECKER_BITMAPS */
};

struct bitmodel_map {
	bool there, notes;
	/* of each sector */
	uint32_t *base; /* the version that it had when it began to count */
	bool *must, *may;
};

struct oracle;
struct bitmodel {
	uint64_t sectors;
	unsigned granularity[CHECKER_BITMAPS]; /* bits */
	/* at first; as it is for certain; as an operation under way may have
	 * left it */
	struct bitmodel_map first[CHECKER_BITMAPS], now[CHECKER_BITMAPS],
		next[CHECKER_BITMAPS];
	bool pending;
};

/*
 * INIT as in oracle_init(). START: the image begins with bitmaps of so many
 * granularity bits, 0: with none. ADDED: of those that are made later.
 */
void bitmodel_init(struct bitmodel *b, uint64_t sectors, const uint32_t *init,
		   unsigned start, unsigned added);
void bitmodel_fini(struct bitmodel *b);
void bitmodel_reset(struct bitmodel *b);

/* Sectors may change from here on. The disk has so many now, or had. */
void bitmodel_touch(struct bitmodel *b, uint64_t sec, uint64_t n);
void bitmodel_resized(struct bitmodel *b, uint64_t sectors);

/* Does OP do anything? */
bool bitmodel_applies(const struct bitmodel *b, const struct bitmodel_op *op);
void bitmodel_begin(struct bitmodel *b, const struct oracle *o,
		    const struct bitmodel_op *op);
void bitmodel_ack(struct bitmodel *b);

/* 0, or -1 with a text: what is wrong with the bitmaps of a state as C found
 * them. CLOSED: none may be in use, either. */
int bitmodel_check(const struct bitmodel *b, const struct checker *c,
		   bool closed, char *text, size_t size);

/* May bitmap MAP, which notes changes, be clean at sector SEC while that reads
 * as DATA? */
bool bitmodel_may_miss(const struct bitmodel *b, const struct oracle *o,
		       unsigned map, uint64_t sec, const uint8_t *data);
