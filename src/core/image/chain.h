/*
 * chain: the backing files behind an image. Each is a target
 * (core/image/target.h) whose format is never guessed.
 */
#pragma once

#include "core/data/backing.h"
#include "core/format/headerext.h"
#include "core/format/qcow2.h"
#include "core/image/image.h"

struct target;

/* The files of a chain so far, to find loops. */
struct chain {
	struct {
		uint64_t dev, ino;
	} id[QCOW2_MAX_CHAIN];
	unsigned n;
	bool refused; /* the policy forbade a file */
	bool named;   /* the error text names the file at fault already */
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
 * Say in ERR that T is at fault, the error being R. Of a long chain only the
 * file at fault is named. A refusal by policy names what it refuses itself, and
 * needs the image that asked for it.
 */
void chain_name_culprit(struct chain *chain, int r, struct err *err,
			const struct target *t);

/*
 * Open what the header of IMG names (CLUSTER: its first cluster; EXT: its
 * extensions), or what OPTS name instead, and hang it behind img->disk. 0 also
 * when there is none. -EPERM: the policy forbids it; -ENOENT, -EINVAL (format
 * not given or not known), -ELOOP, errors of opening an image.
 */
int chain_open_backing(struct image *img, const struct headerext_list *ext,
		       const uint8_t *cluster, const struct image_opts *opts,
		       struct chain *chain, struct err *err);
void chain_close_backing(struct chain_backing *b);

/* What R, of a request to an image behind another one, is to that one: not what
 * it would be marked as corrupt for. */
int chain_error(int r);

/* Blocks of 512 bytes that the host holds for it and all behind it. */
uint64_t chain_blocks(const struct chain_backing *b);
