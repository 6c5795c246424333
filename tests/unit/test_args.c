/*
 * args: options, words and lists of a command line as a table describes them.
 */
#include <check.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/args.h"
#include "core/image/image.h"
#include "suite.h"

struct into {
	const char *image, *other, *text;
	enum image_backing backing;
	char *file;
	uint64_t size;
	bool quiet, json, lazy;
};

#define AT(f) offsetof(struct into, f)

static const struct args_opt keys[] = {
	{ 0, "lazy_refcounts", "on|off", args_on_off, AT(lazy), NULL },
	{ 0, "backing", "dir|none|any", args_backing, AT(backing), NULL },
	{ 0, "size", "SIZE", args_size, AT(size), NULL },
	{ 0, "file", "FILE", args_string, AT(file), NULL },
	{ 0, "hidden", NULL, args_flag, AT(quiet), NULL },
	ARGS_END
};

static const struct args_opt options[] = {
	{ 't', "text", "TEXT", args_text, AT(text), "a text" },
	{ 0, "a-name-too-long", "FOR-THE-COLUMN", args_text, AT(text),
	  "one line\nanother" },
	ARGS_OUTPUT(AT(json)),
	ARGS_QUIET(AT(quiet)),
	ARGS_FORMAT,
	ARGS_KEYS,
	ARGS_END
};

static int check_into(void *p, struct err *err)
{
	const struct into *i = p;

	return i->text && !strcmp(i->text, "no") ?
		       err_set(err, -EINVAL, "no text") : 0;
}

static const struct args_spec spec = {
	.usage = "test [OPTION...] IMAGE [OTHER]",
	.what = "Test.",
	.opts = options,
	.keys = keys,
	.tail = "The end.",
	.min_words = 1,
	.max_words = 2,
	.wants = "one or two words",
	.words = { AT(image), AT(other) },
	.check = check_into,
};

static struct into got;
static struct err err;

static int parse(const char *a, const char *b, const char *c, const char *d)
{
	char *argv[6] = { NULL };
	const char *from[] = { "test", a, b, c, d };
	static char kept[5][64];
	int argc = 0;

	while (argc < 5 && from[argc]) {
		snprintf(kept[argc], sizeof(kept[argc]), "%s", from[argc]);
		argv[argc] = kept[argc];
		argc++;
	}
	memset(&got, 0, sizeof(got));
	err.text[0] = '\0';
	optind = 0;
	return args_parse(&spec, &got, argc, argv, &err);
}

static void refused(const char *a, const char *b, const char *text)
{
	ck_assert_int_eq(parse(a, b, "image", NULL), -EINVAL);
	ck_assert_msg(strstr(err.text, text), "'%s' lacks '%s'", err.text,
		      text);
}

START_TEST(options_and_words)
{
	ck_assert_int_eq(parse("-t", "x", "image", "other"), 0);
	ck_assert_str_eq(got.text, "x");
	ck_assert_str_eq(got.image, "image");
	ck_assert_str_eq(got.other, "other");
	ck_assert_int_eq(parse("image", "-qtx", NULL, NULL), 0);
	ck_assert(got.quiet);
	ck_assert_str_eq(got.text, "x");
	ck_assert_ptr_null(got.other);
	ck_assert_int_eq(parse("--text=y", "--json", "--", "-q"), 0);
	ck_assert_str_eq(got.image, "-q");
	ck_assert(got.json && !got.quiet);
	ck_assert_int_eq(parse("--output", "json", "i", "-fqcow2"), 0);
	ck_assert(got.json);
	ck_assert_int_eq(parse("--output=human", "i", NULL, NULL), 0);
	ck_assert(!got.json);
}
END_TEST

START_TEST(bad_options)
{
	refused("-x", "-q", "option -x is not known; see rawcow test -h");
	refused("-qx", "-q", "option -x is not known");
	refused("--xyz", "-q", "option --xyz is not known");
	refused("--quiet=1", "-q", "--quiet=1 takes no value");
	refused("--json=1", "-q", "--json=1 takes no value");
	refused("-fraw", "-q", "--format=raw is not known; use one of qcow2");
	refused("--output=xml", "-q", "use one of human, json");
	refused("-t", "no", "no text");
	ck_assert_int_eq(parse("image", "-t", NULL, NULL), -EINVAL);
	ck_assert_str_eq(err.text, "option -t needs a value; see rawcow test -h");
	ck_assert_int_eq(parse("image", "--text", NULL, NULL), -EINVAL);
	ck_assert(strstr(err.text, "option --text needs a value"));
	ck_assert_int_eq(parse("-q", NULL, NULL, NULL), -EINVAL);
	ck_assert_str_eq(err.text,
			 "test takes one or two words; see rawcow test -h");
	ck_assert_int_eq(parse("a", "b", "c", NULL), -EINVAL);
	/* what a terminal would obey comes out as text */
	refused("--a\033[2J", "-q", "\\x1b");
}
END_TEST

START_TEST(keys_of_a_list)
{
	ck_assert_int_eq(parse("-o", "size=64k,lazy-refcounts", "i", NULL), 0);
	ck_assert_uint_eq(got.size, 65536);
	ck_assert(got.lazy);
	ck_assert_int_eq(parse("-olazy_refcounts=off,backing=any", "i", NULL,
			       NULL), 0);
	ck_assert(!got.lazy && got.backing == IMAGE_BACKING_ANY);
	ck_assert_int_eq(parse("-o", "", "i", NULL), 0);
	refused("-o", "size=64k,other=1", "option -o other is not known");
	refused("-o", "size=1,,2", "size '1,2' is no size");
	/* "on" is a file's name, too */
	refused("-o", "file", "option -o file needs a value; see rawcow test");
	ck_assert_ptr_null(got.file);
	refused("-o", "size", "option -o size needs a value");
	ck_assert_int_eq(parse("-o", "hidden", "i", NULL), 0);
	ck_assert(got.quiet);
	refused("-o", "lazy_refcounts=maybe", "use one of on, off");
	refused("-o", "backing=", "use one of dir, none, any");
	ck_assert_int_eq(parse("-o", "size=9E", "i", NULL), -ERANGE);
}
END_TEST

/* The help names all that is in the tables, in lines of 80 columns. */
START_TEST(help)
{
	static const char *const want[] = {
		"rawcow test [OPTION...] IMAGE [OTHER]\nTest.\n",
		"  -t, --text=TEXT         a text\n",
		"      --a-name-too-long=FOR-THE-COLUMN\n"
		"                          one line\n"
		"                          another\n",
		"  -q, --quiet             print nothing but errors\n",
		"      lazy_refcounts=on|off, backing=dir|none|any, size=SIZE, "
		"file=FILE\n",
		"\nThe end.\n"
	};
	char text[4096] = "";
	int out = dup(STDOUT_FILENO), fds[2];

	fflush(stdout);
	ck_assert_int_eq(pipe(fds), 0);
	dup2(fds[1], STDOUT_FILENO);
	ck_assert_int_eq(parse("-q", "--help", "-x", NULL), ARGS_HELPED);
	fflush(stdout);
	dup2(out, STDOUT_FILENO);
	close(fds[1]);
	ck_assert_int_gt(read(fds[0], text, sizeof(text) - 1), 0);
	for (size_t i = 0; i < sizeof(want) / sizeof(*want); i++)
		ck_assert_msg(strstr(text, want[i]), "lacks '%s':\n%s", want[i],
			      text);
	ck_assert(!strstr(text, "hidden") && !strstr(text, "--json   "));
}
END_TEST

SUITE_MAIN("args", options_and_words, bad_options, keys_of_a_list, help)
