/* checker_count: refcounts against the references that were found. */
#include <inttypes.h>

#include "checker_priv.h"

int checker_count_walk(struct checker *c, const uint8_t *img, uint64_t file)
{
	uint64_t len = (uint64_t)c->h.reftable_clusters << c->h.cluster_bits;

	if (checker_claim(c, CHECKER_REFTABLE, c->h.reftable_off, len, file,
			  "refcount table"))
		return -1;
	for (uint64_t i = 0; i < len / 8; i++) {
		uint64_t off = rd64(img + c->h.reftable_off + 8 * i);

		if (off & 511)
			return checker_fault(c,
				     "refcount table entry %#" PRIx64, off);
		if (off && checker_claim(c, CHECKER_REFBLOCK, off, csize(c),
					 file,
					 "refcount block"))
			return -1;
	}
	return 0;
}

static uint64_t count_at(const uint8_t *block, unsigned order, uint64_t i)
{
	unsigned bits = 1U << order;
	uint64_t v = 0;

	if (bits < 8) {
		unsigned per = 8 / bits;

		return (block[i / per] >> (i % per * bits)) &
		       ((1U << bits) - 1);
	}
	for (unsigned b = 0; b < bits / 8; b++)
		v = v << 8 | block[i * (bits / 8) + b];
	return v;
}

static int compare_block(struct checker *c, const uint8_t *block,
			 uint64_t first)
{
	uint64_t n = csize(c) * 8 >> c->h.refcount_order;
	uint64_t words = csize(c) / 8, per = n / words;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t have, want = first + i < c->n ? c->refs[first + i] : 0;

		if (per && first + i >= c->n && i % per == 0 &&
		    !rd64(block + i / per * 8)) {
			i += per - 1;
			continue;
		}
		have = count_at(block, c->h.refcount_order, i);
		if (have < want)
			return checker_fault(c,
				     "cluster %#" PRIx64 " (role %u): "
				     "refcount %" PRIu64 ", references %"
				     PRIu64,
				     (first + i) << c->h.cluster_bits,
				     c->role[first + i], have, want);
		c->leaks += have > want;
	}
	return 0;
}

static int check_copied(struct checker *c)
{
	for (size_t i = 0; i < c->n_copied; i++)
		if (c->refs[c->copied[i]] > 1)
			return checker_fault(c,
				     "%#" PRIx64 ": COPIED with %u references",
				     c->copied[i] << c->h.cluster_bits,
				     c->refs[c->copied[i]]);
	return 0;
}

int checker_count_compare(struct checker *c, const uint8_t *img)
{
	uint64_t span = csize(c) * 8 >> c->h.refcount_order;
	uint64_t n = ((uint64_t)c->h.reftable_clusters << c->h.cluster_bits) / 8;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t off = rd64(img + c->h.reftable_off + 8 * i);

		if (off) {
			if (compare_block(c, img + off, i * span))
				return -1;
			continue;
		}
		for (uint64_t k = i * span; k < (i + 1) * span && k < c->n; k++)
			if (c->refs[k])
				return checker_fault(c,
					     "cluster %#" PRIx64 " (role %u)"
					     ": no refcount block",
					     k << c->h.cluster_bits,
					     c->role[k]);
	}
	for (uint64_t k = n * span; k < c->n; k++)
		if (c->refs[k])
			return checker_fault(c, "cluster %#" PRIx64
						": beyond the refcount table",
					     k << c->h.cluster_bits);
	return check_copied(c);
}
