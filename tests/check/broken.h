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

/* The image of case I, on disk in memory. The caller frees. */
struct hostmem *broken_build(unsigned i);
/* One whose case has not been made: sound. */
struct hostmem *broken_sound(unsigned i);
