/*
 * checkaux: what the header says besides the tables: the encryption header's
 * place, and autoclear bits.
 */
#include "core/admin/checkwalk.h"

#include <inttypes.h>

#include "base/be.h"
#include "base/num.h"
#include "core/format/qcow2.h"

int checkaux_crypto(struct checkwalk *w)
{
	const struct headerext *x = headerext_find(&w->ext, QCOW2_EXT_CRYPTO);
	uint64_t off;
	uint64_t len;

	if (w->h.crypt_method != QCOW2_CRYPT_LUKS)
		return 0;
	if (!x || x->len != 16) {
		checkwalk_report(w, PROBLEM_HEADER, 0, "LUKS encryption "
				 "without a valid header extension");
		return 0;
	}
	off = be64_load(x->data);
	len = be64_load(x->data + 8);
	if (!off || !len || !num_is_aligned(off, w->g.cluster_size) ||
	    !checkwalk_inside(w, off, len)) {
		checkwalk_report(w, PROBLEM_HEADER, off, "the encryption "
				 "header's place is invalid");
		return 0;
	}
	return checkwalk_mark(w, off, len, CHECKROLE_CRYPTO, 1);
}

/* A bit that is set promises something of a feature: without that, it is wrong
 * (QEMU does not even open such an image). */
void checkaux_autoclear(struct checkwalk *w)
{
	if (w->h.autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW &&
	    !(w->h.incompatible & QCOW2_INCOMPAT_DATA_FILE)) {
		checkwalk_report(w, PROBLEM_AUTOCLEAR, 0,
				 "the data file is said to be raw, but there "
				 "is none");
		w->autoclear &= ~QCOW2_AUTOCLEAR_DATA_FILE_RAW;
	}
	if (w->h.autoclear & QCOW2_AUTOCLEAR_BITMAPS &&
	    !headerext_find(&w->ext, QCOW2_EXT_BITMAPS)) {
		checkwalk_report(w, PROBLEM_AUTOCLEAR, 0,
				 "bitmaps are said to be valid, but there are "
				 "none");
		w->autoclear &= ~QCOW2_AUTOCLEAR_BITMAPS;
	}
}
