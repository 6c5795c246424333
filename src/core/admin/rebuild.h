/*
 * rebuild: what a repair must write anew, in free room at the end of the file:
 * refcount blocks and the refcount table from the references that were found,
 * copies of clusters that two had, the snapshot table, the bitmap directory.
 * Private to core/admin.
 *
 * Order: all that is new, F; sector 0 names it, F [R7]; entries that named
 * what was copied name the copies, F [R1]. Until sector 0 is written nothing
 * refers to what is new, and afterwards the new counts hold for all of it [R2].
 * The old tables are leaked clusters then; a later pass counts them as free.
 */
#pragma once

#include "core/admin/checkwalk.h"

/* Does the walk ask for it? */
bool rebuild_needed(const struct checkwalk *w);

/*
 * Do it; w->writes stays 0 if none of it can be done. While references may
 * hide, counts are never below what was stored, and what a lost refcount block
 * counted is taken as used. 0; -EFBIG: the file is too long for the largest
 * refcount table, or for any offset; -ENOSPC, -EIO, -ENOMEM; with text.
 */
int rebuild_apply(struct checkwalk *w);
