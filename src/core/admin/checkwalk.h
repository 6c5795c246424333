/*
 * checkwalk: the state that the parts of check share, and what each of them
 * does with a piece of the image: test its place, read it, mark it. Private to
 * core/admin.
 *
 * The parts return 0 also when they found defects (those went to report), and
 * -errno only when check cannot go on (-ENOMEM).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/admin/check.h"
#include "core/admin/checkfix.h"
#include "core/admin/checkmap.h"
#include "core/format/geom.h"
#include "core/format/header.h"
#include "core/format/headerext.h"

struct checktab_l2; /* checktab.c */
struct checksnap_list;
struct checkbitmap_list;

enum checkwalk_block {
	CHECKWALK_BLOCK_NONE, /* the entry names none */
	CHECKWALK_BLOCK_READ,
	CHECKWALK_BLOCK_LOST, /* it cannot be read */
};

struct checkwalk {
	struct hostfile *file;
	const struct check_opts *opts;
	struct check_result *res;
	struct err *err;
	struct header h;
	struct geom g;
	struct headerext_list ext; /* points into head */
	bool ext_broken; /* the list breaks off: there may have been more */
	uint8_t *head;		   /* the first cluster */
	uint64_t file_size;
	struct checkmap map;
	uint64_t hiding; /* defects behind which references may hide */
	/* what the walk proposes, if it is made for a repair */
	bool proposing;
	bool rebuild;	   /* the refcount structure must be made anew */
	bool rewrite_snapshots, rewrite_bitmaps;
	uint64_t autoclear; /* as it should be */
	uint8_t *blocks;    /* enum checkwalk_block of each refcount table
			       entry */
	uint64_t blocks_n;
	struct checkfix_list fixes;
	uint64_t apart; /* clusters to copy since the disk has them twice */
	/* of the repair */
	uint64_t writes;
	bool unsynced;
	struct checksnap_list *snaps; /* checksnap.c; NULL: none */
	struct checkbitmap_list *bitmaps; /* checkbitmap.c; NULL: none */
	struct checktab_l2 *l2s; /* all L2 tables, active ones first */
};

/* Count the defect by its class and hand it to the caller's report. */
void checkwalk_report(struct checkwalk *w, enum problem_code code,
		      uint64_t hoff, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Load the header and walk the whole image, then compare counts. OPTS, RES, ERR
 * and FILE of W are set, the rest is zero. 0 or -errno with text. */
int check_run(struct checkwalk *w);
void checkwalk_fini(struct checkwalk *w);

/* Propose FIX, if a repair asks for proposals. 0 or -ENOMEM. */
int checkwalk_propose(struct checkwalk *w, const struct checkfix *fix);
/* The patch that puts RAW into the entry at AT, in a table of role ROLE. */
int checkwalk_patch(struct checkwalk *w, uint64_t at, uint64_t raw,
		    enum checkrole role);

/* Does [OFF, OFF + LEN) end less than one cluster behind the file's end? The
 * last cluster of a file may be cut short. */
bool checkwalk_inside(const struct checkwalk *w, uint64_t off, uint64_t len);

/* Add N references to each cluster of [OFF, OFF + LEN), which is inside. A
 * cluster that has a role which excludes ROLE is reported. */
int checkwalk_mark(struct checkwalk *w, uint64_t off, uint64_t len,
		   enum checkrole role, uint64_t n);

/* What checkwalk_name() tells of the place that an entry names. */
enum checkwalk_place {
	CHECKWALK_FINE,
	CHECKWALK_COUNTS,    /* it is a refcount block, or of their table; those
				will move */
	CHECKWALK_CONTESTED, /* it has another role, or all references that can
				be counted: a copy would be better */
};

/* As checkwalk_mark(), for what an entry names: *PLACE tells whether the entry
 * should name another place. */
int checkwalk_name(struct checkwalk *w, uint64_t off, uint64_t len,
		   enum checkrole role, uint64_t n, enum checkwalk_place *place);

/* Note that an entry names [OFF, OFF + LEN), which is not inside: no repair
 * may put something there. */
int checkwalk_outside(struct checkwalk *w, uint64_t off, uint64_t len);

/* Read; what lies behind the end reads zero. False: reported as PROBLEM_IO. */
bool checkwalk_read(struct checkwalk *w, void *buf, uint64_t len,
		    uint64_t off);

/* Is all of [OFF, OFF + LEN) known to be a hole? Saves reading huge sparse
 * tables. */
bool checkwalk_hole(struct checkwalk *w, uint64_t off, uint64_t len);

/* Is there a refcount block for cluster HIDX, which could be read? */
bool checkwalk_counted(const struct checkwalk *w, uint64_t hidx);

/* checkref.c: the refcount table and blocks, and the comparison. */
int checkref_load(struct checkwalk *w);
void checkref_compare(struct checkwalk *w);

/* checktab.c: L1 tables, and the walk of L2 tables. RECORD is the place of the
 * snapshot's record that names the L1 table, 0: it is the active one. */
int checktab_l1(struct checkwalk *w, uint64_t l1_offset, uint64_t entries,
		uint64_t record);
int checktab_walk_l2s(struct checkwalk *w);
/* Call FN with the host offset of each L2 table that the active L1 names, until
 * it returns an error, which is returned. */
int checktab_each_active(struct checkwalk *w,
			 int (*fn)(void *arg, uint64_t hoff), void *arg);
void checktab_fini(struct checkwalk *w);

/* checkaux.c: encryption header, data file's name, autoclear bits. */
int checkaux_crypto(struct checkwalk *w);
void checkaux_data_file(struct checkwalk *w);
void checkaux_autoclear(struct checkwalk *w);

/* checksnap.c: the snapshot table. */
int checksnap_walk(struct checkwalk *w);
/* The table as it should be, with what is broken left out: *OUT (owned by the
 * caller) has *LEN bytes and *N records. 0 or -errno. */
int checksnap_rewrite(struct checkwalk *w, uint8_t **out, uint64_t *len,
		      uint32_t *n);
void checksnap_fini(struct checkwalk *w);

/* checkbitmap.c: the bitmaps extension and what it names. */
int checkbitmap_walk(struct checkwalk *w);
/* The directory without broken bitmaps, as above; *N 0: none is left. */
int checkbitmap_rewrite(struct checkwalk *w, uint8_t **out, uint64_t *len,
			uint32_t *n);
void checkbitmap_fini(struct checkwalk *w);
