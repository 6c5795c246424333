/*
 * repair: what check found, made right: refcounts, COPIED flags, and the marks
 * "dirty" and "corrupt". Private to core/admin; check_image() calls it when
 * check_opts.repair asks for it.
 *
 * Order (docs/durability.md): counts that are too low are raised, F; COPIED, F;
 * then counts that are too high are lowered, F. So the image is consistent at
 * each moment, and no worse than before.
 */
#pragma once

#include "core/admin/checkwalk.h"

/*
 * After the walk: repair what check_opts.repair asks for. Counts are lowered
 * only if every reference is known: no table was left out because it is broken
 * or could not be read. 0 or -errno with text; then some may be repaired.
 */
int repair_apply(struct checkwalk *w);
