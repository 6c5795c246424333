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
#include "core/admin/checkmap.h"
#include "core/format/geom.h"
#include "core/format/header.h"
#include "core/format/headerext.h"

struct checktab_l2; /* checktab.c */

struct checkwalk {
	struct hostfile *file;
	const struct check_opts *opts;
	struct check_result *res;
	struct err *err;
	struct header h;
	struct geom g;
	struct headerext_list ext; /* points into head */
	uint8_t *head;		   /* the first cluster */
	uint64_t file_size;
	struct checkmap map;
	uint64_t hiding; /* defects behind which references may hide */
	struct checktab_l2 *l2s; /* all L2 tables, active ones first */
};

/* Count the defect by its class and hand it to the caller's report. */
void checkwalk_report(struct checkwalk *w, enum problem_code code,
		      uint64_t hoff, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Does [OFF, OFF + LEN) end less than one cluster behind the file's end? The
 * last cluster of a file may be cut short. */
bool checkwalk_inside(const struct checkwalk *w, uint64_t off, uint64_t len);

/* Add N references to each cluster of [OFF, OFF + LEN), which is inside. A
 * cluster that has a role which excludes ROLE is reported. */
int checkwalk_mark(struct checkwalk *w, uint64_t off, uint64_t len,
		   enum checkrole role, uint64_t n);

/* Read; what lies behind the end reads zero. False: reported as PROBLEM_IO. */
bool checkwalk_read(struct checkwalk *w, void *buf, uint64_t len,
		    uint64_t off);

/* Is all of [OFF, OFF + LEN) known to be a hole? Saves reading huge sparse
 * tables. */
bool checkwalk_hole(struct checkwalk *w, uint64_t off, uint64_t len);

/* checkref.c: the refcount table and blocks, and the comparison. */
int checkref_load(struct checkwalk *w);
void checkref_compare(struct checkwalk *w);

/* checktab.c: L1 and L2 tables. */
int checktab_l1(struct checkwalk *w, uint64_t l1_offset, uint64_t entries,
		bool active);
int checktab_walk_l2s(struct checkwalk *w);
/* Call FN with the host offset of each L2 table that the active L1 names, until
 * it returns an error, which is returned. */
int checktab_each_active(struct checkwalk *w,
			 int (*fn)(void *arg, uint64_t hoff), void *arg);
void checktab_fini(struct checkwalk *w);

/* checkaux.c: snapshots, bitmaps, encryption header. */
int checkaux_snapshots(struct checkwalk *w);
int checkaux_bitmaps(struct checkwalk *w);
int checkaux_crypto(struct checkwalk *w);
