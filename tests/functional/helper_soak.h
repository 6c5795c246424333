/*
 * helper_soak: many different things at once on one mounted folder, each with
 * an oracle of its own. A worker is a thread; who finds something wrong prints
 * one line and ends the program.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "helpers.h"

#define SOAK_OWNERS 6u /* workers with blocks of their own */

struct soak {
	const char *mnt;
	char disk[256];
	uint64_t size;	/* of the part of the disk that has owners */
	uint8_t *model; /* what it holds */
	uint64_t seed;
	bool snapshots; /* the image can have some */
	bool growable;	/* behind that part the size changes */
	struct timespec end;
};

struct soak_worker {
	const struct soak *soak;
	const char *name;
	void (*run)(struct soak_worker *w);
	unsigned owner; /* of which blocks, if any */
	const char *how; /* helpers_open() */
	uint64_t rnd;
	pthread_t thread;
	_Atomic uint64_t steps;
};

/* Begin a step; false when the time is over. */
bool soak_step(struct soak_worker *w);
/* Below N. */
uint64_t soak_dice(struct soak_worker *w, uint64_t n);
/* Something is wrong: say so, and end the program. */
void soak_bad(struct soak_worker *w, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 2, 3)));
/* Wait a little. */
void soak_nap(struct soak_worker *w);

/* Choose a range of the worker's own blocks: *OFF, *LEN, both multiples of
 * UNIT. */
void soak_pick(struct soak_worker *w, uint64_t unit, uint64_t *off,
	       uint64_t *len);
/* How many pieces a worker has, and piece I of them. */
uint64_t soak_pieces(const struct soak *s);
void soak_piece(const struct soak_worker *w, uint64_t i, uint64_t *off,
		uint64_t *len);
/* New bytes for a range of the model. */
void soak_scribble(struct soak_worker *w, uint64_t off, uint64_t len);
/* GOT, read from OFF on, against the bytes WANT. */
void soak_compare(struct soak_worker *w, const char *what, const uint8_t *got,
		  const uint8_t *want, uint64_t off, uint64_t len);

/* helper_soak.c */
void soak_resizer(struct soak_worker *w);
/* helper_soakdir.c */
void soak_keeper(struct soak_worker *w);
void soak_looker(struct soak_worker *w);
void soak_texts(struct soak_worker *w);
void soak_attributes(struct soak_worker *w);
/* helper_soakcmd.c */
void soak_commands(struct soak_worker *w);
void soak_victims(struct soak_worker *w);
/* Is TEXT one JSON value and nothing else? */
bool soak_is_json(const char *text, size_t len);
