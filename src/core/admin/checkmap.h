/*
 * checkmap: what check knows of each host cluster: its role, how often it is
 * referenced, and the refcount that the image stores for it.
 *
 * Cells stand in pages that exist only where something was found, so a sparse
 * file of any length costs what its content costs. All memory of one check is
 * charged to one budget; beyond it -ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum checkrole {
	CHECKROLE_NONE,
	CHECKROLE_HEADER,
	CHECKROLE_REFTABLE,
	CHECKROLE_REFBLOCK,
	CHECKROLE_L1,
	CHECKROLE_L2,
	CHECKROLE_SNAPTABLE,
	CHECKROLE_SNAP_L1,
	CHECKROLE_SNAP_L2,
	CHECKROLE_DATA,
	CHECKROLE_COMPRESSED,
	CHECKROLE_BITMAP_DIR,
	CHECKROLE_BITMAP_TABLE,
	CHECKROLE_BITMAP_DATA,
	CHECKROLE_CRYPTO,
	CHECKROLE_OUTSIDE, /* behind the end of the file, and yet named */
	CHECKROLE_N
};

/* One cluster. COUNT_BIG means: look it up with checkmap_refs()/_stored(). */
struct checkcell {
	uint16_t refs, stored;
	uint8_t role;
	bool shown; /* the disk has it as data */
};

struct checkmap_page;
struct checkmap_big;

struct checkmap {
	struct checkmap_page *pages; /* by number */
	struct checkmap_page *last;  /* the one used last */
	struct checkmap_big *bigs;   /* counts that do not fit a cell */
	uint64_t used, budget;	     /* bytes */
};

void checkmap_init(struct checkmap *m, uint64_t budget);
void checkmap_fini(struct checkmap *m);

/* Charge BYTES to the budget. 0 or -ENOMEM. */
int checkmap_charge(struct checkmap *m, uint64_t bytes);

/* The cell of cluster HIDX, made if needed; NULL: no memory. It stays where it
 * is until checkmap_fini(). */
struct checkcell *checkmap_cell(struct checkmap *m, uint64_t hidx);

/* Sums saturate. 0 or -ENOMEM. */
int checkmap_add_refs(struct checkmap *m, uint64_t hidx, uint64_t n);
int checkmap_set_stored(struct checkmap *m, uint64_t hidx, uint64_t count);

enum checkrole checkmap_role(const struct checkmap *m, uint64_t hidx);
uint64_t checkmap_refs(const struct checkmap *m, uint64_t hidx);
uint64_t checkmap_stored(const struct checkmap *m, uint64_t hidx);

/* Call FN for each cell with a reference or a count, in order of HIDX. */
void checkmap_each(struct checkmap *m,
		   void (*fn)(void *arg, uint64_t hidx, uint64_t refs,
			      uint64_t stored),
		   void *arg);

/* "an L2 table" */
const char *checkmap_role_text(enum checkrole role);
