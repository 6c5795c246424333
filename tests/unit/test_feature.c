/* feature: names, refusals, stale bits, and the table that create writes. */
#include <errno.h>
#include <string.h>

#include "core/format/feature.h"
#include "core/format/qcow2.h"
#include "suite.h"

static uint8_t table[2 * 48 + 5]; /* two entries and a rest to be ignored */
static struct headerext_list list;

static void make_list(const void *name, size_t len)
{
	memset(table, 0, sizeof(table));
	table[0] = FEATURE_INCOMPATIBLE;
	table[1] = 4; /* may not replace rawcow's own name */
	memcpy(table + 2, "other", 5);
	table[48] = FEATURE_INCOMPATIBLE;
	table[49] = 63;
	memcpy(table + 50, name, len);
	memset(&list, 0, sizeof(list));
	list.n = 1;
	list.ext[0] = (struct headerext){ QCOW2_EXT_FEATURE_NAMES, sizeof(table), table };
}

START_TEST(test_names)
{
	char buf[FEATURE_NAME_MAX];
	char full[46];

	make_list("shiny", 5);
	ck_assert_str_eq(feature_name(buf, FEATURE_INCOMPATIBLE, 0, NULL), "dirty bit");
	ck_assert_str_eq(feature_name(buf, FEATURE_INCOMPATIBLE, 4, &list), "extended L2 entries");
	ck_assert_str_eq(feature_name(buf, FEATURE_COMPATIBLE, 0, &list), "lazy refcounts");
	ck_assert_str_eq(feature_name(buf, FEATURE_AUTOCLEAR, 1, &list), "raw external data");
	ck_assert_str_eq(feature_name(buf, FEATURE_INCOMPATIBLE, 63, &list), "shiny");
	ck_assert_str_eq(feature_name(buf, FEATURE_INCOMPATIBLE, 62, &list), "bit 62");
	ck_assert_str_eq(feature_name(buf, FEATURE_AUTOCLEAR, 63, &list), "bit 63");
	ck_assert_str_eq(feature_name(buf, FEATURE_AUTOCLEAR, 63, NULL), "bit 63");
	make_list("a\n\033[31m\"", 8);
	ck_assert_str_eq(feature_name(buf, FEATURE_INCOMPATIBLE, 63, &list),
			 "a\\x0a\\x1b[31m\\\"");
	/* 46 bytes, no NUL, every one escaped. */
	memset(full, 1, sizeof(full));
	make_list(full, sizeof(full));
	feature_name(buf, FEATURE_INCOMPATIBLE, 63, &list);
	ck_assert_uint_eq(strlen(buf), 46 * 4);
	list.ext[0].len = 95; /* the second entry is cut: not there */
	ck_assert_str_eq(feature_name(buf, FEATURE_INCOMPATIBLE, 63, &list), "bit 63");
}
END_TEST

START_TEST(test_refusal)
{
	static const struct {
		uint64_t incompatible;
		uint32_t crypt;
		int want;
		const char *text[3];
	} rows[] = {
		{ 0, 0, 0, { "" } },
		{ QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT | QCOW2_INCOMPAT_COMPRESSION, 0, 0, { "" } },
		{ QCOW2_INCOMPAT_DATA_FILE, 0, 0, { "" } },
		{ QCOW2_INCOMPAT_EXTL2, 0, 0, { "" } },
		{ 0, 1, 0, { "" } },
		{ 0, 2, 0, { "" } },
		{ 1ULL << 63, 0, -ENOTSUP, { "'shiny'", "bit 63" } },
		{ 1ULL << 5, 0, -ENOTSUP, { "'bit 5'", "incompatible bit 5" } },
		{ QCOW2_INCOMPAT_EXTL2 | QCOW2_INCOMPAT_DATA_FILE, 2, 0,
		  { "" } },
		{ ~0ULL, 2, -ENOTSUP, { "..." } }, /* cut, not overflown */
	};

	make_list("shiny", 5);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct header h = { .incompatible = rows[i].incompatible,
				    .crypt_method = rows[i].crypt };
		struct err err = { "" };

		ck_assert_int_eq(feature_refusal(&h, &list, &err), rows[i].want);
		for (size_t j = 0; j < 3 && rows[i].text[j]; j++)
			ck_assert_msg(strstr(err.text, rows[i].text[j]), "%s", err.text);
		ck_assert_int_eq(feature_refusal(&h, NULL, NULL), rows[i].want);
	}
}
END_TEST

START_TEST(test_autoclear)
{
	struct header h = { .version = 3 };

	ck_assert_uint_eq(feature_autoclear_stale(&h), 0);
	h.autoclear = ~0ULL;
	ck_assert_uint_eq(feature_autoclear_stale(&h), ~1ULL);
	h.autoclear = QCOW2_AUTOCLEAR_BITMAPS;
	ck_assert_uint_eq(feature_autoclear_stale(&h), 0);
	/* raw external data: with a data file, and without a backing file */
	h.autoclear = QCOW2_AUTOCLEAR_DATA_FILE_RAW;
	ck_assert_uint_eq(feature_autoclear_stale(&h), h.autoclear);
	h.incompatible = QCOW2_INCOMPAT_DATA_FILE;
	ck_assert_uint_eq(feature_autoclear_stale(&h), 0);
	h.backing_offset = 512;
	ck_assert_uint_eq(feature_autoclear_stale(&h), h.autoclear);
}
END_TEST

START_TEST(test_table)
{
	uint32_t len;
	const uint8_t *t = feature_name_table(&len);
	static const char first[48] = "\0\0dirty bit";
	static const char last[48] = "\2\1raw external data";

	ck_assert_uint_eq(len, 8 * 48);
	ck_assert_mem_eq(t, first, 48);
	ck_assert_mem_eq(t + len - 48, last, 48);
}
END_TEST

SUITE_MAIN("feature", test_names, test_refusal, test_autoclear, test_table)
