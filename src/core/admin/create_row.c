/* create_row: what a new image consists of, and where; see create_work.h. */
#include "core/admin/create_work.h"

#include <errno.h>
#include <inttypes.h>

#include "base/num.h"
#include "core/format/qcow2.h"

static int l1_too_big(const struct create_work *c)
{
	unsigned bits = c->g.cluster_bits;

	/* An L1 table of 32 MiB maps 2^22 L2 tables of a cluster each. */
	while (++bits <= QCOW2_CLUSTER_BITS_MAX) {
		if (num_div_ceil(c->g.size,
				 1ULL << (2 * bits - c->g.entry_bits)) <=
		    QCOW2_MAX_L1_BYTES / 8)
			return err_set(c->err, -EFBIG,
				"clusters of %" PRIu64 " bytes cannot map "
				"%" PRIu64 " bytes; use cluster_size=%u or more",
				c->g.cluster_size, c->g.size, 1U << bits);
	}
	return err_set(c->err, -EFBIG, "%" PRIu64 " bytes are more than qcow2 "
		       "can map with any cluster size; %s is the most",
		       c->g.size, c->g.extended ? "1 EiB with extended_l2=on" :
						  "2 EiB");
}

/* The refcount structures count themselves: grow them until they suffice. */
static void fix_refcounts(const struct geom *g, struct create_row *l,
			  uint64_t others)
{
	uint64_t before;

	l->n_reftable = 1;
	l->n_refblock = 1;
	do {
		before = l->n_reftable + l->n_refblock;
		l->total = others + before;
		l->n_refblock = num_div_ceil(l->total, g->refblock_entries);
		l->n_reftable = geom_clusters(g, l->n_refblock * 8);
	} while (l->n_reftable + l->n_refblock != before);
}

int create_row_plan(struct create_work *c)
{
	const struct geom *g = &c->g;
	struct create_row *l = &c->row;

	l->l1_entries = NUM_MAX(1, geom_l1_entries(g, g->size));
	if (l->l1_entries > QCOW2_MAX_L1_BYTES / 8)
		return l1_too_big(c);
	l->n_l1 = geom_clusters(g, l->l1_entries * 8);
	if (c->opts->prealloc != CREATE_PREALLOC_OFF) {
		l->n_data = geom_clusters(g, g->size);
		l->n_l2 = num_div_ceil(l->n_data, g->l2_entries);
	}
	l->n_luks = geom_clusters(g, c->luks.len);
	fix_refcounts(g, l, 1 + l->n_l1 + l->n_luks + l->n_l2 +
				    (c->opts->data_file ? 0 : l->n_data));
	l->reftable = 1;
	l->refblock = l->reftable + l->n_reftable;
	l->l1 = l->refblock + l->n_refblock;
	l->luks = l->l1 + l->n_l1;
	l->l2 = l->luks + l->n_luks;
	l->data = c->opts->data_file ? 0 : l->l2 + l->n_l2;
	if (l->n_reftable > QCOW2_MAX_REFTABLE_BYTES >> g->cluster_bits ||
	    l->total >= QCOW2_HOST_OFFSET_MAX >> g->cluster_bits)
		return err_set(c->err, -EFBIG, "that much preallocation does "
			       "not fit the refcount table; use a larger "
			       "cluster_size, fewer refcount_bits or "
			       "preallocation=off");
	return 0;
}
