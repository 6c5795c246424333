/*
 * workload: guest operations on a start image, run through the library under
 * test over a recorded file in memory.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "enumerate.h"
#include "imgmake.h"

enum workload_type {
	WORKLOAD_WRITE,
	WORKLOAD_ZERO,	  /* keeps the clusters */
	WORKLOAD_DISCARD, /* zero, gives the clusters back */
	WORKLOAD_FLUSH,
	WORKLOAD_COMMIT_ALL,
	WORKLOAD_REOPEN,
	/* snapshots; sec chooses which one is meant */
	WORKLOAD_SNAP_CREATE,
	WORKLOAD_SNAP_APPLY,
	WORKLOAD_SNAP_DELETE,
	WORKLOAD_RESIZE, /* to sec sectors */
	/* a write during whose first (second) host write another thread
	 * flushes */
	WORKLOAD_WRITE_FLUSH_1,
	WORKLOAD_WRITE_FLUSH_2,
	/* on images that have bitmaps or room for them (bitmapops.h) */
	WORKLOAD_BITMAP_ADD,
	WORKLOAD_BITMAP_REMOVE,
	WORKLOAD_BITMAP_CLEAR,
	WORKLOAD_BITMAP_ENABLE,
	WORKLOAD_BITMAP_DISABLE,
	WORKLOAD_BITMAP_MERGE,
	WORKLOAD_TYPES
};

struct workload_op {
	enum workload_type type;
	uint64_t sec, n; /* guest sectors */
};

#define WORKLOAD_MAX 256

struct workload {
	unsigned config;
	uint64_t seed;
	char name[80];
	struct workload_op op[WORKLOAD_MAX];
	unsigned n;
	int fail_sync; /* the sync that fails, from 0; -1: none */
};

unsigned workload_configs(void);
const char *workload_config_name(unsigned config);
const struct imgmake *workload_config(unsigned config);

/* Does the image have bitmaps, or is it there to get some? */
bool workload_has_bitmaps(unsigned config);

/* All sequences of LEN operations of the alphabet; false when INDEX is past
 * the last. */
bool workload_exhaustive(struct workload *w, unsigned config, unsigned len,
			 uint64_t index);
uint64_t workload_alphabet(void);
/* 20 to 200 operations. */
void workload_random(struct workload *w, unsigned config, uint64_t seed);
void workload_print(const struct workload *w);

/* What all runs of a process share. */
struct workload_run {
	struct enumerate_stats stats;
	struct hashset seen;
	uint64_t sample_every; /* states reopened and worked on */
	uint64_t qemu_left;    /* states for qemu-img check */
	uint64_t qemu_every, qemu_done, compounds;
	uint64_t runs, product_max;
	struct secret *key;  /* opens what is encrypted */
	const char *dump;    /* file for the first bad state, or NULL */
	char dir[64]; /* scratch; holds the backing file */
	char text[600];
	enum enumerate_fault fault;
};

/* Make the scratch folder; 0 or -1. */
int workload_start(struct workload_run *r);
void workload_end(struct workload_run *r);

/* Run W and enumerate its states. 0; -1 when a state is bad or an operation
 * failed, with r->text. */
int workload_check(struct workload_run *r, const struct workload *w);

/*
 * A reader is held inside a request while its cluster is freed and used again.
 * 0; -1 when it was given data of another place.
 */
int workload_held_reader(struct workload_run *r, unsigned config);
