#include "core/format/l2entry.h"

#include "base/num.h"

#define RESERVED_STANDARD 0x3f000000000001feULL /* bits 1-8 and 56-61 */
#define RESERVED_L1 0x7f000000000001ffULL	/* bits 0-8 and 56-62 */
#define DESCRIPTOR_BITS 62U

/* Where the sector count of a compressed cluster's descriptor starts. */
static unsigned count_shift(const struct geom *g)
{
	return DESCRIPTOR_BITS - (g->cluster_bits - 8);
}

static int decode_compressed(const struct geom *g, uint64_t raw,
			     struct l2entry *e)
{
	unsigned shift = count_shift(g);
	uint64_t sectors = raw << 2 >> 2 >> shift;

	e->kind = L2ENTRY_COMPRESSED;
	e->hoff = raw & ((1ULL << shift) - 1);
	if (e->copied || e->hoff >= QCOW2_HOST_OFFSET_MAX)
		return -EUCLEAN;
	e->clen = (uint32_t)((sectors + 1) * QCOW2_SECTOR -
			     (e->hoff & (QCOW2_SECTOR - 1)));
	return 0;
}

int l2entry_decode(const struct geom *g, uint64_t raw, struct l2entry *e)
{
	bool zero = raw & QCOW2_ENTRY_ZERO;

	e->copied = raw & QCOW2_ENTRY_COPIED;
	e->clen = 0;
	if (raw & QCOW2_ENTRY_COMPRESSED)
		return decode_compressed(g, raw, e);
	e->hoff = raw & QCOW2_OFFSET_MASK;
	if (e->hoff)
		e->kind = zero ? L2ENTRY_ZERO_ALLOC : L2ENTRY_PLAIN;
	else
		e->kind = zero ? L2ENTRY_ZERO_PLAIN : L2ENTRY_UNALLOCATED;
	if (raw & RESERVED_STANDARD || !num_is_aligned(e->hoff, g->cluster_size))
		return -EUCLEAN;
	if ((zero && g->version < 3) || (e->copied && !e->hoff))
		return -EUCLEAN;
	return 0;
}

uint64_t l2entry_encode(const struct l2entry *e)
{
	uint64_t raw = e->copied ? QCOW2_ENTRY_COPIED : 0;

	switch (e->kind) {
	case L2ENTRY_PLAIN:
		return raw | e->hoff;
	case L2ENTRY_ZERO_ALLOC:
		return raw | e->hoff | QCOW2_ENTRY_ZERO;
	case L2ENTRY_ZERO_PLAIN:
		return QCOW2_ENTRY_ZERO;
	case L2ENTRY_UNALLOCATED:
	case L2ENTRY_COMPRESSED:
	default:
		return 0;
	}
}

int l2entry_encode_compressed(const struct geom *g, uint64_t hoff,
			      uint32_t len, uint64_t *raw)
{
	unsigned shift = count_shift(g);
	uint64_t limit = NUM_MIN(1ULL << shift, QCOW2_HOST_OFFSET_MAX);
	uint64_t sectors;

	if (!len || len > g->cluster_size || hoff >= limit)
		return -ERANGE;
	sectors = ((hoff & (QCOW2_SECTOR - 1)) + len - 1) / QCOW2_SECTOR;
	*raw = QCOW2_ENTRY_COMPRESSED | sectors << shift | hoff;
	return 0;
}

int l2entry_decode_l1(const struct geom *g, uint64_t raw, uint64_t *l2_hoff,
		      bool *copied)
{
	*l2_hoff = raw & QCOW2_OFFSET_MASK;
	*copied = raw & QCOW2_ENTRY_COPIED;
	if (raw & RESERVED_L1 || !num_is_aligned(*l2_hoff, g->cluster_size))
		return -EUCLEAN;
	return 0;
}
