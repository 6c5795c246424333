/*
 * test_snapname: names of snapshots as names of folders, there and back.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/snapname.h"
#include "suite.h"

static const struct {
	const char *name, *shown;
} cases[] = {
	{ "before-upgrade", "before-upgrade" },
	{ "with blank", "with blank" },
	{ ".hidden", ".hidden" },
	{ "...", "..." },
	{ ".", "%2E" },
	{ "..", "%2E." },
	{ "a/b", "a%2Fb" },
	{ "/", "%2F" },
	{ "../../etc", "..%2F..%2Fetc" },
	{ "@7", "%407" },
	{ "a@7", "a@7" },
	{ "100%", "100%" },
	{ "%", "%" },
	{ "%41", "%2541" },
	{ "%4", "%4" },
	{ "%4g", "%4g" },
	{ "%af", "%af" },
	{ "%AF", "%25AF" },
	{ "%%41", "%%2541" },
	{ "%\n", "%%0A" },
	{ "%2\n", "%2%0A" },
	{ "a\nb\x7f\x01", "a%0Ab%7F%01" },
	{ "\x1b[2J", "%1B[2J" },
	{ "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" },
	{ "\xe2\x82\xac \xf0\x9f\x92\xbe", "\xe2\x82\xac \xf0\x9f\x92\xbe" },
	{ "\xc2\x9b", "%C2%9B" },	  /* a control character */
	{ "\xff\xfe", "%FF%FE" },
	{ "\xc3", "%C3" },		  /* cut short */
	{ "\xc0\xaf", "%C0%AF" },	  /* '/' written too long */
	{ "\xe0\x80\xaf", "%E0%80%AF" },
	{ "\xed\xa0\x80", "%ED%A0%80" },  /* a surrogate */
	{ "\xf4\x90\x80\x80", "%F4%90%80%80" },
};

START_TEST(test_cases)
{
	char out[SNAPNAME_MAX + 1];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		ck_assert(snapname_escape(cases[i].name, out));
		ck_assert_str_eq(out, cases[i].shown);
		ck_assert(snapname_unescape(cases[i].shown, out));
		ck_assert_str_eq(out, cases[i].name);
	}
}
END_TEST

START_TEST(test_no_name)
{
	char name[SNAPNAME_MAX + 2], out[SNAPNAME_MAX + 1];

	ck_assert(!snapname_escape("", out));
	memset(name, 'x', sizeof(name));
	name[SNAPNAME_MAX] = '\0';
	ck_assert(snapname_escape(name, out));
	name[SNAPNAME_MAX - 1] = '\n';
	ck_assert(!snapname_escape(name, out));
	memset(name, 'x', sizeof(name));
	name[SNAPNAME_MAX + 1] = '\0';
	ck_assert(!snapname_escape(name, out));
	ck_assert(!snapname_unescape(name, out));
}
END_TEST

/* What no name looks like is refused. */
START_TEST(test_not_shown)
{
	static const char *const bad[] = { "",	   ".",	    "..", "@1",
					   "a/b",  "a\nb",  "%41", "%2E..",
					   "\xff", "%2Eab", "\xc2\x9b",
					   "%C3%BC", "%00", "a%00b" };
	char out[SNAPNAME_MAX + 1];

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ck_assert_msg(!snapname_unescape(bad[i], out), "%s", bad[i]);
}
END_TEST

START_TEST(test_id)
{
	char out[SNAPNAME_MAX + 1], name[2 * SNAPNAME_MAX] = "";

	ck_assert(snapname_of_id("12", out));
	ck_assert_str_eq(out, "@12");
	ck_assert(snapname_of_id("@/..", out));
	ck_assert_str_eq(out, "@%40%2F..");
	ck_assert(snapname_of_id(".", out));
	ck_assert_str_eq(out, "@%2E");
	ck_assert(!snapname_of_id("", out));
	memset(name, 'x', SNAPNAME_MAX);
	ck_assert(!snapname_of_id(name, out));
}
END_TEST

/* Any bytes: two names never look the same, since there is one way back. */
START_TEST(test_random)
{
	char name[40], shown[SNAPNAME_MAX + 1], back[SNAPNAME_MAX + 1];
	bool good;
	static const char usual[] = "%%%@@./aF4\n\xc3\xbc\xc2\x9b\xff";

	srand(1);
	for (int i = 0; i < 200000; i++) {
		size_t len = 1 + (size_t)rand() % 12;

		for (size_t j = 0; j < len; j++)
			name[j] = i % 2 ? (char)(1 + rand() % 255) :
					  usual[(size_t)rand() %
						(sizeof(usual) - 1)];
		name[len] = '\0';
		/* an assertion costs a system call: one for all */
		good = snapname_escape(name, shown) && !strchr(shown, '/') &&
		       shown[0] != '@' && strcmp(shown, ".") &&
		       strcmp(shown, "..") && snapname_unescape(shown, back) &&
		       !strcmp(back, name);
		ck_assert_msg(good, "%s, shown as %s", name, shown);
	}
}
END_TEST

SUITE_MAIN("snapname", test_cases, test_no_name, test_not_shown, test_id,
	   test_random)
