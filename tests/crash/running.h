/*
 * running: one workload on its way: the image under test over files in memory,
 * behind the recorder, and what the oracles know of it.
 */
#pragma once

#include <pthread.h>

#include "core/image/image.h"
#include "hookfile.h"
#include "lib/hostfault.h"
#include "lib/hostmem.h"
#include "lib/hostrecord.h"
#include "workload.h"

struct running {
	struct workload_run *r;
	const struct workload *w;
	struct imgmake_out *start;
	struct oracle oracle; /* of the enumeration */
	struct oracle model;  /* of the live run */
	struct hostmem *mem;
	struct hostmem *data; /* the external data file, or NULL */
	uint64_t base; /* where it stands in what is enumerated */
	bool recording;
	struct hostrecord *rec;
	struct hostfault *fault;
	struct hookfile hook;
	struct image *img;
	/* flush inside a write */
	int armed; /* host writes until the flush; -1: none */
	pthread_t flusher, writer;
	bool flushing;
	int flush_rc;
};

/* The text of R; -1. */
int running_say(struct workload_run *r, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* K for workload W of R, over its start image; until running_end(). */
void running_begin(struct running *k, struct workload_run *r,
		   const struct workload *w);
void running_end(struct running *k);

/* Open the image in MEM, and record what is done to it if RECORD. 0 or -1. */
int running_open(struct running *k, struct hostmem *mem, bool record);

/* Write the sectors of OP as generation GEN; another thread may flush inside.
 * 0 or -errno. */
int running_write(struct running *k, const struct workload_op *op,
		  uint32_t gen);

/* Where the data file stands behind an image of LEN bytes; 0: there is none. */
uint64_t running_data_base(const struct running *k, uint64_t len);

/* What MEM and k->data hold, as the checker wants it; the caller frees. *LEN:
 * of the image. */
uint8_t *running_flatten(const struct running *k, struct hostmem *mem,
			 uint64_t *len, struct checker *c);

/* A state of K as struct enumerate's sample wants it (wholestate.c). */
int wholestate_sample(void *arg, const uint8_t *img, uint64_t len, char *text,
		      size_t n);
