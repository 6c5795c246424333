/* snaptable: records as QEMU writes them, cut records, and every limit. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/be.h"
#include "core/format/qcow2.h"
#include "core/format/snaptable.h"
#include "suite.h"

#define FILE_SIZE (1ULL << 40)

static struct geom g;

struct record {
	uint64_t l1_offset;
	uint32_t l1_entries;
	uint32_t extra_len;
	uint64_t disk_size;
	const char *id;
	const char *name;
};

static const struct record good = { 0x40000, 3, 24, 1 << 20, "1", "first" };

/* Returns the record's length without padding. */
static size_t put(uint8_t *p, const struct record *s)
{
	size_t id_len = strlen(s->id);
	size_t name_len = strlen(s->name);

	memset(p, 0, 40 + s->extra_len);
	be64_store(p, s->l1_offset);
	be32_store(p + 8, s->l1_entries);
	be16_store(p + 12, (uint16_t)id_len);
	be16_store(p + 14, (uint16_t)name_len);
	be32_store(p + 16, 1000);
	be32_store(p + 20, 2000);
	be64_store(p + 24, 3000);
	be32_store(p + 32, 4000);
	be32_store(p + 36, s->extra_len);
	if (s->extra_len >= 8)
		be64_store(p + 40, 5ULL << 32);
	if (s->extra_len >= 16)
		be64_store(p + 48, s->disk_size);
	if (s->extra_len >= 24)
		be64_store(p + 56, 77);
	memcpy(p + 40 + s->extra_len, s->id, id_len);
	memcpy(p + 40 + s->extra_len + id_len, s->name, name_len);
	return 40 + s->extra_len + id_len + name_len;
}

START_TEST(test_extra)
{
	static const struct {
		uint32_t extra;
		uint64_t vm_state, disk, icount;
	} rows[] = {
		{ 0, 4000, 1 << 21, UINT64_MAX }, { 7, 4000, 1 << 21, UINT64_MAX },
		{ 8, 5ULL << 32, 1 << 21, UINT64_MAX }, { 16, 5ULL << 32, 1 << 20, UINT64_MAX },
		{ 23, 5ULL << 32, 1 << 20, UINT64_MAX }, { 24, 5ULL << 32, 1 << 20, 77 },
		{ 1024, 5ULL << 32, 1 << 20, 77 },
	};
	uint8_t buf[2048];

	geom_init(&g, 3, 16, 4, 0, 1 << 21);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct record rec = good;
		struct snapshot s;
		size_t pos = 0;
		size_t len;

		rec.extra_len = rows[i].extra;
		len = put(buf, &rec);
		ck_assert_int_eq(snaptable_decode(&s, buf, len, &pos, &g, FILE_SIZE, NULL), 0);
		ck_assert_uint_eq(pos, (len + 7) & ~(size_t)7);
		ck_assert_uint_eq(s.extra_len, rows[i].extra);
		ck_assert_uint_eq(s.vm_state_size, rows[i].vm_state);
		ck_assert_uint_eq(s.disk_size, rows[i].disk);
		ck_assert_uint_eq(s.icount, rows[i].icount);
		ck_assert_uint_eq(s.l1_offset, 0x40000);
		ck_assert_uint_eq(s.l1_entries, 3);
		ck_assert_uint_eq(s.date_sec, 1000);
		ck_assert_uint_eq(s.date_nsec, 2000);
		ck_assert_uint_eq(s.vm_clock_nsec, 3000);
		ck_assert_str_eq(s.id, "1");
		ck_assert_str_eq(s.name, "first");
		snaptable_fini(&s);
		snaptable_fini(&s);
	}
}
END_TEST

