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

/* How many of the lowest bits of V are 0; all of them if V is. */
static unsigned low_zeroes(uint32_t v)
{
	return v ? (unsigned)__builtin_ctz(v) : QCOW2_SUBCLUSTERS;
}

enum l2entry_kind l2entry_sub_run(const struct l2entry *e, unsigned sub,
				  unsigned *n)
{
	uint32_t alloc = e->alloc >> sub;
	uint32_t zero = e->zero >> sub;
	enum l2entry_kind kind;

	if (alloc & 1) {
		kind = L2ENTRY_PLAIN;
		*n = low_zeroes(~alloc);
	} else if (zero & 1) {
		kind = e->place ? L2ENTRY_ZERO_ALLOC : L2ENTRY_ZERO_PLAIN;
		*n = low_zeroes(~zero);
	} else {
		kind = e->place ? L2ENTRY_RESERVED : L2ENTRY_UNALLOCATED;
		*n = low_zeroes(alloc | zero);
	}
	*n = NUM_MIN(*n, QCOW2_SUBCLUSTERS - sub);
	return kind;
}

static int decode_extended(struct l2entry_raw raw, struct l2entry *e)
{
	unsigned n;

	e->alloc = (uint32_t)raw.bitmap;
	e->zero = (uint32_t)(raw.bitmap >> 32);
	e->kind = l2entry_sub_run(e, 0, &n);
	if (raw.word & QCOW2_ENTRY_ZERO || e->alloc & e->zero)
		return -EUCLEAN;
	return e->alloc && !e->place ? -EUCLEAN : 0;
}

static int decode_standard(const struct geom *g, struct l2entry_raw raw,
			   struct l2entry *e)
{
	bool zero = raw.word & QCOW2_ENTRY_ZERO;

	if (e->place)
		e->kind = zero ? L2ENTRY_ZERO_ALLOC : L2ENTRY_PLAIN;
	else
		e->kind = zero ? L2ENTRY_ZERO_PLAIN : L2ENTRY_UNALLOCATED;
	return zero && g->version < 3 ? -EUCLEAN : 0;
}

/* A data file has a cluster 0: COPIED tells it from none, unless the entry is
 * zero. All that are there have "an implicit refcount of 1". */
static void find_place(const struct geom *g, struct l2entry_raw raw,
		       struct l2entry *e)
{
	e->place = e->hoff != 0;
	if (!g->data_file)
		return;
	if (e->copied && (g->extended || !(raw.word & QCOW2_ENTRY_ZERO)))
		e->place = true;
	e->copied = e->place;
}

int l2entry_decode(const struct geom *g, struct l2entry_raw raw,
		   struct l2entry *e)
{
	e->copied = raw.word & QCOW2_ENTRY_COPIED;
	e->clen = 0;
	e->place = false;
	e->alloc = e->zero = 0;
	if (raw.word & QCOW2_ENTRY_COMPRESSED)
		return raw.bitmap || g->data_file
			       ? -EUCLEAN
			       : decode_compressed(g, raw.word, e);
	e->hoff = raw.word & QCOW2_OFFSET_MASK;
	find_place(g, raw, e);
	if (raw.word & RESERVED_STANDARD ||
	    !num_is_aligned(e->hoff, g->cluster_size) ||
	    (e->copied && !e->place))
		return -EUCLEAN;
	return g->extended ? decode_extended(raw, e)
			   : decode_standard(g, raw, e);
}

static uint64_t encode_standard(const struct l2entry *e)
{
	uint64_t word = e->copied ? QCOW2_ENTRY_COPIED : 0;

	switch (e->kind) {
	case L2ENTRY_PLAIN:
		return word | e->hoff;
	case L2ENTRY_ZERO_ALLOC:
		return word | e->hoff | QCOW2_ENTRY_ZERO;
	case L2ENTRY_ZERO_PLAIN:
		return QCOW2_ENTRY_ZERO;
	case L2ENTRY_UNALLOCATED:
	case L2ENTRY_COMPRESSED:
	case L2ENTRY_RESERVED:
	default:
		return 0;
	}
}

struct l2entry_raw l2entry_encode(const struct geom *g,
				  const struct l2entry *e)
{
	if (!g->extended)
		return (struct l2entry_raw){ encode_standard(e), 0 };
	return (struct l2entry_raw){
		e->hoff | (e->copied ? QCOW2_ENTRY_COPIED : 0),
		(uint64_t)e->zero << 32 | e->alloc,
	};
}

int l2entry_encode_compressed(const struct geom *g, uint64_t hoff,
			      uint32_t len, uint64_t *word)
{
	unsigned shift = count_shift(g);
	uint64_t limit = NUM_MIN(1ULL << shift, QCOW2_HOST_OFFSET_MAX);
	uint64_t sectors;

	if (!len || len > g->cluster_size || hoff >= limit)
		return -ERANGE;
	sectors = ((hoff & (QCOW2_SECTOR - 1)) + len - 1) / QCOW2_SECTOR;
	*word = QCOW2_ENTRY_COMPRESSED | sectors << shift | hoff;
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
