/* rolescan_open: all metadata is claimed when an image is opened to write; see
 * rolescan.h. */
#include "core/meta/rolescan.h"

#include <errno.h>
#include <inttypes.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/num.h"
#include "core/format/l2entry.h"
#include "core/meta/meta.h"

/* L1 tables are read in pieces. */
#define PIECE 8192U

/* The table of L1 entry RAW. What cannot be decoded is refused when it is
 * met. */
static int claim_table(struct meta *m, uint64_t raw, bool snapshot,
		       struct err *err)
{
	const struct geom *g = m->geom;
	uint64_t hoff;
	bool copied;

	if (!raw || l2entry_decode_l1(g, raw, &hoff, &copied) < 0 || !hoff)
		return 0;
	if (hoff >> g->cluster_bits >= atomic_load(&m->end_hidx))
		return err_set(err, -EUCLEAN,
			       "an L2 table at host offset %#" PRIx64
			       " lies outside the file; it can be mounted with "
			       "-o ro; run 'rawcow check' on it",
			       hoff);
	return rolescan_claim(m, hoff, g->cluster_size,
			      copied && !snapshot ? ROLE_L2_UNSEEN
						  : ROLE_L2_SHARED_UNSEEN,
			      err);
}

int rolescan_claim_snapshot(struct meta *m, uint64_t hoff, uint32_t n,
			    struct err *err)
{
	autofree uint64_t *e = mem_array(PIECE, sizeof(*e));
	int r = e ? rolescan_claim(m, hoff, (uint64_t)n * 8, ROLE_SNAP_L1, err)
		  : err_set_sys(err, -ENOMEM, "cannot open");

	for (uint32_t done = 0; r == 0 && done < n; done += PIECE) {
		uint32_t k = NUM_MIN(n - done, PIECE);

		if (hostfile_is_hole(m->file, hoff + done * 8ULL,
				     k * sizeof(*e)))
			continue;
		r = hostfile_pread_full(m->file, e, k * sizeof(*e),
					hoff + done * 8ULL);
		if (r < 0)
			return err_set_sys(
				err, r,
				"cannot read the L1 table of a snapshot");
		for (uint32_t i = 0; r == 0 && i < k; i++)
			r = claim_table(m, be64_load(&e[i]), true, err);
	}
	return r;
}

static int claim_roots(struct meta *m, struct err *err)
{
	const struct geom *g = m->geom;
	int r = rolescan_claim(m, 0, 1, ROLE_HEADER, err);

	if (r == 0)
		r = rolescan_claim(m, m->refcount.hoff,
				   m->refcount.clusters << g->cluster_bits,
				   ROLE_REFTABLE, err);
	if (r == 0)
		r = rolescan_claim(m, m->l1.hoff, m->l1.n * 8ULL, ROLE_L1, err);
	return r;
}

static int claim_blocks(struct meta *m, struct err *err)
{
	const struct geom *g = m->geom;
	int r = 0;

	for (uint64_t i = 0; r == 0 && i < m->refcount.n; i++) {
		uint64_t hoff = m->refcount.table[i];

		if (hoff && num_is_aligned(hoff, g->cluster_size) &&
		    hoff >> g->cluster_bits < atomic_load(&m->end_hidx))
			r = rolescan_claim(m, hoff, 1, ROLE_REFBLOCK, err);
	}
	return r;
}

int rolescan_open(struct meta *m, struct err *err)
{
	struct rolescan *rs = &m->roles;
	struct host_stat st;
	int r = hostfile_stat(m->file, &st);

	if (r < 0)
		return err_set_sys(err, r, "cannot stat");
	/* an entry has eight bytes in the file, and half a byte here */
	r = rolemap_init(&rs->map, (32ULL << 20) + st.blocks * 512 / 16);
	if (r == 0)
		r = rolemap_init(&rs->lowered, UINT64_MAX);
	if (r < 0)
		return err_set_sys(err, r, "cannot open");
	rs->floor = st.block_device ? 0 : atomic_load(&m->end_hidx) + 1;
	r = claim_roots(m, err);
	if (r == 0)
		r = claim_blocks(m, err);
	for (uint32_t i = 0; r == 0 && i < m->l1.n; i++)
		r = claim_table(m, l1table_get(&m->l1, i), false, err);
	return r;
}
