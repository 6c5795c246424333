/*
 * repairwork: the steps of a repair, each over what one walk has found.
 * Private to core/admin; repair.c has their order.
 */
#pragma once

#include "core/admin/checkwalk.h"

/* Every write of a repair. Sets w->writes. 0 or -errno with text. */
int repairentry_write(struct checkwalk *w, const void *buf, uint64_t len,
		     uint64_t off);
/* F, if anything was written since the last one. */
int repairentry_sync(struct checkwalk *w);

/* Is every reference known? What is only wrong about counts and flags hides
 * none. */
bool repairentry_known(const struct checkwalk *w);

/* repaircount.c. Raise counts that are below the references, or lower those
 * above, in place, F. */
int repaircount_raise(struct checkwalk *w);
int repaircount_lower(struct checkwalk *w);
/* Set COPIED by the counts as repaircount_lower() will leave them, or not if
 * LOWER is false; F. */
int repaircount_flags(struct checkwalk *w, bool lower);

/* repairentry.c. Put the new values into entries: those of the moves that were
 * carried out, or the patches; F. */
int repairentry_moved(struct checkwalk *w);
int repairentry_patches(struct checkwalk *w);

/* What sector 0 shall say from now on; a zero offset: as it was. */
struct repairwork_roots {
	uint64_t reftable_offset;
	uint32_t reftable_clusters;
	uint64_t snapshots_offset;
	uint32_t nb_snapshots;
	uint64_t bitmaps_offset, bitmaps_len;
	uint32_t nb_bitmaps;
	bool snapshots, bitmaps; /* those fields count */
	uint64_t autoclear;
};

/*
 * repairhead.c. Switch the header to ROOTS by one write of sector 0, F [R7].
 * The bitmaps extension may lie behind that sector: then bitmaps are void while
 * it is written. All that ROOTS names is stable.
 */
int repairhead_roots(struct checkwalk *w, const struct repairwork_roots *roots);

/* Set and clear incompatible bits (version 3; else nothing happens), with F
 * before and after. *BEFORE is what they were, 0 in version 2. */
int repairhead_set_marks(struct hostfile *file, uint64_t set, uint64_t clear,
			 uint64_t *before, struct err *err);
