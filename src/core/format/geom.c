#include "core/format/geom.h"

#include <string.h>

#include "base/num.h"
#include "core/format/qcow2.h"

#define SLICE_BITS_MAX 12U

static void set_entry_bits(struct geom *g, unsigned bits)
{
	g->entry_bits = bits;
	g->l2_bits = g->cluster_bits - bits;
	g->l2_entries = 1ULL << g->l2_bits;
}

void geom_init(struct geom *g, unsigned version, unsigned cluster_bits,
	       unsigned refcount_order, uint8_t compression, uint64_t size)
{
	memset(g, 0, sizeof(*g));
	g->size = num_round_down(size, QCOW2_SECTOR);
	g->version = version;
	g->cluster_bits = cluster_bits;
	g->cluster_size = 1ULL << cluster_bits;
	g->sub_bits = cluster_bits;
	g->sub_size = g->cluster_size;
	set_entry_bits(g, 3);
	g->refcount_order = refcount_order;
	g->refcount_bits = 1U << refcount_order;
	g->refcount_max = UINT64_MAX >> (64 - g->refcount_bits);
	g->refblock_bits = cluster_bits + 3 - refcount_order;
	g->refblock_entries = 1ULL << g->refblock_bits;
	g->slice_bits = NUM_MIN(SLICE_BITS_MAX, cluster_bits);
	g->slice_size = 1ULL << g->slice_bits;
	g->compression = compression;
}

void geom_extend(struct geom *g)
{
	g->extended = true;
	g->sub_bits = g->cluster_bits - QCOW2_SUBCLUSTER_SHIFT;
	g->sub_size = 1ULL << g->sub_bits;
	set_entry_bits(g, 4);
}

uint64_t geom_l1_entries(const struct geom *g, uint64_t size)
{
	unsigned shift = g->cluster_bits + g->l2_bits;

	return (size >> shift) + ((size & ((1ULL << shift) - 1)) != 0);
}
