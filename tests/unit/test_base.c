/*
 * base: error texts, sizes, untrusted arithmetic, allocation, limited logging.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/be.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/size.h"
#include "base/utf8.h"

START_TEST(err_set_returns_code)
{
	struct err e;

	ck_assert_int_eq(err_set(&e, -EINVAL, "field %d", 7), -EINVAL);
	ck_assert_str_eq(e.text, "field 7");
	ck_assert_int_eq(err_set(NULL, -EIO, "x"), -EIO);
}
END_TEST

START_TEST(err_sys_and_wrap)
{
	struct err e;

	ck_assert_int_eq(err_set_sys(&e, -ENOENT, "open"), -ENOENT);
	ck_assert_str_eq(e.text, "open: No such file or directory");
	err_wrap(&e, "backing file '%s'", "b");
	ck_assert_str_eq(e.text,
			 "backing file 'b': open: No such file or directory");
	err_append(&e, ", line %d", 3);
	ck_assert_str_eq(e.text, "backing file 'b': open: No such file or "
				 "directory, line 3");
	err_wrap(NULL, "x");
	err_append(NULL, "x");
}
END_TEST

START_TEST(err_long_text_is_cut)
{
	char long_text[2 * ERR_TEXT_MAX];
	struct err e;

	memset(long_text, 'a', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	err_set(&e, -EINVAL, "%s", long_text);
	ck_assert_uint_eq(strlen(e.text), ERR_TEXT_MAX - 1);
	ck_assert_str_eq(e.text + ERR_TEXT_MAX - 4, "...");
	err_wrap(&e, "%s", "head");
	ck_assert_int_eq(strncmp(e.text, "head: aaa", 9), 0);
	ck_assert_uint_eq(strlen(e.text), ERR_TEXT_MAX - 1);
}
END_TEST

/* One line, in which the reason is, whatever the names are like. */
START_TEST(err_odd_names)
{
	struct err err;
	char path[700];

	err_set_sys(&err, -ENOENT, "a\nb\033[2J\177 \303\274");
	ck_assert_str_eq(err.text,
			 "a?b?[2J? \303\274: No such file or directory");
	memset(path, 'd', sizeof(path) - 1);
	strcpy(path + sizeof(path) - 5, "/img");
	err_set(&err, -EIO, "the reason");
	err_wrap(&err, "%s", path);
	ck_assert_uint_eq(strlen(err.text), ERR_TEXT_MAX - 1);
	ck_assert_int_eq(strncmp(err.text, "...ddd", 6), 0);
	ck_assert(strstr(err.text, "d/img: the reason"));
	err_set(&err, -EIO, "%s", path);
	err_wrap(&err, "image");
	ck_assert_int_eq(strncmp(err.text, "image: ddd", 10), 0);
}
END_TEST

START_TEST(err_escape_text)
{
	char buf[32];

	ck_assert_str_eq(err_escape(buf, sizeof(buf), "a\n'\\\x1b", 5),
			 "a\\x0a\\'\\\\\\x1b");
	ck_assert_str_eq(err_escape(buf, 1, "abc", 3), "");
	ck_assert_uint_lt(strlen(err_escape(buf, 8, "\1\2\3\4\5", 5)), 8);
	ck_assert_str_eq(err_escape(buf, sizeof(buf), "", 0), "");
}
END_TEST

static const struct {
	const char *text;
	int ret;
	uint64_t value;
} sizes[] = {
	{ "0", 0, 0 },
	{ "512", 0, 512 },
	{ "512b", 0, 512 },
	{ "64k", 0, 65536 },
	{ "64K", 0, 65536 },
	{ "64KiB", 0, 65536 },
	{ "1MB", 0, 1 << 20 },
	{ "10G", 0, 10ULL << 30 },
	{ "1.5G", 0, 3ULL << 29 },
	{ "2T", 0, 2ULL << 40 },
	{ "1P", 0, 1ULL << 50 },
	{ "7E", 0, 7ULL << 60 },
	{ "9223372036854775807", 0, INT64_MAX },
	{ "8E", -ERANGE, 0 },
	{ "9223372036854775808", -ERANGE, 0 },
	{ "99999999999999999999", -ERANGE, 0 },
	{ "", -EINVAL, 0 },
	{ "k", -EINVAL, 0 },
	{ "-1", -EINVAL, 0 },
	{ " 1", -EINVAL, 0 },
	{ "1.", -EINVAL, 0 },
	{ "1.5", -EINVAL, 0 },
	{ "1.5b", -EINVAL, 0 },
	{ "1x", -EINVAL, 0 },
	{ "1kk", -EINVAL, 0 },
	{ "1 k", -EINVAL, 0 },
	{ "0x10", -EINVAL, 0 },
};

