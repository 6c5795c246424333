/*
 * hostile: images made to do harm, each with what every operation must answer.
 *
 * A row says how its image differs from a sound one, and the result of each
 * operation on it: 0, -errno, or one of the values below. A row is tried in a
 * process of its own, under limits.
 */
#pragma once

#include "lib/imgbuild.h"

#define BROKEN 1     /* check: defects were found */
#define SOME_ERROR 2 /* any */

struct expect {
	int info;
	int check;
	int ro, read;	  /* open read-only; read the whole disk */
	int rw, write;	  /* open to write; write to clusters old and new */
	const char *text; /* one of the messages says this */
};

/* What may not change, whatever is written: offset and length. */
struct guard {
	uint64_t off, len;
};

struct bench;

struct row {
	const char *name;
	void (*make)(struct bench *t);
	struct expect want;
	/* make_header(): field and value */
	enum imgbuild_field field;
	uint64_t value;
	unsigned arg;
};

struct bench {
	struct imgbuild b;
	struct hostfile *f;
	const struct row *row;
	struct guard guard[16];
	unsigned n_guards;
	uint64_t read_len; /* of the disk; 0: all */
};

/* The sound image, unless P says otherwise: 64 KiB clusters, 16-bit refcounts,
 * a disk of 4 MiB with data in clusters 0 and 1. */
void hostile_start(struct bench *t, const struct imgbuild_params *p);
void hostile_finish(struct bench *t);
void hostile_guard(struct bench *t, uint64_t off, uint64_t len);

extern const struct row hostile_header_rows[], hostile_table_rows[],
	hostile_stream_rows[], hostile_snapshot_rows[], hostile_bitmap_rows[],
	hostile_file_rows[];
