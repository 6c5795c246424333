/* l2entry: every kind of entry, every reserved bit, every cluster size. */
#include <string.h>

#include "core/format/l2entry.h"
#include "suite.h"

#define COPIED QCOW2_ENTRY_COPIED
#define COMPRESSED QCOW2_ENTRY_COMPRESSED

static struct geom geometry(unsigned version, unsigned cluster_bits)
{
	struct geom g;

	geom_init(&g, version, cluster_bits, 4, 0, 1 << 20);
	return g;
}

static int decode(const struct geom *g, uint64_t word, struct l2entry *e)
{
	return l2entry_decode(g, (struct l2entry_raw){ word, 0 }, e);
}

START_TEST(test_standard)
{
	static const struct {
		unsigned version;
		uint64_t raw;
		int want;
		enum l2entry_kind kind;
		uint64_t hoff;
	} rows[] = {
		{ 3, 0, 0, L2ENTRY_UNALLOCATED, 0 },
		{ 2, 0, 0, L2ENTRY_UNALLOCATED, 0 },
		{ 3, 0x50000, 0, L2ENTRY_PLAIN, 0x50000 },
		{ 3, COPIED | 0x50000, 0, L2ENTRY_PLAIN, 0x50000 },
		{ 2, COPIED | 0x50000, 0, L2ENTRY_PLAIN, 0x50000 },
		{ 3, COPIED | 0xffffffffff0000, 0, L2ENTRY_PLAIN, 0xffffffffff0000 },
		{ 3, 1, 0, L2ENTRY_ZERO_PLAIN, 0 },
		{ 3, 0x50001, 0, L2ENTRY_ZERO_ALLOC, 0x50000 },
		{ 3, COPIED | 0x50001, 0, L2ENTRY_ZERO_ALLOC, 0x50000 },
		{ 2, 1, -EUCLEAN, 0, 0 },
		{ 2, 0x50001, -EUCLEAN, 0, 0 },
		{ 3, COPIED, -EUCLEAN, 0, 0 },
		{ 3, COPIED | 1, -EUCLEAN, 0, 0 },
		{ 3, 0x50200, -EUCLEAN, 0, 0 },
		{ 3, 0x58000, -EUCLEAN, 0, 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct geom g = geometry(rows[i].version, 16);
		struct l2entry e;
		int r = decode(&g, rows[i].raw, &e);

		ck_assert_msg(r == rows[i].want, "row %zu: %d", i, r);
		if (r)
			continue;
		ck_assert_int_eq(e.kind, rows[i].kind);
		ck_assert_uint_eq(e.hoff, rows[i].hoff);
		ck_assert_int_eq(e.copied, rows[i].raw >> 63);
		ck_assert_uint_eq(l2entry_encode(&g, &e).word, rows[i].raw);
	}
}
END_TEST

START_TEST(test_reserved)
{
	struct geom g = geometry(3, 16);

	for (unsigned bit = 0; bit < 62; bit++) {
		bool reserved = (bit >= 1 && bit <= 15) || bit >= 56;
		uint64_t raw = COPIED | 0x10000 | 1ULL << bit;
		struct l2entry e;

		ck_assert_msg(decode(&g, raw, &e) == (reserved ? -EUCLEAN : 0),
			      "bit %u", bit);
	}
	for (unsigned bit = 0; bit < 64; bit++) {
		bool reserved = bit <= 15 || (bit >= 56 && bit <= 62);
		uint64_t hoff;
		bool copied;

		ck_assert_msg(l2entry_decode_l1(&g, 1ULL << bit, &hoff, &copied) ==
				      (reserved ? -EUCLEAN : 0), "L1 bit %u", bit);
	}
}
END_TEST

START_TEST(test_compressed)
{
	for (unsigned bits = 9; bits <= 21; bits++) {
		struct geom g = geometry(bits & 1 ? 3 : 2, bits);
		unsigned x = 62 - (bits - 8);
		uint64_t limit = 1ULL << (x < 56 ? x : 56);
		const uint64_t offs[] = { 0, 1, 511, 512, 0x12345, limit - 1, limit - 512 };
		const uint32_t cs = (uint32_t)g.cluster_size;
		const uint32_t lens[] = { 1, 2, 511, 512, cs - 1, cs };
		uint64_t raw;
		struct l2entry e;

		for (size_t i = 0; i < 7; i++) {
			for (size_t j = 0; j < 6; j++) {
				uint64_t end = offs[i] + lens[j];

				ck_assert_int_eq(l2entry_encode_compressed(&g, offs[i], lens[j], &raw), 0);
				ck_assert_int_eq(decode(&g, raw, &e), 0);
				ck_assert_int_eq(e.kind, L2ENTRY_COMPRESSED);
				ck_assert(!e.copied);
				ck_assert_uint_eq(e.hoff, offs[i]);
				ck_assert_uint_eq(e.hoff + e.clen, (end + 511) & ~511ULL);
				ck_assert_uint_eq(raw >> 62, 1);
			}
		}
		ck_assert_int_eq(l2entry_encode_compressed(&g, limit, 1, &raw), -ERANGE);
		ck_assert_int_eq(l2entry_encode_compressed(&g, 0, 0, &raw), -ERANGE);
		ck_assert_int_eq(l2entry_encode_compressed(&g, 0, cs + 1, &raw), -ERANGE);
		ck_assert_int_eq(decode(&g, COMPRESSED | COPIED | 0x10000, &e), -EUCLEAN);
		/* All sectors that the field can count. */
		ck_assert_int_eq(decode(&g, COMPRESSED | ((1ULL << 62) - (1ULL << x)), &e), 0);
		ck_assert_uint_eq(e.clen, 2 * g.cluster_size);
		if (x > 56)
			ck_assert_int_eq(decode(&g, COMPRESSED | 1ULL << 56, &e), -EUCLEAN);
	}
}
END_TEST

START_TEST(test_tables)
{
	uint64_t table[4] = { 0 };
	struct geom g = geometry(3, 9);
	uint64_t hoff;
	bool copied;
	struct l2entry_raw raw = { 0x8000000000050000, 0 };

	l2entry_store(&g, table, 1, raw);
	ck_assert_uint_eq(((uint8_t *)table)[8], 0x80);
	ck_assert_uint_eq(l2entry_load(&g, table, 1).word, 0x8000000000050000);
	ck_assert_uint_eq(l2entry_load(&g, table, 1).bitmap, 0);
	ck_assert_uint_eq(l2entry_load(&g, table, 0).word, 0);
	ck_assert_int_eq(l2entry_decode_l1(&g, l2entry_encode_l1(0x200, true), &hoff, &copied), 0);
	ck_assert(copied && hoff == 0x200);
	ck_assert_int_eq(l2entry_decode_l1(&g, 0, &hoff, &copied), 0);
	ck_assert(!copied && hoff == 0);
}
END_TEST

static struct geom extended(unsigned cluster_bits)
{
	struct geom g = geometry(3, cluster_bits);

	geom_extend(&g);
	return g;
}

START_TEST(test_geometry)
{
	for (unsigned bits = 14; bits <= 21; bits++) {
		struct geom s = geometry(3, bits);
		struct geom g = extended(bits);

		ck_assert_uint_eq(s.sub_size, s.cluster_size);
		ck_assert_uint_eq(g.sub_size * 32, g.cluster_size);
		ck_assert_uint_eq(g.l2_entries * 16, g.cluster_size);
		ck_assert_uint_eq(geom_l2_span(&g) * 2, geom_l2_span(&s));
		ck_assert_uint_eq(geom_slice_entries(&g), 256);
		ck_assert_uint_eq(geom_slice_entries(&s), 512);
	}
}
END_TEST

/* Which words go with which bitmaps. */
START_TEST(test_extended)
{
	static const struct {
		uint64_t word, bitmap;
		int want;
		enum l2entry_kind first;
	} rows[] = {
		{ 0, 0, 0, L2ENTRY_UNALLOCATED },
		{ 0, 1ULL << 32, 0, L2ENTRY_ZERO_PLAIN },
		{ 0, 0xffffffffULL << 32, 0, L2ENTRY_ZERO_PLAIN },
		{ 0, 2ULL << 32, 0, L2ENTRY_UNALLOCATED },
		{ 0, 1, -EUCLEAN, 0 },
		{ 0, 1ULL << 31, -EUCLEAN, 0 },
		{ 1, 0, -EUCLEAN, 0 },
		{ COPIED, 0, -EUCLEAN, 0 },
		{ 0x50000, 0, 0, L2ENTRY_RESERVED },
		{ COPIED | 0x50000, 0, 0, L2ENTRY_RESERVED },
		{ COPIED | 0x50000, 1, 0, L2ENTRY_PLAIN },
		{ 0x50000, 0xffffffff, 0, L2ENTRY_PLAIN },
		{ COPIED | 0x50000, 0xfffffffe00000001, 0, L2ENTRY_PLAIN },
		{ COPIED | 0x50000, 1ULL << 32, 0, L2ENTRY_ZERO_ALLOC },
		{ COPIED | 0x50000, 0x1ffffffff, -EUCLEAN, 0 },
		{ COPIED | 0x50000, 0x8000000080000000, -EUCLEAN, 0 },
		{ COPIED | 0x50001, 1, -EUCLEAN, 0 },
		{ COPIED | 0x50002, 1, -EUCLEAN, 0 },
		{ COPIED | 0x50200, 1, -EUCLEAN, 0 },
		{ COPIED | 0x50000 | 1ULL << 56, 1, -EUCLEAN, 0 },
		{ COMPRESSED | 0x51234, 0, 0, L2ENTRY_COMPRESSED },
		{ COMPRESSED | 0x51234, 1, -EUCLEAN, 0 },
		{ COMPRESSED | 0x51234, 1ULL << 63, -EUCLEAN, 0 },
	};
	struct geom g = extended(16);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct l2entry_raw raw = { rows[i].word, rows[i].bitmap };
		struct l2entry_raw again;
		struct l2entry e;
		uint64_t hidx;
		int r = l2entry_decode(&g, raw, &e);

		ck_assert_msg(r == rows[i].want, "row %zu: %d", i, r);
		if (r)
			continue;
		ck_assert_int_eq(e.kind, rows[i].first);
		ck_assert_uint_eq(l2entry_clusters(&g, &e, &hidx),
				  (raw.word & ~COPIED) != 0);
		if (e.kind == L2ENTRY_COMPRESSED)
			continue;
		again = l2entry_encode(&g, &e);
		ck_assert_uint_eq(again.word, raw.word);
		ck_assert_uint_eq(again.bitmap, raw.bitmap);
	}
}
END_TEST

