/* bitmapdir: extension, directory and table as the specification has them, and
 * every limit. */
#include <errno.h>
#include <string.h>

#include "base/be.h"
#include "core/format/bitmapdir.h"
#include "core/format/qcow2.h"
#include "suite.h"

#define FILE_SIZE (1ULL << 30)

static struct geom g;

static void setup(void)
{
	geom_init(&g, 3, 16, 4, 0, 1ULL << 30);
}

/* An entry by hand: 3 bytes of name, EXTRA bytes of extra data. */
static size_t put(uint8_t *p, uint32_t extra)
{
	memset(p, 0, 64 + extra);
	be64_store(p, 0x50000);
	be32_store(p + 8, 1);
	be32_store(p + 12, 6);
	p[16] = 1;
	p[17] = 16;
	be16_store(p + 18, 3);
	be32_store(p + 20, extra);
	memset(p + 24, 'x', extra);
	memcpy(p + 24 + extra, "abc", 3);
	return (24 + extra + 3 + 7) / 8 * 8;
}

START_TEST(extension)
{
	static const struct {
		unsigned at, width;
		uint64_t value;
		int r;
	} rows[] = {
		{ 0, 4, 2, 0 }, { 0, 4, 0, -EUCLEAN },
		{ 0, 4, 65535, 0 }, { 0, 4, 65536, -EUCLEAN },
		{ 4, 4, 1, -EUCLEAN },
		{ 8, 8, 0, -EUCLEAN }, { 8, 8, 64 << 20, 0 },
		{ 8, 8, (64 << 20) + 1, -EUCLEAN },
		{ 16, 8, 0, -EUCLEAN }, { 16, 8, 0x50200, -EUCLEAN },
		{ 16, 8, FILE_SIZE - 65536, 0 }, { 16, 8, FILE_SIZE, -EUCLEAN },
		{ 16, 8, 0xffffffffffff0000, -EUCLEAN },
	};
	uint8_t x[24], y[24];
	struct bitmapdir d;

	setup();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct err err = { "" };

		memset(x, 0, sizeof(x));
		be32_store(x, 1);
		be64_store(x + 8, 32);
		be64_store(x + 16, 0x50000);
		if (rows[i].width == 4)
			be32_store(x + rows[i].at, (uint32_t)rows[i].value);
		else
			be64_store(x + rows[i].at, rows[i].value);
		ck_assert_int_eq(bitmapdir_decode_ext(&d, x, 24, &g, FILE_SIZE,
						      &err), rows[i].r);
		ck_assert_int_eq(!rows[i].r, !err.text[0]);
		if (rows[i].r)
			continue;
		bitmapdir_encode_ext(&d, y);
		ck_assert_int_eq(memcmp(x, y, 24), 0);
	}
	ck_assert_int_eq(bitmapdir_decode_ext(&d, x, 23, &g, FILE_SIZE, NULL),
			 -EUCLEAN);
	ck_assert_int_eq(bitmapdir_decode_ext(&d, x, 32, &g, FILE_SIZE, NULL),
			 -EUCLEAN);
}
END_TEST

/* Entries come back byte for byte; every cut is noticed. */
START_TEST(entries)
{
	for (uint32_t extra = 0; extra < 20; extra++) {
		uint8_t buf[128], again[128];
		size_t len = put(buf, extra), pos = 0;
		struct bitmapdir_entry e;

		ck_assert_int_eq(bitmapdir_decode(&e, buf, len, &pos, NULL), 0);
		ck_assert_uint_eq(pos, len);
		ck_assert_uint_eq(e.table_off, 0x50000);
		ck_assert_uint_eq(e.table_entries, 1);
		ck_assert_uint_eq(e.flags, BITMAPDIR_AUTO |
					   BITMAPDIR_EXTRA_COMPATIBLE);
		ck_assert_uint_eq(e.granularity_bits, 16);
		ck_assert_uint_eq(e.name_len, 3);
		ck_assert_int_eq(memcmp(e.name, "abc", 3), 0);
		ck_assert_uint_eq(e.extra_len, extra);
		ck_assert_uint_eq(bitmapdir_size(&e), len);
		memset(again, 0xee, sizeof(again));
		bitmapdir_encode(&e, again);
		ck_assert_int_eq(memcmp(buf, again, len), 0);
		ck_assert_uint_eq(again[len], 0xee);
		for (size_t cut = 0; cut < len; cut++) {
			pos = 0;
			ck_assert_int_eq(bitmapdir_decode(&e, buf, cut, &pos,
							  NULL), -EUCLEAN);
			ck_assert_uint_eq(pos, 0);
		}
	}
}
END_TEST

