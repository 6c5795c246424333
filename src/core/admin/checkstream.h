/*
 * checkstream: entries of compressed data. Besides its place each stream is
 * tested: does it decompress? Private to core/admin; checktab.c reads the
 * tables.
 */
#pragma once

#include "core/admin/checkentry.h"
#include "core/codec/codec.h"

struct checkstream {
	const struct codec *codec; /* NULL: not built in */
	uint8_t *in, *out;	   /* two clusters, one cluster */
	uint64_t *verified;	   /* entries whose stream is good */
};

/* 0 or -ENOMEM; checkstream_fini() in any case. */
int checkstream_init(struct checkstream *s, const struct geom *g);
void checkstream_fini(struct checkstream *s);

/* As the functions of checkentry.h. */
int checkstream_entry(struct checkstream *s, struct checkentry_table *t,
		      const struct checkentry *e);
