/*
 * headerext: the list of header extensions (specification: "Header
 * extensions"). Unknown ones are kept as bytes, so that they survive.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/format/header.h"

struct headerext {
	uint32_t type;
	uint32_t len;
	const uint8_t *data; /* points into the buffer that was decoded */
};

struct headerext_list {
	struct headerext ext[64]; /* QCOW2_MAX_EXTENSIONS */
	unsigned n;
	size_t end; /* offset in the buffer behind the end marker, or, if it was
		       not MARKED, behind the last extension */
	bool marked;
};

/*
 * Walk the extensions in BUF (LEN bytes of the first cluster) behind the
 * header. 0 or -EUCLEAN: an extension runs past the cluster or into the
 * backing file name, a type appears twice, there are more than 64.
 * A version 2 image that ends its header at 72 bytes is walked too.
 */
int headerext_decode(struct headerext_list *list, const struct header *h,
		     const void *buf, size_t len, struct err *err);

/* NULL when there is none of that type. */
const struct headerext *headerext_find(const struct headerext_list *list,
				       uint32_t type);

/*
 * Append one extension (padded to 8) to BUF at *POS, whose size is CAP; type
 * QCOW2_EXT_END with len 0 ends the list. -ENOSPC if it does not fit.
 */
int headerext_append(void *buf, size_t cap, size_t *pos, uint32_t type,
		     const void *data, uint32_t len);
