/*
 * test_l1table: the active L1 table: load, change, cut by sectors.
 */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "base/be.h"
#include "core/meta/l1table.h"
#include "lib/hostmem.h"
#include "suite.h"

#define ENTRIES 150U /* two sectors and a part */
#define HOFF	1024U

static struct hostmem *mem;
static struct hostfile *file;

static void begin(void)
{
	mem = hostmem_new();
	for (unsigned i = 0; i < ENTRIES; i++) {
		unsigned char raw[8];

		be64_store(raw, i * 0x10200ULL);
		ck_assert_int_eq(hostmem_write(mem, raw, 8, HOFF + i * 8), 0);
	}
	ck_assert_int_eq(hostmem_open(&file, mem, false), 0);
}

static void end(void)
{
	hostfile_close(file);
	hostmem_free(mem);
}

START_TEST(load)
{
	struct l1table t;

	begin();
	ck_assert_int_eq(l1table_load(&t, file, HOFF, ENTRIES), 0);
	for (unsigned i = 0; i < ENTRIES; i++)
		ck_assert_uint_eq(l1table_get(&t, i), i * 0x10200ULL);
	for (unsigned i = ENTRIES; i < 192; i++) /* padding */
		ck_assert_uint_eq(l1table_get(&t, i), 0);
	l1table_fini(&t);
	ck_assert_int_eq(l1table_load(&t, file, HOFF, ENTRIES + 1), -EIO);
	ck_assert_int_eq(l1table_load(&t, file, HOFF, 0), 0);
	l1table_fini(&t);
	end();
}
END_TEST

START_TEST(cut)
{
	static const unsigned changed[] = { 149, 1, 63, 148 };
	struct l1table_cut c;
	struct l1table t;
	uint64_t hoff;
	size_t len;

	begin();
	ck_assert_int_eq(l1table_load(&t, file, HOFF, ENTRIES), 0);
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_int_eq(l1table_reserve(&t, changed[i]), 0);
		l1table_set(&t, changed[i], 0xabc00 + i);
	}
	l1table_take_cut(&t, &c);
	ck_assert_uint_eq(c.n, 2);
	l1table_cut_place(&t, &c, 0, &hoff, &len);
	ck_assert_uint_eq(hoff, HOFF + 1024);
	ck_assert_uint_eq(len, (ENTRIES - 128) * 8); /* not behind the table */
	ck_assert_uint_eq(be64_load(c.copies + 21 * 8), 0xabc00);
	ck_assert_uint_eq(be64_load(c.copies + 20 * 8), 0xabc03);
	ck_assert_uint_eq(be64_load(c.copies), 128 * 0x10200ULL);
	l1table_cut_place(&t, &c, 1, &hoff, &len);
	ck_assert_uint_eq(hoff, HOFF);
	ck_assert_uint_eq(len, 512);
	ck_assert_uint_eq(be64_load(c.copies + 512 + 8), 0xabc01);
	ck_assert_uint_eq(be64_load(c.copies + 512 + 63 * 8), 0xabc02);
	/* the next cut has only what comes later */
	ck_assert_int_eq(l1table_reserve(&t, 70), 0);
	l1table_set(&t, 70, 7);
	ck_assert_uint_eq(be64_load(c.copies + 512 + 8), 0xabc01);
	l1table_cut_fini(&c);
	l1table_take_cut(&t, &c);
	ck_assert_uint_eq(c.n, 1);
	ck_assert_uint_eq(c.list[0], 1);
	l1table_cut_fini(&c);
	l1table_take_cut(&t, &c);
	ck_assert_uint_eq(c.n, 0);
	l1table_cut_fini(&c);
	l1table_fini(&t);
	end();
}
END_TEST

SUITE_MAIN("l1table", load, cut)
