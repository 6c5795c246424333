/*
 * problem: the table of defects that check can find. Each has a stable code,
 * a class, a text, and what "check -r all" does about it;
 * docs/man/rawcow-check.1 lists them.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum problem_class { PROBLEM_CORRUPTION, PROBLEM_LEAK, PROBLEM_CHECK_ERROR };

enum problem_code {
	PROBLEM_HEADER,		    /* a header or extension field is invalid */
	PROBLEM_L1_ENTRY,	    /* reserved bits or misaligned L1 entry */
	PROBLEM_L1_RANGE,	    /* L2 table outside the file */
	PROBLEM_L2_ENTRY,	    /* reserved bits or misaligned L2 entry */
	PROBLEM_L2_RANGE,	    /* data cluster outside the file */
	PROBLEM_COMPRESSED_RANGE,   /* compressed data outside the file */
	PROBLEM_COMPRESSED_DATA,    /* a stream that does not decompress */
	PROBLEM_REFTABLE_ENTRY,	    /* reserved bits or misaligned */
	PROBLEM_REFTABLE_RANGE,	    /* refcount block outside the file */
	PROBLEM_REFBLOCK_SHARED,    /* refcount block used twice */
	PROBLEM_ROLE_CLASH,	    /* a cluster used in two roles */
	PROBLEM_SNAPSHOT,	    /* a snapshot record is invalid */
	PROBLEM_SNAPSHOT_EXTRA,	    /* its extra data is too long or too short */
	PROBLEM_BITMAP,		    /* a bitmap record is invalid */
	PROBLEM_AUTOCLEAR,	    /* a bit whose feature is not there */
	PROBLEM_REFCOUNT_LOW,	    /* count below the references */
	PROBLEM_REFCOUNT_HIGH,	    /* leak: count above the references */
	PROBLEM_COPIED_L1,	    /* COPIED in the active L1 is wrong */
	PROBLEM_COPIED_L2,	    /* COPIED in an active L2 is wrong */
	PROBLEM_DATA_PLACE,	    /* not the entry's place in the data file */
	PROBLEM_IO,		    /* a part could not be read */
	PROBLEM_N
};

/* What "check -r all" does. */
enum problem_fix {
	PROBLEM_FIX_NONE,     /* nothing: it harms only itself, or nobody can */
	PROBLEM_FIX_PATCH,    /* the entry or field is set right, or cleared */
	PROBLEM_FIX_MOVE,     /* what came second gets a place of its own */
	PROBLEM_FIX_REBUILD,  /* refcounts are counted and written anew */
	PROBLEM_FIX_REWRITE,  /* the table is written anew without it */
	PROBLEM_FIX_COUNT,    /* the refcount is set to the references */
	PROBLEM_FIX_FLAG,     /* COPIED is set as the refcount asks */
	PROBLEM_FIX_N
};

struct problem {
	enum problem_code code;
	enum problem_class cls;
	uint64_t hoff; /* host offset of the cluster concerned */
	const char *text; /* one line, without a newline */
};

/* The stable name of CODE ("refcount-low"), for JSON and tests. */
const char *problem_name(enum problem_code code);
/* One line: what is wrong, in general. */
const char *problem_text(enum problem_code code);
enum problem_fix problem_fix_of(enum problem_code code);
/* "patched", for lists. */
const char *problem_fix_text(enum problem_fix fix);
/* May clusters be in use that check does not know of, because of this? */
bool problem_hides(enum problem_code code);
enum problem_class problem_class_of(enum problem_code code);
/* Does it harm nothing but itself? Such an image may be written. */
bool problem_harmless(enum problem_code code);
