/* checker_tree: L1 and L2 tables, and the snapshots that have them. */
#include <inttypes.h>

#include "checker_priv.h"

/* One cluster, that several trees may share. */
static int claim_shared(struct checker *c, enum checker_role role,
			uint64_t idx, uint16_t tree)
{
	uint64_t off = idx << c->h.cluster_bits;

	if (c->role[idx] && c->role[idx] != role)
		return checker_fault(c, "%#" PRIx64 " used as role %u and %u",
				     off, c->role[idx], role);
	if (role != CHECKER_COMPRESSED && c->stamp[idx] == tree)
		return checker_fault(c,
			     "%#" PRIx64 " (role %u) used twice in tree %u",
			     off, role, tree - 1U);
	c->role[idx] = (uint8_t)role;
	c->stamp[idx] = tree;
	c->refs[idx]++;
	return 0;
}

static void note_copied(struct checker *c, uint64_t idx)
{
	if (c->n_copied == c->copied_cap) {
		c->copied_cap = c->copied_cap ? c->copied_cap * 2 : 256;
		c->copied = grow(c->copied, c->copied_cap * 8);
	}
	c->copied[c->n_copied++] = idx;
}

static int walk_stream(struct checker *c, uint64_t raw, uint16_t tree,
		       uint64_t file)
{
	struct checker_ref ref;
	uint64_t i, last;

	checker_decode(&c->h, raw, &ref);
	last = (ref.hoff + ref.len - 1) >> c->h.cluster_bits;
	if (ref.hoff >= file || last >= c->n)
		return checker_fault(c, "compressed data at %#" PRIx64
					" beyond the end", ref.hoff);
	if (raw & COPIED)
		return checker_fault(c, "COPIED on compressed %#" PRIx64,
				     ref.hoff);
	for (i = ref.hoff >> c->h.cluster_bits; i <= last; i++)
		if (claim_shared(c, CHECKER_COMPRESSED, i, tree))
			return -1;
	return 0;
}

/* A cluster of the external data file: the guest's own place, no count. */
static int walk_data_file(struct checker *c, uint64_t raw, uint64_t gidx)
{
	uint64_t off = raw & ENTRY_OFF;

	if (raw & STREAM || raw & ~(ENTRY_OFF | COPIED | 1))
		return checker_fault(c,
			     "L2 entry %#" PRIx64 " with a data file", raw);
	if (!off && (!(raw & COPIED) || raw & 1))
		return 0;
	if (off != gidx << c->h.cluster_bits || !(raw & COPIED))
		return checker_fault(c, "guest cluster %" PRIu64
				" at %#" PRIx64 " of the data file", gidx, raw);
	return 0;
}

static int walk_entry(struct checker *c, uint64_t raw, uint64_t gidx,
		      uint16_t tree, uint64_t file)
{
	uint64_t off = raw & ENTRY_OFF;
	uint64_t allowed = ENTRY_OFF | COPIED;

	if (c->h.version >= 3 && units(c) == 1)
		allowed |= 1;
	if (c->h.data_file)
		return walk_data_file(c, raw, gidx);
	if (raw & STREAM)
		return walk_stream(c, raw, tree, file);
	if (raw & ~allowed)
		return checker_fault(c, "L2 entry %#" PRIx64 ": reserved bits",
				     raw);
	if (!off)
		return (raw & COPIED) ? checker_fault(c,
					      "COPIED on an empty entry") : 0;
	if (off & (csize(c) - 1))
		return checker_fault(c, "data at %#" PRIx64 " not aligned",
				     off);
	if (off >> c->h.cluster_bits >= c->n)
		return checker_fault(c,
			     "data at %#" PRIx64 " beyond the end %#" PRIx64,
			     off, file);
	if (tree == 1) {
		if (raw & COPIED)
			note_copied(c, off >> c->h.cluster_bits);
		else
			c->benign++;
	}
	return claim_shared(c, CHECKER_DATA, off >> c->h.cluster_bits, tree);
}

/* Bit X of the lower half: subcluster X has data; of the upper: it is zero. */
static int check_bits(struct checker *c, uint64_t raw, uint64_t bits)
{
	if (raw & STREAM)
		return checker_fault(c,
			     "bitmap %#" PRIx64 " on compressed data", bits);
	for (unsigned x = 0; x < 32; x++) {
		bool data = bits >> x & 1, zero = bits >> (32 + x) & 1;

		if (data && (zero || !(raw & ENTRY_OFF)))
			return checker_fault(c,
				     "entry %#" PRIx64 ": bitmap %#" PRIx64,
				     raw, bits);
	}
	return 0;
}

static void map_subclusters(const struct checker *c, uint64_t *map,
			    uint64_t gidx, uint64_t raw, uint64_t bits)
{
	for (unsigned x = 0; x < 32 && gidx * 32 + x < c->map_n; x++) {
		uint64_t *unit = &map[gidx * 32 + x];

		if (raw & STREAM)
			*unit = x ? STREAM_PART : raw;
		else if (bits >> x & 1)
			*unit = (raw & ENTRY_OFF) +
				((uint64_t)x << c->h.unit_bits);
		else
			*unit = bits >> (32 + x) & 1;
	}
}

