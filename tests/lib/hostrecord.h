/*
 * hostrecord: remembers every change to a host file, in order, with its data.
 *
 * A struct hostrecord is the log; a hostfile that hostrecord_wrap() returns
 * passes calls on to an inner hostfile and appends to the log. The log outlives
 * the hostfile. A change is applied and logged in one step under the log's
 * mutex, so that replaying the log in order over the first content gives the
 * file's content. Failed changes are logged with their error (what they did to
 * the file is unknown); short writes are logged with the bytes that were
 * written.
 *
 * A write is stable when its entry comes before a SYNC_BEGIN whose SYNC_END has
 * result 0. All functions may be called by several threads at once.
 */
#pragma once

#include "core/host/hostfile.h"

enum hostrecord_op {
	HOSTRECORD_WRITE,
	HOSTRECORD_ZERO,     /* falloc: reads zero, extends the file */
	HOSTRECORD_PUNCH,    /* falloc: reads zero, never extends */
	HOSTRECORD_ALLOCATE, /* falloc: content kept, extends the file */
	HOSTRECORD_TRUNCATE, /* LEN is the new size */
	HOSTRECORD_SYNC_BEGIN,
	HOSTRECORD_SYNC_END, /* PAIR is the seq of its SYNC_BEGIN */
	HOSTRECORD_MARK,     /* by hostrecord_mark(): KIND, A, B */
};

struct hostrecord_entry {
	uint64_t seq; /* index in the log, from 0 */
	unsigned file; /* as given to hostrecord_wrap_as(); of a mark 0 */
	unsigned thread; /* 0, 1, ... in order of first appearance */
	enum hostrecord_op op;
	int result; /* 0 or -errno */
	uint64_t off, len;
	const unsigned char *data; /* of WRITE: LEN bytes; else NULL */
	uint64_t pair;
	int kind;      /* of MARK: the test's own number, */
	uint64_t a, b; /* and two values */
};

struct hostrecord;
struct hostmem;

struct hostrecord *hostrecord_new(void); /* NULL on no memory */
void hostrecord_free(struct hostrecord *r); /* after its hostfiles are closed */

/* A hostfile over INNER that logs to R. Takes ownership of INNER on success.
 * A log may see several hostfiles of the same content, one after another (a
 * remount). 0 or -ENOMEM. */
int hostrecord_wrap(struct hostrecord *r, struct hostfile **out,
		    struct hostfile *inner);

/* The same for the changes of file number FILE: a log may hold the changes of
 * several files, in the order in which they came. */
int hostrecord_wrap_as(struct hostrecord *r, struct hostfile **out,
		       struct hostfile *inner, unsigned file);

/* Append a mark; returns its seq. Such as: guest write begins, guest write was
 * acknowledged. */
uint64_t hostrecord_mark(struct hostrecord *r, int kind, uint64_t a,
			 uint64_t b);

/* Number of entries, and one of them. Entries and their data stay valid and
 * unchanged until hostrecord_free() or _clear(); *E is a copy. */
uint64_t hostrecord_len(struct hostrecord *r);
void hostrecord_get(struct hostrecord *r, uint64_t seq,
		    struct hostrecord_entry *e);
void hostrecord_clear(struct hostrecord *r);

/* Apply the change of one entry to M; nothing for syncs, marks and failed
 * changes. 0 or -errno. */
int hostrecord_apply(const struct hostrecord_entry *e, struct hostmem *m);
