/*
 * unsynced: what a log leaves open. Its entries are taken one after the other;
 * between two syncs each sector that was written has versions, and so has the
 * length of the file. The oldest is what the last sync made stable.
 *
 * One image; an external data file may follow it in the same memory, as file 1
 * of the log, whose offsets count from DATA_BASE. Its length is no matter: it
 * reads zero where it is too short.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/hostrecord.h"

#define UNSYNCED_SECTOR 512

/* A sector that was written since the last sync. */
struct unsynced_var {
	uint64_t sec;
	uint32_t nver, cap;
	uint32_t first;	  /* version that the last entry brought; NVER: none */
	uint32_t applied; /* free for who builds states; 0 at first */
	const uint8_t **ver;
	uint64_t *hash;
	bool meta;
	uint8_t class;
};

struct unsynced {
	/* set by the caller */
	const struct hostrecord_entry *log;
	uint64_t n;
	const uint8_t *image, *data; /* before the log; DATA may be NULL */
	uint64_t len, data_base, data_len;
	/* the rest is read only for others. What the log can reach: */
	uint64_t cap, sectors;
	/* by sector: whether it is part of a table, and of which kind; for the
	 * caller to fill */
	uint8_t *meta, *class;
	uint8_t *newest, *stable;
	uint64_t newest_len, stable_len;
	int32_t *vix; /* by sector: its variable or -1 */
	struct unsynced_var *var;
	uint32_t nvar, var_cap;
	uint64_t *lens; /* [0] is the stable one */
	uint32_t nlen, len_cap;
	uint32_t len_first; /* as unsynced_var.first */
	uint8_t **blocks; /* memory of versions */
	uint32_t nblock, block_cap, block_used, in_block;
	uint64_t from[2]; /* log index that the next sync of a file covers */
};

/* U: what the caller sets, the rest zero. */
void unsynced_init(struct unsynced *u);
void unsynced_fini(struct unsynced *u);

/* Before the first entry. */
void unsynced_rewind(struct unsynced *u);

/* Does the entry change a file? */
bool unsynced_is_change(const struct hostrecord_entry *r);

/* Take a change: true if it brought a table or the length a new version. */
bool unsynced_change(struct unsynced *u, const struct hostrecord_entry *r);

/*
 * A sync of FILE succeeded that began at entry BEGIN: what was complete by then
 * is stable. The variables are still those of before, until unsynced_forget();
 * after that unsynced_again() takes the entries up to END once more that stay
 * open, for they were made while the sync ran, or in the other file.
 */
void unsynced_settle(struct unsynced *u, uint64_t begin, unsigned file);
void unsynced_forget(struct unsynced *u);
void unsynced_again(struct unsynced *u, uint64_t end);

/* The versions of sector SEC; NULL: the stable one only. */
const struct unsynced_var *unsynced_var(const struct unsynced *u,
					uint64_t sec);

/* Fill BUF (CAP bytes, all zero) with what there was before the log. */
void unsynced_start(const struct unsynced *u, uint8_t *buf);

/* Change BUF and *IMAGE_LEN as the entry does; what changed is [*FROM, *TO). */
void unsynced_apply(const struct unsynced *u, const struct hostrecord_entry *r,
		    uint8_t *buf, uint64_t *image_len, uint64_t *from,
		    uint64_t *to);

/* Of sector SEC with the content P. */
uint64_t unsynced_hash(uint64_t sec, const uint8_t *p);