START_TEST(size_parse_table)
{
	uint64_t v = 0;

	ck_assert_msg(size_parse(sizes[_i].text, &v) == sizes[_i].ret, "'%s'",
		      sizes[_i].text);
	if (sizes[_i].ret == 0)
		ck_assert_msg(v == sizes[_i].value, "'%s'", sizes[_i].text);
}
END_TEST

START_TEST(size_format_text)
{
	char buf[SIZE_TEXT_MAX];

	ck_assert_str_eq(size_format(buf, 0), "0 B");
	ck_assert_str_eq(size_format(buf, 512), "512 B");
	ck_assert_str_eq(size_format(buf, 10ULL << 30), "10 GiB");
	ck_assert_str_eq(size_format(buf, 3ULL << 29), "1.5 GiB");
	ck_assert_str_eq(size_format(buf, 196 << 10), "196 KiB");
}
END_TEST

START_TEST(num_edges)
{
	uint64_t v;

	ck_assert(!num_is_pow2(0) && num_is_pow2(1) && !num_is_pow2(3));
	ck_assert_uint_eq(num_round_up(513, 512), 1024);
	ck_assert_uint_eq(num_round_down(513, 512), 512);
	ck_assert_uint_eq(num_div_ceil(UINT64_MAX, 2), 1ULL << 63);
	ck_assert(num_add_overflow(UINT64_MAX, 1, &v));
	ck_assert(!num_add_overflow(UINT64_MAX, 0, &v));
	ck_assert(num_mul_overflow(1ULL << 32, 1ULL << 32, &v));
	ck_assert(num_range_inside(10, 0, 10));
	ck_assert(!num_range_inside(11, 0, 10));
	ck_assert(!num_range_inside(1, UINT64_MAX, 10));
	ck_assert(num_ranges_overlap(0, 2, 1, 1));
	ck_assert(!num_ranges_overlap(0, 1, 1, 1));
}
END_TEST

START_TEST(be_bytes)
{
	unsigned char b[9] = { 0 };

	be64_store(b + 1, 0x0102030405060708ULL);
	ck_assert_uint_eq(b[1], 1);
	ck_assert_uint_eq(b[8], 8);
	ck_assert_uint_eq(be64_load(b + 1), 0x0102030405060708ULL);
	ck_assert_uint_eq(be32_load(b + 1), 0x01020304U);
	ck_assert_uint_eq(be16_load(b + 1), 0x0102U);
}
END_TEST

/* The sanitizers would end the program at a size that cannot be had. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}

const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "allocator_may_return_null=1";
}

START_TEST(mem_limits)
{
	autofree unsigned char *kept = NULL;
	uint32_t *grown = NULL;
	size_t cap = 0;
	void *p;

	/* volatile: the compiler warns of sizes that it can see */
	volatile size_t huge = SIZE_MAX;

	ck_assert_ptr_null(mem_array(huge, 2));
	p = mem_array(0, 8);
	ck_assert_ptr_nonnull(p);
	free(p);
	p = mem_aligned(10);
	ck_assert_uint_eq((uintptr_t)p % 4096, 0);
	free(p);
	ck_assert_int_eq(mem_grow(&grown, &cap, 17, sizeof(*grown)), 0);
	ck_assert_uint_ge(cap, 17);
	ck_assert_int_eq(mem_grow(&grown, &cap, huge, sizeof(*grown)), -ENOMEM);
	ck_assert_ptr_nonnull(grown);
	free(grown);
	kept = mem_array(4, 1);
	p = mem_steal(&kept);
	ck_assert_ptr_null(kept);
	ck_assert_ptr_nonnull(p);
	free(p);
}
END_TEST

static int count_lines(int fd)
{
	char buf[8192];
	ssize_t n;
	int lines = 0;

	lseek(fd, 0, SEEK_SET);
	n = read(fd, buf, sizeof(buf));
	for (ssize_t i = 0; i < n; i++)
		lines += buf[i] == '\n';
	return lines;
}

START_TEST(log_is_limited)
{
	FILE *tmp = tmpfile();
	int old = dup(STDERR_FILENO);
	int n;

	ck_assert_ptr_nonnull(tmp);
	dup2(fileno(tmp), STDERR_FILENO);
	log_line(LOG_LEVEL_DEBUG, "not shown at the default level");
	log_line(LOG_LEVEL_WARN, "shown");
	for (int i = 0; i < 100; i++)
		log_limited(LOG_LEVEL_ERROR, "line %d", i);
	dup2(old, STDERR_FILENO);
	close(old);
	n = count_lines(fileno(tmp));
	fclose(tmp);
	/* Twice the limit if a window of time ended in between. */
	ck_assert_int_ge(n, 11);
	ck_assert_int_le(n, 21);
}
END_TEST

