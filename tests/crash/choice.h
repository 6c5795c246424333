/*
 * choice: one crash state, as a choice of versions: for each sector of a table
 * that was written since the last sync, and for the length of the file.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "combine.h"
#include "unsynced.h"

struct choice {
	struct unsynced *un; /* set by the caller; read, but for var.applied */
	/* what there is to choose from, the length last; and what is chosen,
	 * for combine.h to change */
	struct combine_part *part;
	uint32_t *pick, n, cap;
	uint32_t *what; /* of each part the variable of UN */
	/* the image: its tables as chosen when choice_apply() was called last,
	 * its data stable */
	uint8_t *image;
	uint64_t base; /* hash of the stable tables */
};

void choice_init(struct choice *c);
void choice_fini(struct choice *c);

/* c->un is before its first entry. */
void choice_rewind(struct choice *c);

/* List what there is to choose from now. */
void choice_list(struct choice *c);

/* Between unsynced_settle() and unsynced_forget(). */
void choice_settle(struct choice *c);

/* Of the tables and the length. */
uint64_t choice_hash(const struct choice *c);
uint64_t choice_len(const struct choice *c);

/* Make c->image so. */
void choice_apply(struct choice *c);

/* What is not the oldest, as text. */
void choice_text(const struct choice *c, char *out, size_t n);

/* The state as a file, to OUT (c->un->cap bytes): its data the newest, but for
 * sector SEC, which holds DATA unless that is NULL. */
void choice_dump(const struct choice *c, uint64_t sec, const uint8_t *data,
		 uint8_t *out);
