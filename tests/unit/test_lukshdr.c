/* lukshdr: a header as QEMU writes it, and every field out of its bounds. */
#include <errno.h>
#include <string.h>

#include "base/be.h"
#include "core/format/lukshdr.h"
#include "core/format/qcow2.h"
#include "suite.h"

enum {
	LUKS_VERSION = 6, CIPHER = 8, MODE = 40, HASH = 72, PAYLOAD = 104,
	KEY_BYTES = 108, DIGEST_ITER = 164, UUID = 168, SLOT = 208,
	S_ACTIVE = 0, S_ITER = 4, S_AT = 40, S_STRIPES = 44,
};

#define AREA 2068480U /* what QEMU makes for keys of 64 bytes */

/* Field by field, not with the function that is tested. */
static void build(uint8_t b[LUKSHDR_LEN])
{
	memset(b, 0, LUKSHDR_LEN);
	memcpy(b, "LUKS\xba\xbe\0\1", 8);
	strcpy((char *)b + CIPHER, "aes");
	strcpy((char *)b + MODE, "xts-plain64");
	strcpy((char *)b + HASH, "sha256");
	strcpy((char *)b + UUID, "8fd3b855-965d-4e34-9d4d-0278a7660314");
	be32_store(b + PAYLOAD, AREA / 512);
	be32_store(b + KEY_BYTES, 64);
	be32_store(b + DIGEST_ITER, 7728);
	for (unsigned i = 0; i < 8; i++) {
		uint8_t *s = b + SLOT + i * 48;

		be32_store(s + S_ACTIVE, i ? 0x0000dead : 0x00ac71f3);
		be32_store(s + S_ITER, i ? 0 : 29153);
		be32_store(s + S_AT, (4096 + i * 258048) / 512);
		be32_store(s + S_STRIPES, 4000);
	}
}

START_TEST(test_good)
{
	uint8_t b[LUKSHDR_LEN], again[LUKSHDR_LEN];
	struct lukshdr h;
	struct err err = { "" };

	build(b);
	memset(b + SLOT + 8, 0x5a, 32);
	ck_assert_int_eq(lukshdr_decode(&h, b, AREA, &err), 0);
	ck_assert_str_eq(h.cipher, "aes");
	ck_assert_str_eq(h.mode, "xts-plain64");
	ck_assert_str_eq(h.hash, "sha256");
	ck_assert_uint_eq(h.key_bytes, 64);
	ck_assert_uint_eq(h.slot[0].iterations, 29153);
	ck_assert(h.slot[0].active && !h.slot[7].active);
	ck_assert_uint_eq(h.slot[0].salt[31], 0x5a);
	ck_assert_uint_eq(h.slot[1].material_sector, 262144 / 512);
	ck_assert_uint_eq(lukshdr_slot_at(7), SLOT + 7 * 48);
	lukshdr_encode(&h, again);
	ck_assert_mem_eq(b, again, LUKSHDR_LEN);
}
END_TEST

START_TEST(test_lay_out)
{
	uint8_t b[LUKSHDR_LEN];
	struct lukshdr h, ours = { .key_bytes = 64 };

	build(b);
	ck_assert_int_eq(lukshdr_decode(&h, b, AREA, NULL), 0);
	ck_assert_uint_eq(lukshdr_lay_out(&ours), AREA);
	ck_assert_uint_eq(ours.payload_sector, h.payload_sector);
	for (unsigned i = 0; i < 8; i++)
		ck_assert_uint_eq(ours.slot[i].material_sector,
				  h.slot[i].material_sector);
}
END_TEST