static int walk_l2(struct checker *c, const uint8_t *img, uint64_t off,
		   uint64_t gidx, uint16_t tree, uint64_t file)
{
	uint64_t n = csize(c) / c->h.entry_size;
	const uint8_t *e = img + off;
	uint64_t *map = c->map[tree - 1];

	if (claim_shared(c, CHECKER_L2, off >> c->h.cluster_bits, tree))
		return -1;
	if (c->table)
		c->table(c->table_arg, CHECKER_L2, off, csize(c));
	for (uint64_t i = 0; i < n; i++, e += c->h.entry_size) {
		uint64_t raw = rd64(e);
		uint64_t bits = units(c) > 1 ? rd64(e + 8) : 0;

		if (units(c) > 1)
			map_subclusters(c, map, gidx + i, raw, bits);
		else if (gidx + i < c->map_n)
			map[gidx + i] = raw &
					(c->h.data_file ? ~0ULL : ~COPIED);
		if (bits && check_bits(c, raw, bits))
			return -1;
		if (raw && walk_entry(c, raw, gidx + i, tree, file))
			return -1;
	}
	return 0;
}

static int walk_l1_entry(struct checker *c, const uint8_t *img, uint64_t raw,
			 uint64_t gidx, uint16_t tree, uint64_t file)
{
	uint64_t off = raw & ENTRY_OFF;

	if (raw & ~(ENTRY_OFF | COPIED))
		return checker_fault(c, "L1 entry %#" PRIx64 ": reserved bits",
				     raw);
	if (!off)
		return raw ? checker_fault(c,
					   "COPIED on an empty L1 entry") : 0;
	if (off & (csize(c) - 1))
		return checker_fault(c, "L2 table at %#" PRIx64 " not aligned",
				     off);
	if (off > file || csize(c) > file - off)
		return checker_fault(c,
			     "L2 table at %#" PRIx64 " beyond the end", off);
	if (tree == 1) {
		if (raw & COPIED)
			note_copied(c, off >> c->h.cluster_bits);
		else
			c->benign++;
	}
	return walk_l2(c, img, off, gidx, tree, file);
}

int checker_tree(struct checker *c, const uint8_t *img, uint64_t l1_off,
		 uint32_t entries, uint16_t tree, uint64_t file)
{
	uint64_t span = csize(c) / c->h.entry_size;
	uint64_t *map = c->map[tree - 1];

	if (checker_claim(c, tree == 1 ? CHECKER_L1 : CHECKER_SNAP_L1, l1_off,
			  8ULL * entries, file, "L1 table"))
		return -1;
	if (tree == 1 && entries * span << c->h.cluster_bits < c->h.size)
		return checker_fault(c, "L1 table too short");
	memset(map, 0, c->map_n * 8);
	for (uint32_t i = 0; i < entries; i++) {
		uint64_t raw = rd64(img + l1_off + 8ULL * i);

		if (raw && walk_l1_entry(c, img, raw, i * span, tree, file))
			return -1;
	}
	return 0;
}

/* The id of a snapshot's record of LEN bytes, as a number. */
static uint32_t record_id(const uint8_t *p, uint64_t len, uint64_t room)
{
	uint64_t at = 40ULL + rd32(p + 36);
	uint32_t id = 0;

	for (unsigned i = 0; i < (unsigned)(p[12] << 8 | p[13]); i++)
		if (len <= room && p[at + i] >= '0' && p[at + i] <= '9')
			id = id * 10 + p[at + i] - '0';
	return id;
}

int checker_tree_snapshots(struct checker *c, const uint8_t *img,
			   uint64_t file)
{
	uint64_t pos = c->h.snap_off, start = pos;

	c->trees = 1;
	c->tree_size[0] = c->h.size;
	if (!c->h.snapshots)
		return 0;
	if (c->h.snapshots >= CHECKER_TREES)
		return checker_fault(c,
			     "%u snapshots: more than this checker walks",
			     c->h.snapshots);
	for (uint32_t i = 0; i < c->h.snapshots; i++) {
		const uint8_t *p = img + pos;
		uint64_t len;

		if (pos > file || file - pos < 40)
			return checker_fault(c,
					     "snapshot table beyond the end");
		len = 40ULL + rd32(p + 36) + (p[12] << 8 | p[13]) +
		      (p[14] << 8 | p[15]);
		if (checker_tree(c, img, rd64(p), rd32(p + 8),
				 (uint16_t)(i + 2), file))
			return -1;
		c->tree_id[i + 1] = record_id(p, len, file - pos);
		c->tree_size[i + 1] = rd32(p + 36) >= 16 && file - pos >= 56 ?
					      rd64(p + 48) :
					      c->h.size;
		c->trees++;
		pos += (len + 7) & ~7ULL;
	}
	return checker_claim(c, CHECKER_SNAPTABLE, start, pos - start, file,
			     "snapshot table");
}
