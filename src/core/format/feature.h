/*
 * feature: which feature bits rawcow knows, what their names are, and which of
 * them it cannot serve.
 */
#pragma once

#include "base/err.h"
#include "core/format/headerext.h"

enum feature_class { FEATURE_INCOMPATIBLE, FEATURE_COMPATIBLE, FEATURE_AUTOCLEAR };

#define FEATURE_NAME_MAX 200 /* 46 bytes, each escaped */

/* The name of bit BIT: from rawcow's own table, else from the image's feature
 * name table (escaped), else "bit N". LIST may be NULL. Returns BUF. */
const char *feature_name(char buf[FEATURE_NAME_MAX], enum feature_class cls,
			 unsigned bit, const struct headerext_list *list);

/*
 * -ENOTSUP with a text that names every feature for which rawcow cannot open
 * this image at all: unknown incompatible bits. 0 when there is none.
 */
int feature_refusal(const struct header *h, const struct headerext_list *list,
		    struct err *err);

/* Autoclear bits of H that rawcow does not keep right while it writes, and that
 * must be cleared before the first write: all but bitmaps, and raw external
 * data where it is true. */
uint64_t feature_autoclear_stale(const struct header *h);

/* The feature name table that create writes; *LEN its bytes. */
const void *feature_name_table(uint32_t *len);
