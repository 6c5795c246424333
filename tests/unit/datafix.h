/*
 * datafix: metafix with a disk on it, and the oracle: what each byte of the
 * guest disk is, in plain memory.
 */
#pragma once

#include "core/data/disk.h"
#include "metafix.h"

#define DATAFIX_MAX (256U << 10)

struct datafix {
	struct metafix fx;
	struct disk d;
	struct backing backing;
	unsigned char want[DATAFIX_MAX], back[DATAFIX_MAX];
	bool fail_backing; /* its reads give -EIO */
};

/* As metafix_build(). BACKING bytes of a backing file stand behind (0: none);
 * their content is random. */
void datafix_build(struct datafix *df, const struct imgbuild_params *p,
		   uint64_t backing);
/* The same for each kind of image: row I of a table of datafix_rows(). */
unsigned datafix_rows(void);
void datafix_build_row(struct datafix *df, size_t i);
/* Every kind of cluster the version has, on the image and in the oracle. */
void datafix_mix(struct datafix *df);
void datafix_open(struct datafix *df);
/* As metafix_reopen(). */
void datafix_reopen(struct datafix *df);
void datafix_close(struct datafix *df);

/* Read in pieces of many sizes and compare, and a raw data file by itself; true
 * if all is as wanted. */
bool datafix_matches(struct datafix *df);