START_TEST(test_bad)
{
	static const struct {
		size_t at;
		uint32_t value;
		int result;
		const char *text;
	} rows[] = {
		{ 0, 0, -EUCLEAN, "no LUKS header" },
		{ LUKS_VERSION - 2, 0xbabe0002, -ENOTSUP, "version is 2" },
		{ PAYLOAD, AREA / 512 - 5, -EUCLEAN, "slot 7 ends behind" },
		{ KEY_BYTES, 0, -EUCLEAN, "key has 0 bytes" },
		{ KEY_BYTES, 65, -EUCLEAN, "key has 65 bytes" },
		{ KEY_BYTES, UINT32_MAX, -EUCLEAN, "bytes" },
		{ DIGEST_ITER, 0, -EUCLEAN, "master key is 0" },
		{ DIGEST_ITER, 20000001, -ENOTSUP, "above the limit" },
		{ DIGEST_ITER, UINT32_MAX, -ENOTSUP, "above the limit" },
		{ SLOT + S_ACTIVE, 1, -EUCLEAN, "neither active" },
		{ SLOT + S_ITER, 0, -EUCLEAN, "slot 0 is 0" },
		{ SLOT + S_ITER, UINT32_MAX, -ENOTSUP, "above the limit" },
		{ SLOT + S_AT, 0, -EUCLEAN, "over the encryption header" },
		{ SLOT + S_AT, 1, -EUCLEAN, "over the encryption header" },
		{ SLOT + S_AT, 13, -EUCLEAN, "0 and 1 overlaps" },
		{ SLOT + S_AT, UINT32_MAX, -EUCLEAN, "slot 0 ends behind" },
		{ SLOT + S_STRIPES, 0, -EUCLEAN, "0 stripes" },
		{ SLOT + S_STRIPES, 4001, -EUCLEAN, "4001 stripes" },
		{ SLOT + S_STRIPES, UINT32_MAX, -EUCLEAN, "stripes" },
		/* an inactive slot is written one day */
		{ SLOT + 48 + S_AT, 8, -EUCLEAN, "0 and 1 overlaps" },
		{ SLOT + 48 + S_AT, UINT32_MAX, -EUCLEAN, "slot 1 ends" },
		{ SLOT + 48 + S_STRIPES, 3, -EUCLEAN, "3 stripes" },
		{ CIPHER, 0x61657320, -EUCLEAN, "cipher name has the byte" },
		{ MODE, 0x1b5b4a00, -EUCLEAN, "mode has the byte 0x1b" },
		{ HASH, 0x73ff0000, -EUCLEAN, "hash name has the byte" },
	};
	uint8_t b[LUKSHDR_LEN];
	struct lukshdr h;
	int r;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct err err = { "" };

		build(b);
		be32_store(b + rows[i].at, rows[i].value);
		r = lukshdr_decode(&h, b, AREA, &err);
		ck_assert_msg(r == rows[i].result, "row %zu: %d", i, r);
		ck_assert_msg(strstr(err.text, rows[i].text), "row %zu: %s", i,
			      err.text);
	}
	build(b);
	memset(b + CIPHER, 'a', 32);
	ck_assert_int_eq(lukshdr_decode(&h, b, AREA, NULL), -EUCLEAN);
	build(b);
	ck_assert_int_eq(lukshdr_decode(&h, b, AREA - 4096, NULL), -EUCLEAN);
	/* an inactive slot's iteration count says nothing */
	be32_store(b + SLOT + 48 + S_ITER, UINT32_MAX);
	ck_assert_int_eq(lukshdr_decode(&h, b, AREA, NULL), 0);
}
END_TEST

START_TEST(test_area)
{
	static const struct {
		uint32_t ext_len;
		uint64_t hoff, len;
		int result;
	} rows[] = {
		{ 16, 0x40000, AREA, 0 },
		{ 16, 0x40000, LUKSHDR_LEN, 0 },
		{ 15, 0x40000, AREA, -EUCLEAN },
		{ 24, 0x40000, AREA, -EUCLEAN },
		{ 16, 0, AREA, -EUCLEAN },
		{ 16, 0x40200, AREA, -EUCLEAN },
		{ 16, 0x40000, LUKSHDR_LEN - 1, -EUCLEAN },
		{ 16, 0x40000, LUKSHDR_AREA_MAX + 1ULL, -EUCLEAN },
		{ 16, 0x40000, UINT64_MAX, -EUCLEAN },
		{ 16, UINT64_MAX & ~0xffffULL, AREA, -EUCLEAN },
		{ 16, 0x200000, AREA, -EUCLEAN },
	};
	uint8_t data[24] = { 0 };
	uint64_t hoff, len;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct headerext e = { QCOW2_EXT_CRYPTO, rows[i].ext_len, data };

		lukshdr_put_area(data, rows[i].hoff, rows[i].len);
		ck_assert_int_eq(lukshdr_area(&e, 65536, 3U << 20, &hoff, &len,
					      NULL), rows[i].result);
		if (rows[i].result)
			continue;
		ck_assert_uint_eq(hoff, rows[i].hoff);
		ck_assert_uint_eq(len, rows[i].len);
	}
	ck_assert_int_eq(lukshdr_area(NULL, 65536, 3U << 20, &hoff, &len, NULL),
			 -EUCLEAN);
}
END_TEST

START_TEST(test_mode)
{
	static const struct {
		const char *text, *mode, *ivgen, *hash;
	} rows[] = {
		{ "xts-plain64", "xts", "plain64", "" },
		{ "cbc-essiv:sha256", "cbc", "essiv", "sha256" },
		{ "ecb", "ecb", "", "" },
		{ "", "", "", "" },
		{ "cbc-", "cbc", "", "" },
		{ "-:", "", "", "" },
		{ "cbc-essiv:a-b:c", "cbc", "essiv", "a-b:c" },
	};
	struct lukshdr_mode m;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		lukshdr_parse_mode(rows[i].text, &m);
		ck_assert_str_eq(m.mode, rows[i].mode);
		ck_assert_str_eq(m.ivgen, rows[i].ivgen);
		ck_assert_str_eq(m.ivgen_hash, rows[i].hash);
	}
}
END_TEST

SUITE_MAIN("lukshdr", test_good, test_lay_out, test_bad, test_area, test_mode)