START_TEST(test_cut)
{
	uint8_t buf[256];
	size_t len;

	geom_init(&g, 3, 16, 4, 0, 1 << 21);
	len = put(buf, &good);
	for (size_t cut = 0; cut < len; cut++) {
		uint8_t *exact = malloc(cut ? cut : 1);
		struct snapshot s;
		size_t pos = 0;

		memcpy(exact, buf, cut);
		ck_assert_int_eq(snaptable_decode(&s, exact, cut, &pos, &g, FILE_SIZE, NULL), -ENODATA);
		ck_assert_uint_eq(pos, 0);
		snaptable_fini(&s);
		free(exact);
	}
}
END_TEST

START_TEST(test_two)
{
	uint8_t buf[256];
	struct record rec = good;
	struct snapshot s;
	size_t pos = 0;
	size_t second;

	geom_init(&g, 3, 16, 4, 0, 1 << 21);
	second = (put(buf, &good) + 7) & ~(size_t)7;
	rec.id = "";
	rec.name = "\033[2Jx";
	put(buf + second, &rec);
	ck_assert_int_eq(snaptable_decode(&s, buf, 256, &pos, &g, FILE_SIZE, NULL), 0);
	snaptable_fini(&s);
	ck_assert_uint_eq(pos, second);
	ck_assert_int_eq(snaptable_decode(&s, buf, 256, &pos, &g, FILE_SIZE, NULL), 0);
	ck_assert_str_eq(s.id, "");
	ck_assert_str_eq(s.name, "\033[2Jx");
	snaptable_fini(&s);
	pos = 300; /* behind the buffer, as after a record without padding */
	ck_assert_int_eq(snaptable_decode(&s, buf, 256, &pos, &g, FILE_SIZE, NULL), -ENODATA);
}
END_TEST

START_TEST(test_limits)
{
	static const struct {
		struct record rec;
		uint64_t file_size;
		int want;
		const char *text;
	} rows[] = {
		{ { 0x40000, 3, 1025, 1, "1", "n" }, FILE_SIZE, -EUCLEAN, "extra data is 1025" },
		{ { 0x40000, 4194304, 16, 1, "1", "n" }, FILE_SIZE, 0, "" },
		{ { 0x40000, 4194305, 16, 1, "1", "n" }, FILE_SIZE, -EUCLEAN, "l1_size is 4194305" },
		{ { 0x40200, 3, 16, 1, "1", "n" }, FILE_SIZE, -EUCLEAN, "l1_table_offset is 262656" },
		{ { 0, 3, 16, 1, "1", "n" }, FILE_SIZE, -EUCLEAN, "l1_table_offset is 0" },
		{ { 0, 0, 16, 0, "1", "n" }, FILE_SIZE, 0, "" },
		{ { 0x40000, 3, 16, 1, "1", "n" }, 0x40018, 0, "" },
		{ { 0x40000, 3, 16, 1, "1", "n" }, 0x40017, -EUCLEAN, "behind the file" },
		{ { ~0xffffULL, 3, 16, 1, "1", "n" }, FILE_SIZE, -EUCLEAN, "behind the file" },
		{ { 0x40000, 3, 16, QCOW2_MAX_SIZE, "1", "n" }, FILE_SIZE, 0, "" },
		{ { 0x40000, 3, 16, QCOW2_MAX_SIZE + 1, "1", "n" }, FILE_SIZE, -EUCLEAN, "disk size" },
	};
	uint8_t buf[2048];

	geom_init(&g, 3, 16, 4, 0, 1 << 21);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct err err = { "" };
		struct snapshot s;
		size_t pos = 0;
		size_t len = put(buf, &rows[i].rec);
		int r = snaptable_decode(&s, buf, len, &pos, &g, rows[i].file_size, &err);

		ck_assert_msg(r == rows[i].want, "row %zu: %d %s", i, r, err.text);
		ck_assert_msg(strstr(err.text, rows[i].text), "row %zu: %s", i, err.text);
		snaptable_fini(&s);
	}
}
END_TEST

SUITE_MAIN("snaptable", test_extra, test_cut, test_two, test_limits)
