/*
 * broken: the corpus of broken images. Each is built field by field from a
 * sound one and then broken at one place or several; with it stands what the
 * first check must say.
 */
#pragma once

#include "lib/hostmem.h"
#include "lib/imgbuild.h"

struct broken {
	const char *name;
	const char *base;  /* "": see bases[] in broken.c */
	void (*make)(struct imgbuild *b);
	const char *found; /* what check says: "code number, ..." */
	const char *left;  /* after a repair; NULL: nothing */
};

extern const struct broken broken_cases[];
extern const unsigned broken_n;

/* Guest clusters of all images: data; zero, with a place; subclusters of all
 * kinds, where there are subclusters; nothing; the first of two streams. */
enum { BROKEN_DATA = 8, BROKEN_PLACE = 9, BROKEN_MIXED = 10,
       BROKEN_NOTHING = 30, BROKEN_STREAM = 64 };

/* Where the L2 entry of guest cluster GIDX of the disk stands in the file. */
uint64_t broken_slot(struct imgbuild *b, unsigned gidx);

/* The image of case I, on disk in memory. The caller frees. */
struct hostmem *broken_build(unsigned i);
/* One whose case has not been made: sound. */
struct hostmem *broken_sound(unsigned i);
