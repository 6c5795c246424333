/*
 * snaplist: the snapshot table of an image, read whole. For the programs that
 * list or check; an open image reads snapshots when it needs them.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/format/header.h"
#include "core/format/snaptable.h"
#include "core/host/hostfile.h"

struct snaplist {
	struct snapshot *snap;
	size_t n;
	uint64_t bytes; /* of the table in the file */
};

/*
 * Read the h->nb_snapshots records. 0; -EUCLEAN with text that names the
 * record, and LIST then holds those before it; -EIO, -ENOMEM. The caller frees
 * with snaplist_fini() in any case.
 */
int snaplist_read(struct snaplist *list, struct hostfile *file,
		  const struct header *h, const struct geom *g,
		  uint64_t file_size, struct err *err);
/* The snapshot with this name, or else with this id, as qemu-img looks for it.
 * *I is its index; -ENOENT with text. */
int snaplist_find(const struct snaplist *list, const char *name_or_id,
		  size_t *i, struct err *err);

void snaplist_fini(struct snaplist *list);
