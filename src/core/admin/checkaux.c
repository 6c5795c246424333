/*
 * checkaux: what the header says besides the tables: the encryption header's
 * place, the data file's name, and autoclear bits.
 */
#include "core/admin/checkwalk.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/be.h"
#include "base/num.h"
#include "core/format/lukshdr.h"
#include "core/format/qcow2.h"

/* What the area holds. That rawcow will not do so many iterations is no defect
 * of the image. */
static int check_luks(struct checkwalk *w, uint64_t off, uint64_t len)
{
	uint8_t buf[LUKSHDR_LEN];
	struct lukshdr h;
	struct err err = { "" };

	if (hostfile_pread(w->file, buf, sizeof(buf), off, NULL) < 0)
		checkwalk_report(w, PROBLEM_IO, off,
				 "cannot read the encryption header");
	else if (lukshdr_decode(&h, buf, len, &err) == -EUCLEAN)
		checkwalk_report(w, PROBLEM_HEADER, off, "%s", err.text);
	return checkwalk_mark(w, off, len, CHECKROLE_CRYPTO, 1);
}

int checkaux_crypto(struct checkwalk *w)
{
	const struct headerext *x = headerext_find(&w->ext, QCOW2_EXT_CRYPTO);
	struct err err = { "" };
	uint64_t off;
	uint64_t len;

	if (w->h.crypt_method != QCOW2_CRYPT_LUKS || (!x && w->ext_broken))
		return 0;
	if (lukshdr_area(x, w->g.cluster_size, w->file_size, &off, &len,
			 &err) < 0) {
		checkwalk_report(w, PROBLEM_HEADER, 0, "%s", err.text);
		return 0;
	}
	return check_luks(w, off, len);
}

void checkaux_data_file(struct checkwalk *w)
{
	const struct headerext *x = headerext_find(&w->ext,
						   QCOW2_EXT_DATA_FILE);

	if (w->g.data_file && x && memchr(x->data, 0, x->len))
		checkwalk_report(w, PROBLEM_HEADER, 0,
				 "the data file's name has a NUL byte in its %"
				 PRIu32 " bytes", x->len);
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
	if (w->h.autoclear & QCOW2_AUTOCLEAR_BITMAPS && !w->ext_broken &&
	    !headerext_find(&w->ext, QCOW2_EXT_BITMAPS)) {
		checkwalk_report(w, PROBLEM_AUTOCLEAR, 0,
				 "bitmaps are said to be valid, but there are "
				 "none");
		w->autoclear &= ~QCOW2_AUTOCLEAR_BITMAPS;
	}
}
