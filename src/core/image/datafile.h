/*
 * datafile: the external data file of an image, which holds the guest's data
 * while the image holds the metadata. A target as in core/image/target.h.
 */
#pragma once

#include "core/format/headerext.h"
#include "core/image/chain.h"

/*
 * Open the data file that the extensions EXT name, or the one that OPTS name
 * instead, for an image that has one; CHAIN notes it; img->data_file and
 * img->disk.data are set. It is opened to write unless the image is read-only.
 * -EPERM, -ENOENT, -ELOOP as chain_open_backing(). -EINVAL: no name is known,
 * or OPTS name one for an image that has none; -EUCLEAN: a raw one is shorter
 * than the disk.
 */
int datafile_open(struct image *img, const struct headerext_list *ext,
		  const struct image_opts *opts, struct chain *chain,
		  struct err *err);