/* What one subcluster is, the slow way. */
static enum l2entry_kind sub_kind(uint64_t word, uint64_t bitmap, unsigned i)
{
	if (bitmap >> i & 1)
		return L2ENTRY_PLAIN;
	if (bitmap >> 32 >> i & 1)
		return word ? L2ENTRY_ZERO_ALLOC : L2ENTRY_ZERO_PLAIN;
	return word ? L2ENTRY_RESERVED : L2ENTRY_UNALLOCATED;
}

START_TEST(test_runs)
{
	static const uint64_t maps[] = {
		0, 0xffffffff, 0xffffffff00000000, 0xaaaaaaaa55555555,
		0x8000000000000001, 0x00ff00000000ff00, 0x7fffffff80000000,
	};

	for (unsigned n = 0; n < 2 * sizeof(maps) / 8; n++) {
		struct geom g = extended(14 + n % 8);
		uint64_t map = maps[n / 2];
		uint64_t word = n % 2 || (uint32_t)map ? g.cluster_size : 0;
		struct l2entry e;

		ck_assert_int_eq(l2entry_decode(&g, (struct l2entry_raw){ word, map },
						&e), 0);
		for (uint64_t at = 0, len; at < g.cluster_size; at += 1 + len / 2) {
			enum l2entry_kind kind = l2entry_run(&g, &e, at, &len);
			unsigned i = (unsigned)(at / g.sub_size);
			uint64_t end = at + len;

			ck_assert_uint_gt(len, 0);
			ck_assert_uint_eq(end % g.sub_size, 0);
			for (; i < end / g.sub_size; i++)
				ck_assert_int_eq(sub_kind(word, map, i), kind);
			ck_assert(i == 32 || sub_kind(word, map, i) != kind);
		}
	}
}
END_TEST

SUITE_MAIN("l2entry", test_standard, test_reserved, test_compressed,
	   test_tables, test_geometry, test_extended, test_runs)
