/*
 * enumerate: every state in which a crash may leave the image.
 *
 * The log is replayed. After each change the sectors that were written since
 * the last successful sync are variables, each with all versions it had since
 * then; so is the length of the file. States are combinations. Sectors that
 * were ever part of a table are enumerated; for data sectors it is enough to
 * know which states map a guest sector to them, because each combination of
 * their versions is possible in every one of these states.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "checker.h"
#include "hashset.h"
#include "lib/hostrecord.h"
#include "oracle.h"

/* Marks in the log. A: index of the operation. */
enum enumerate_mark {
	ENUMERATE_OP_BEGIN = 1,
	ENUMERATE_OP_ACK,
	ENUMERATE_FLUSH_BEGIN,
	ENUMERATE_FLUSH_ACK,
	/* of an operation on bitmaps */
	ENUMERATE_BITMAP_BEGIN,
	ENUMERATE_BITMAP_ACK,
};

enum enumerate_fault {
	ENUMERATE_CORRUPT,
	ENUMERATE_LOST,
	ENUMERATE_FOREIGN,
	ENUMERATE_ORDER, /* a rule about the order of calls */
	ENUMERATE_FAULTS
};

struct enumerate_stats {
	uint64_t states;   /* unique over all runs, by their metadata */
	uint64_t checked;  /* states given to the checker */
	uint64_t points;   /* crash points */
	uint64_t pairs;	   /* mappings checked by the data oracle */
	uint64_t bad[ENUMERATE_FAULTS];
	uint64_t leaks_max, sampled;
};

struct enumerate {
	/* set by the caller */
	const struct hostrecord_entry *log;
	uint64_t n;
	const uint8_t *image; /* content before the log */
	uint64_t len;
	/* an external data file of DATA_LEN bytes. Entries of file 1 have
	 * DATA_BASE, behind all of the image, added to their offsets. */
	const uint8_t *data;
	uint64_t data_base, data_len;
	uint64_t leaks; /* that the image had before */
	struct oracle *oracle;
	/* what the marks mean; may be NULL */
	void (*mark)(void *arg, const struct hostrecord_entry *e);
	void *arg;
	uint64_t seed;
	uint64_t stale_autoclear; /* must be clear before any other change */
	const char *backing_name; /* that every state must have, or NULL */
	uint64_t product_max;	  /* 0: 4096 */
	bool keep_going;	  /* after a fault */
	struct enumerate_stats *stats;
	struct hashset *seen; /* states that were counted; over many runs */
	/* A state as a whole, one in SAMPLE_EVERY (0: none). Returns 0, or -1
	 * with TEXT when something is wrong with it. */
	int (*sample)(void *arg, const uint8_t *img, uint64_t len, char *text,
		      size_t text_len);
	uint64_t sample_every;
	/* result of the first fault */
	char text[400];
	enum enumerate_fault fault;
	bool failed;
	const char *dump; /* file for the image of the first fault, or NULL */
};

/* 0, or -1 with e->text when a state is bad. */
int enumerate_run(struct enumerate *e);