/* All that there is, and nothing else: counted, not listed. */
START_TEST(utf8_characters)
{
	static const uint8_t last[] = { 0, 0x7f, 0x80, 0xbf, 0xc0, 0xff };
	unsigned n[5] = { 0 };
	uint8_t s[4];

	for (unsigned v = 0; v < 1U << 16; v++) {
		s[0] = (uint8_t)(v >> 8);
		s[1] = (uint8_t)v;
		n[2] += utf8_char(s, 2) == 2;
		for (size_t i = 0; i < sizeof(last); i++) {
			s[2] = last[i];
			n[3] += utf8_char(s, 3) == 3;
			for (size_t k = 0; k < sizeof(last); k++) {
				s[3] = last[k];
				n[4] += utf8_char(s, 4) == 4;
			}
		}
	}
	/* of 64 last bytes two were tried */
	ck_assert_uint_eq(n[2], 0x800 - 0x80);
	ck_assert_uint_eq(n[3], (0x10000 - 0x800 - 0x800) / 32);
	ck_assert_uint_eq(n[4], (0x110000 - 0x10000) / 32 / 32);
	ck_assert_uint_eq(utf8_char((const uint8_t *)"\xf4\x8f\xbf\xbf", 4), 4);
	ck_assert_uint_eq(utf8_char((const uint8_t *)"\xe2\x82\xac", 2), 0);
	ck_assert_uint_eq(utf8_char((const uint8_t *)"a", 1), 1);
	ck_assert_uint_eq(utf8_char((const uint8_t *)"a", 0), 0);
}
END_TEST

/* The authors' key and message, with 1 and 3 rounds. */
START_TEST(hash_values)
{
	unsigned char bytes[16];
	uint64_t key[2];

	for (unsigned char i = 0; i < sizeof(bytes); i++)
		bytes[i] = i;
	for (unsigned i = 0; i < 2; i++)
		key[i] = 0x0706050403020100ULL + i * 0x0808080808080808ULL;
	ck_assert_uint_eq(hash_keyed(key, bytes, 0), 0xabac0158050fc4dcULL);
	ck_assert_uint_eq(hash_keyed(key, bytes, 8), 0x369095118d299a8eULL);
	ck_assert_uint_eq(hash_keyed(key, bytes, 15), 0xd320d86d2a519956ULL);
}
END_TEST

struct hashed {
	uint64_t key;
	UT_hash_handle hh;
};

/* Keys that have one value in uthash's own function. A hundred of them first,
 * and it gives up making its table larger. */
static void fill_hostile(struct hashed *t, unsigned evil, unsigned n)
{
	uint64_t key = 0;

	for (unsigned i = 0; i < n; i++) {
		unsigned value;

		do {
			key += 65536;
			HASH_JEN(&key, sizeof(key), value);
		} while (i < evil && value & 0xfff);
		t[i].key = key;
	}
}

START_TEST(hash_of_hostile_keys)
{
	enum { EVIL = 100, N = 20000 };
	struct hashed *t = calloc(N, sizeof(*t));
	struct hashed *head = NULL;
	unsigned longest = 0;

	ck_assert_ptr_nonnull(t);
	fill_hostile(t, EVIL, N);
	for (unsigned i = 0; i < N; i++)
		HASH_ADD(hh, head, key, sizeof(t[i].key), &t[i]);
	for (unsigned i = 0; i < head->hh.tbl->num_buckets; i++)
		if (head->hh.tbl->buckets[i].count > longest)
			longest = head->hh.tbl->buckets[i].count;
	ck_assert_uint_eq(head->hh.tbl->noexpand, 0);
	ck_assert_uint_lt(longest, 50);
	HASH_CLEAR(hh, head);
	free(t);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("base");
	TCase *t = tcase_create("base");
	SRunner *sr;
	int failed;

	tcase_add_test(t, err_set_returns_code);
	tcase_add_test(t, err_sys_and_wrap);
	tcase_add_test(t, err_long_text_is_cut);
	tcase_add_test(t, err_odd_names);
	tcase_add_test(t, err_escape_text);
	tcase_add_loop_test(t, size_parse_table, 0,
			    sizeof(sizes) / sizeof(sizes[0]));
	tcase_add_test(t, size_format_text);
	tcase_add_test(t, num_edges);
	tcase_add_test(t, be_bytes);
	tcase_add_test(t, mem_limits);
	tcase_add_test(t, log_is_limited);
	tcase_add_test(t, utf8_characters);
	tcase_add_test(t, hash_values);
	tcase_add_test(t, hash_of_hostile_keys);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
