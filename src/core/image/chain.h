/*
 * chain: the backing files behind an image and the external data file beside it,
 * opened under the policy of docs/security.md: plain paths only, never a format that is guessed, and by
 * default only below the folder of the image that names them.
 */
#pragma once

#include "core/data/backing.h"
#include "core/format/headerext.h"
#include "core/format/qcow2.h"
#include "core/image/image.h"

/* The files of a chain so far, to find loops. */
struct chain {
	struct {
		uint64_t dev, ino;
	} id[QCOW2_MAX_CHAIN];
	unsigned n;
	bool refused; /* the policy forbade a file */
	bool named; /* the error text names the file at fault already */
};

struct chain_backing {
	struct backing backing; /* what the data layer sees */
	struct image *image;	/* a qcow2 backing file, else NULL */
	struct hostfile *raw;	/* a raw backing file, else NULL */
};

/* Note FILE as part of the chain. -ELOOP: it is there already; -EMLINK: more
 * than QCOW2_MAX_CHAIN. Files without identity (tests) are only counted. */
int chain_add(struct chain *chain, struct hostfile *file, struct err *err);

/*
 * Open what the header of IMG names (CLUSTER: its first cluster; EXT: its
 * extensions), or what OPTS name instead, and hang it behind img->disk. 0 also
 * when there is none. -EPERM: the policy forbids it; -ENOENT, -EINVAL (format
 * not given or not known), -ELOOP, errors of opening an image.
 */
int chain_open_backing(struct image *img, const struct headerext_list *ext,
		       const uint8_t *cluster, const struct image_opts *opts,
		       struct chain *chain, struct err *err);
/*
 * The same for the external data file of an image that has one, which CHAIN
 * notes too; img->data_file and img->disk.data are set. It is opened to write
 * unless the image is read-only. -EINVAL also: OPTS name one for an image that
 * has none; -EUCLEAN: a raw one is shorter than the disk.
 */
int chain_open_data_file(struct image *img, const struct headerext_list *ext,
			 const struct image_opts *opts, struct chain *chain,
			 struct err *err);
void chain_close_backing(struct chain_backing *b);

/* Blocks of 512 bytes that the host holds for it and all behind it. */
uint64_t chain_blocks(const struct chain_backing *b);
