/*
 * oracle: what each guest sector may read as after a crash.
 *
 * A sector's history is a list of versions: version 0 is what was there before
 * the run, each write or zero adds one when it begins. Allowed are the last
 * version that was acknowledged before a flush that returned, and all versions
 * after it. Written sectors carry {magic, run, sector, generation}, so that
 * data of another place or another time is recognised.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define ORACLE_ZERO UINT32_MAX	      /* a version that reads zero */
#define ORACLE_BACKING (UINT32_MAX - 1) /* the backing file's sector */
#define ORACLE_INIT 0u		      /* preset in the image */

enum oracle_verdict {
	ORACLE_OK,
	ORACLE_LOST,	/* older than the durable version */
	ORACLE_FOREIGN, /* data that this sector never held */
};

struct oracle_sector {
	uint32_t *gen; /* versions, oldest first */
	uint32_t n, cap;
	uint32_t acked, pending, durable; /* indices of versions */
};

#define ORACLE_SNAPSHOTS 3 /* at most, of one image */

struct oracle_snapshot {
	uint32_t id;   /* 0: none */
	bool must;     /* it was acknowledged: every state has it */
	uint32_t *gen; /* of each sector */
	uint64_t sectors; /* of its disk */
};

struct bitmodel;
struct oracle {
	uint64_t run;
	uint64_t sectors; /* of the largest disk */
	uint64_t now;	  /* of the disk as it is */
	uint64_t backing_sectors; /* the backing file's length */
	struct oracle_sector *s;
	struct oracle_snapshot snap[ORACLE_SNAPSHOTS];
	bool preset; /* the image has one from the start */
	/*
	 * Instead of tags: full guest images, each of whose sectors is allowed
	 * (imported logs). NULL otherwise.
	 */
	const uint8_t *const *views;
	unsigned n_views;
	struct bitmodel *bits; /* told of changes; NULL: there are no bitmaps */
};

/* INIT[i] is the version 0 of sector I: ORACLE_INIT, _ZERO or _BACKING. */
void oracle_init(struct oracle *o, uint64_t run, uint64_t sectors,
		 uint64_t backing_sectors, const uint32_t *init);
void oracle_fini(struct oracle *o);
/* Forget all but version 0. */
void oracle_reset(struct oracle *o);

/* The bytes of version GEN of sector SEC. */
void oracle_fill(const struct oracle *o, uint64_t sec, uint32_t gen,
		 uint8_t out[512]);

/* GEN >= 1 or ORACLE_ZERO. */
void oracle_begin(struct oracle *o, uint64_t sec, uint64_t n, uint32_t gen);
void oracle_ack(struct oracle *o, uint64_t sec, uint64_t n);
void oracle_flush_begin(struct oracle *o);
void oracle_flush_ack(struct oracle *o);

/* May sector SEC of the active disk read as DATA? DATA NULL: the backing file
 * answers. */
enum oracle_verdict oracle_check(const struct oracle *o, uint64_t sec,
				 const uint8_t *data);

/* Is DATA (NULL: the backing file answers) version GEN of sector SEC? */
bool oracle_is(const struct oracle *o, uint64_t sec, uint32_t gen,
	       const uint8_t *data);

/* Do the versions A and B of sector SEC read the same? */
bool oracle_same(const struct oracle *o, uint64_t sec, uint32_t a, uint32_t b);

/* What was written to sector SEC last. */
uint32_t oracle_newest(const struct oracle *o, uint64_t sec);

/* The same for the snapshot ID, whose sectors never change. */
enum oracle_verdict oracle_check_snapshot(const struct oracle *o, uint32_t id,
					  uint64_t sec, const uint8_t *data);

/* The snapshot that an image has from the start; must be there. */
void oracle_preset(struct oracle *o);
/* A snapshot of what was written last begins; its id, 0 when there are too
 * many. */
uint32_t oracle_snapshot_begin(struct oracle *o);
/* Snapshot WHICH, modulo the number there is; NULL when there is none. */
struct oracle_snapshot *oracle_snapshot_get(struct oracle *o, uint64_t which);
/* The disk may get so many sectors. */
void oracle_resizing(struct oracle *o, uint64_t sectors);
/* The disk has so many sectors from here on, durably; those that went are gone,
 * those that came are zero. */
void oracle_resized(struct oracle *o, uint64_t sectors);
/* Make the active disk S from here on; begins and needs oracle_ack(). */
void oracle_apply(struct oracle *o, const struct oracle_snapshot *s);
void oracle_snapshot_drop(struct oracle_snapshot *s);
