/*
 * checkref: refcounts, on both ends of check. First all stored counts go into
 * the map; when the walk has counted the references, the two are compared.
 */
#include "core/admin/checkwalk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/num.h"
#include "core/format/qcow2.h"
#include "core/format/rcentry.h"

/* Put the counts of block INDEX, whose bytes are at BLOCK, into the map. */
static int load_counts(struct checkwalk *w, const void *block, uint64_t index)
{
	uint64_t n = w->g.refblock_entries;
	uint64_t first = index << w->g.refblock_bits;
	uint64_t i = rcentry_find_used(block, w->g.refcount_order, 0, n);

	while (i < n) {
		int ret = checkmap_set_stored(&w->map, first + i,
			rcentry_get(block, w->g.refcount_order, i));

		if (ret)
			return ret;
		i = rcentry_find_used(block, w->g.refcount_order, i + 1, n);
	}
	return 0;
}

/* Report what is wrong with entry INDEX. False: it names no block. */
static bool entry_valid(struct checkwalk *w, uint64_t raw, uint64_t index)
{
	uint64_t hoff = raw & QCOW2_REFTABLE_MASK;
	/* the last cluster that any offset can reach */
	uint64_t reach = QCOW2_HOST_OFFSET_MAX >> w->g.cluster_bits;

	if (raw != hoff) {
		checkwalk_report(w, PROBLEM_REFTABLE_ENTRY, hoff,
				 "refcount table entry %" PRIu64
				 " has reserved bits: %#" PRIx64, index, raw);
		w->rebuild = true;
	}
	if (!hoff)
		return false;
	if (!num_is_aligned(hoff, w->g.cluster_size)) {
		checkwalk_report(w, PROBLEM_REFTABLE_ENTRY, hoff,
				 "refcount block %" PRIu64 " at %#" PRIx64
				 " is not cluster aligned", index, hoff);
		return false;
	}
	if (index >= reach >> w->g.refblock_bits) {
		checkwalk_report(w, PROBLEM_REFTABLE_ENTRY, hoff,
				 "refcount block %" PRIu64 " counts clusters "
				 "that no offset can reach", index);
		return false;
	}
	if (!checkwalk_inside(w, hoff, w->g.cluster_size)) {
		checkwalk_report(w, PROBLEM_REFTABLE_RANGE, hoff,
				 "refcount block %" PRIu64 " at %#" PRIx64
				 " is outside the file", index, hoff);
		return false;
	}
	return true;
}

static int load_block(struct checkwalk *w, uint64_t raw, uint64_t index,
		      void *buf)
{
	uint64_t hoff = raw & QCOW2_REFTABLE_MASK;
	int ret;

	if (!raw)
		return 0;
	w->blocks[index] = CHECKWALK_BLOCK_LOST;
	if (!entry_valid(w, raw, index)) {
		w->rebuild = true;
		return checkwalk_outside(w, hoff, w->g.cluster_size);
	}
	ret = checkwalk_mark(w, hoff, w->g.cluster_size, CHECKROLE_REFBLOCK, 1);
	/* one of 64 KiB may stand in a table of a million entries */
	if (checkmap_refs(&w->map, hoff >> w->g.cluster_bits) > 1)
		w->rebuild = true;
	if (ret || checkmap_refs(&w->map, hoff >> w->g.cluster_bits) > 1)
		return ret;
	if (checkwalk_hole(w, hoff, w->g.cluster_size))
		memset(buf, 0, (size_t)w->g.cluster_size);
	else if (!checkwalk_read(w, buf, w->g.cluster_size, hoff))
		return 0;
	w->blocks[index] = CHECKWALK_BLOCK_READ;
	return load_counts(w, buf, index);
}

int checkref_load(struct checkwalk *w)
{
	uint64_t len = (uint64_t)w->h.reftable_clusters << w->g.cluster_bits;
	autofree uint8_t *table = mem_array(1, (size_t)len);
	autofree void *block = mem_aligned((size_t)w->g.cluster_size);
	int ret;

	w->blocks_n = len / 8;
	w->blocks = mem_array((size_t)w->blocks_n, 1);
	if (!table || !block || !w->blocks)
		return -ENOMEM;
	ret = checkwalk_mark(w, w->h.reftable_offset, len, CHECKROLE_REFTABLE,
			     1);
	if (ret || !checkwalk_read(w, table, len, w->h.reftable_offset))
		return ret;
	for (uint64_t i = 0; i < len / 8 && !ret; i++)
		ret = load_block(w, be64_load(table + i * 8), i, block);
	return ret;
}

static void compare_one(void *arg, uint64_t hidx, uint64_t refs,
			uint64_t stored)
{
	struct checkwalk *w = arg;
	uint64_t hoff = hidx << w->g.cluster_bits;

	/* counts of clusters that the file lacks do not move its end */
	if (refs || hoff < w->file_size)
		w->res->image_end_offset = hoff + w->g.cluster_size;
	if (refs > stored) {
		checkwalk_report(w, PROBLEM_REFCOUNT_LOW, hoff,
				 "cluster at %#" PRIx64 " has refcount %" PRIu64
				 " and %" PRIu64 " references", hoff, stored,
				 refs);
		if (!checkwalk_counted(w, hidx))
			w->rebuild = true;
	} else if (refs < stored)
		checkwalk_report(w, PROBLEM_REFCOUNT_HIGH, hoff,
				 "leaked cluster at %#" PRIx64 ": refcount %"
				 PRIu64 ", %" PRIu64 " references", hoff,
				 stored, refs);
}

void checkref_compare(struct checkwalk *w)
{
	checkmap_each(&w->map, compare_one, w);
}
