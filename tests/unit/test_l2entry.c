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
		int r = l2entry_decode(&g, rows[i].raw, &e);

		ck_assert_msg(r == rows[i].want, "row %zu: %d", i, r);
		if (r)
			continue;
		ck_assert_int_eq(e.kind, rows[i].kind);
		ck_assert_uint_eq(e.hoff, rows[i].hoff);
		ck_assert_int_eq(e.copied, rows[i].raw >> 63);
		ck_assert_uint_eq(l2entry_encode(&e), rows[i].raw);
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

		ck_assert_msg(l2entry_decode(&g, raw, &e) == (reserved ? -EUCLEAN : 0),
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
				ck_assert_int_eq(l2entry_decode(&g, raw, &e), 0);
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
		ck_assert_int_eq(l2entry_decode(&g, COMPRESSED | COPIED | 0x10000, &e), -EUCLEAN);
		/* All sectors that the field can count. */
		ck_assert_int_eq(l2entry_decode(&g, COMPRESSED | ((1ULL << 62) - (1ULL << x)), &e), 0);
		ck_assert_uint_eq(e.clen, 2 * g.cluster_size);
		if (x > 56)
			ck_assert_int_eq(l2entry_decode(&g, COMPRESSED | 1ULL << 56, &e), -EUCLEAN);
	}
}
END_TEST

START_TEST(test_tables)
{
	uint64_t table[2] = { 0, 0 };
	struct geom g = geometry(3, 9);
	uint64_t hoff;
	bool copied;

	l2entry_store(table, 1, 0x8000000000050000);
	ck_assert_uint_eq(((uint8_t *)table)[8], 0x80);
	ck_assert_uint_eq(l2entry_load(table, 1), 0x8000000000050000);
	ck_assert_uint_eq(l2entry_load(table, 0), 0);
	ck_assert_int_eq(l2entry_decode_l1(&g, l2entry_encode_l1(0x200, true), &hoff, &copied), 0);
	ck_assert(copied && hoff == 0x200);
	ck_assert_int_eq(l2entry_decode_l1(&g, 0, &hoff, &copied), 0);
	ck_assert(!copied && hoff == 0);
}
END_TEST

SUITE_MAIN("l2entry", test_standard, test_reserved, test_compressed, test_tables)