START_TEST(valid)
{
	static const struct {
		struct bitmapdir_entry e;
		int r;
	} rows[] = {
		{ { .table_off = 0x50000 }, -EUCLEAN },
		{ { .table_off = 0, .table_entries = 1 }, -EUCLEAN },
		{ { .table_off = 0x50200, .table_entries = 1 }, -EUCLEAN },
		{ { .table_off = FILE_SIZE, .table_entries = 1 }, -EUCLEAN },
		{ { .table_off = 0x50000, .table_entries = 1 }, 0 },
		{ { .table_off = 0x50000, .table_entries = 8192 }, 0 },
		{ { .table_off = 0x50000, .table_entries = 8193 }, -EUCLEAN },
		{ { .table_off = 0x50000, .table_entries = 1,
		    .granularity_bits = 64 }, -EUCLEAN },
		/* 2^30 / 2^9 / 8 bytes are 4 clusters */
		{ { .table_off = 0x50000, .table_entries = 3,
		    .granularity_bits = 9 }, -EUCLEAN },
		{ { .table_off = 0x50000, .table_entries = 3, .flags = 1,
		    .granularity_bits = 9 }, 0 },
		{ { .table_off = 0x50000, .table_entries = 4,
		    .granularity_bits = 9 }, 0 },
	};
	struct bitmapdir_entry e;

	setup();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct err err = { "" };

		e = rows[i].e;
		if (!e.granularity_bits)
			e.granularity_bits = 16;
		e.type = 1;
		e.name = "n";
		e.name_len = 1;
		ck_assert_int_eq(bitmapdir_check(&e, &g, FILE_SIZE, &err),
				 rows[i].r);
		ck_assert_int_eq(!rows[i].r, !err.text[0]);
	}
	e.name_len = 0;
	ck_assert_int_eq(bitmapdir_check(&e, &g, FILE_SIZE, NULL), -EUCLEAN);
}
END_TEST

START_TEST(usable)
{
	static const struct bitmapdir_entry good = {
		.type = 1, .granularity_bits = 9, .name_len = 2, .name = "ab"
	};
	struct bitmapdir_entry e = good;
	char name[1024];

	ck_assert_ptr_null(bitmapdir_unusable(&e));
	e.flags = 7;
	e.extra_len = 8;
	e.granularity_bits = 31;
	ck_assert_ptr_null(bitmapdir_unusable(&e));
	e.flags = 3;
	ck_assert_ptr_nonnull(bitmapdir_unusable(&e));
	e = good;
	e.flags = 8;
	ck_assert_ptr_nonnull(bitmapdir_unusable(&e));
	e = good;
	e.type = 2;
	ck_assert_ptr_nonnull(bitmapdir_unusable(&e));
	e = good;
	e.granularity_bits = 8;
	ck_assert_ptr_nonnull(bitmapdir_unusable(&e));
	e.granularity_bits = 32;
	ck_assert_ptr_nonnull(bitmapdir_unusable(&e));
	e = good;
	e.name = "a\0b";
	e.name_len = 3;
	ck_assert_ptr_nonnull(bitmapdir_unusable(&e));
	memset(name, 'n', sizeof(name));
	e.name = name;
	e.name_len = 1023;
	ck_assert_ptr_null(bitmapdir_unusable(&e));
	e.name_len = 1024;
	ck_assert_ptr_nonnull(bitmapdir_unusable(&e));
}
END_TEST

START_TEST(table)
{
	static const struct {
		uint64_t raw;
		enum bitmapdir_kind kind;
		int r;
	} rows[] = {
		{ 0, BITMAPDIR_ZEROES, 0 },
		{ 1, BITMAPDIR_ONES, 0 },
		{ 0x50000, BITMAPDIR_DATA, 0 },
		{ 0x50001, BITMAPDIR_DATA, -EUCLEAN },
		{ 0x50200, BITMAPDIR_DATA, -EUCLEAN },
		{ 2, BITMAPDIR_ZEROES, -EUCLEAN },
		{ 0x100, BITMAPDIR_ZEROES, -EUCLEAN },
		{ 1ULL << 63 | 0x50000, BITMAPDIR_DATA, -EUCLEAN },
		{ 1ULL << 56, BITMAPDIR_ZEROES, -EUCLEAN },
		{ FILE_SIZE - 65536, BITMAPDIR_DATA, 0 },
		{ FILE_SIZE, BITMAPDIR_DATA, -EUCLEAN },
	};
	enum bitmapdir_kind kind;
	uint64_t hoff;

	setup();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ck_assert_int_eq(bitmapdir_table_decode(rows[i].raw, &g,
							FILE_SIZE, &kind,
							&hoff), rows[i].r);
		ck_assert_int_eq(kind, rows[i].kind);
	}
	/* the last cluster of the file may be cut short */
	ck_assert_int_eq(bitmapdir_table_decode(0x50000, &g, 0x50001, &kind,
						&hoff), 0);
}
END_TEST

START_TEST(sizes)
{
	setup();
	ck_assert_uint_eq(bitmapdir_bits(0, 16), 0);
	ck_assert_uint_eq(bitmapdir_bits(1, 16), 1);
	ck_assert_uint_eq(bitmapdir_bits(65536, 16), 1);
	ck_assert_uint_eq(bitmapdir_bits(65537, 16), 2);
	ck_assert_uint_eq(bitmapdir_bits(1ULL << 40, 9), 1ULL << 31);
	ck_assert_uint_eq(bitmapdir_bytes(9 * 65536, 16), 2);
	ck_assert_uint_eq(bitmapdir_table_need(&g, 9), 4);
	ck_assert_uint_eq(bitmapdir_table_need(&g, 31), 1);
	g.size = 0;
	ck_assert_uint_eq(bitmapdir_table_need(&g, 9), 1);
}
END_TEST

SUITE_MAIN("bitmapdir", extension, entries, valid, usable, table, sizes)
