/*
 * disk: what a request needs to know about an open image. Const after open.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "core/codec/codec.h"
#include "core/data/backing.h"
#include "core/data/clustercache.h"
#include "core/data/crypt.h"
#include "core/data/inflight.h"
#include "core/format/geom.h"
#include "core/host/hostfile.h"
#include "core/meta/meta.h"

struct disk {
	const struct geom *geom;
	struct hostfile *file;
	struct hostfile *data;	/* of plain clusters: FILE, or another */
	struct meta *meta;
	const struct codec *codec;	/* of compressed clusters; may be NULL */
	bool compress;			/* write whole clusters compressed */
	struct clustercache *cache;	/* decoded clusters */
	struct crypt *crypt;		/* NULL: not encrypted */
	const struct backing *backing;	/* NULL: none */
	struct inflight inflight;	/* its own; the last member */
};

/* TO is another view of what FROM reads: all but the ranges being mapped is
 * shared. inflight_fini() when it goes. */
static inline void disk_share(struct disk *to, const struct disk *from)
{
	memcpy(to, from, offsetof(struct disk, inflight));
	inflight_init(&to->inflight);
}

/* Does an unallocated cluster at GOFF read as zero? */
static inline bool disk_hole_is_zero(const struct disk *d, uint64_t goff)
{
	return !d->backing || goff >= d->backing->size;
}
