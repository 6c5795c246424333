/* args: see args.h. */
#include "cli/args.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/size.h"
#include "core/admin/create.h"
#include "core/image/image.h"

#define OPTS_MAX 32
#define HELP_COLUMN 26
#define KEYS_WIDTH 78

/* --- help ------------------------------------------------------------------ */

/* TEXT, its lines below each other from HELP_COLUMN on; USED columns stand
 * already. */
static void print_column(int used, const char *text)
{
	while (*text) {
		size_t n = strcspn(text, "\n");

		if (used >= HELP_COLUMN) {
			putchar('\n');
			used = 0;
		}
		printf("%*s%.*s\n", HELP_COLUMN - used, "", (int)n, text);
		text += n + (text[n] == '\n');
		used = 0;
	}
}

static void print_opt(const struct args_opt *o)
{
	int used = printf("  ");

	if (o->letter)
		used += printf("-%c%s", o->letter, o->name ? ", " : " ");
	else
		used += printf("    ");
	if (o->name)
		used += printf("--%s%s", o->name, o->value ? "=" : "");
	if (o->value)
		used += printf("%s", o->value);
	print_column(used, o->help);
}

/* Keys of -o, one behind the other. */
static void print_keys(const struct args_opt *k)
{
	int column = 0;

	for (; k->take; k++) {
		int n;

		if (!k->value)
			continue;
		n = (int)(strlen(k->name) + strlen(k->value) + 3);
		if (column)
			putchar(',');
		if (column && column + n > KEYS_WIDTH) {
			putchar('\n');
			column = 0;
		}
		column += printf("%s%s=%s", column ? " " : "      ", k->name,
				 k->value);
	}
	putchar('\n');
}

static void print_help(const struct args_spec *spec)
{
	printf("rawcow %s\n%s\n\n", spec->usage, spec->what);
	for (const struct args_opt *o = spec->opts; o->take || o->letter; o++) {
		if (o->help)
			print_opt(o);
		if (!o->take)
			print_keys(spec->keys);
	}
	puts("  -h, --help              this text");
	if (spec->tail)
		printf("\n%s\n", spec->tail);
}

/* --- options --------------------------------------------------------------- */

static void *field(void *into, const struct args_opt *o)
{
	return (char *)into + o->at;
}

/* The tables of getopt: an option's value there is its place in SPEC + 1. */
struct table {
	struct option longs[OPTS_MAX + 2];
	char letters[2 * OPTS_MAX + 4];
};

static void make_table(const struct args_spec *spec, struct table *t)
{
	char *p = t->letters;
	size_t n = 0;

	memset(t, 0, sizeof(*t));
	*p++ = ':';
	*p++ = 'h';
	t->longs[n++] = (struct option){ "help", no_argument, NULL, 'h' };
	for (int i = 0; spec->opts[i].take || spec->opts[i].letter; i++) {
		const struct args_opt *o = &spec->opts[i];

		if (o->letter)
			*p++ = o->letter;
		if (o->letter && o->value)
			*p++ = ':';
		if (o->name)
			t->longs[n++] = (struct option){
				o->name,
				o->value ? required_argument : no_argument,
				NULL, o->letter ? o->letter : 256 + i
			};
	}
}

static const struct args_opt *find_opt(const struct args_spec *spec, int c)
{
	const struct args_opt *o = spec->opts;

	if (c >= 256)
		return &o[c - 256];
	while (o->letter != c)
		o++;
	return o;
}

/* getopt_long() has met what it does not know at word AT. */
static int unknown(int c, int at, char **argv, struct err *err)
{
	char shown[128];
	const char *why = "is not known";
	const char *word = argv[optind > at ? optind - 1 : at];

	/* a letter may stand among others in one word; a long one is alone */
	if (optopt > 0 && optopt < 256 && strncmp(word, "--", 2))
		snprintf(shown, sizeof(shown), "-%c", optopt);
	else
		err_escape(shown, sizeof(shown), word, strlen(word));
	if (c == ':')
		why = "needs a value";
	else if (optopt && !strncmp(word, "--", 2))
		why = "takes no value";
	return err_set(err, -EINVAL, "option %s %s; see rawcow %s -h", shown,
		       why, argv[0]);
}

static int take_opt(const struct args_spec *spec, void *into, int c,
		    const char *command, struct err *err)
{
	const struct args_opt *o = find_opt(spec, c);
	char name[40];

	if (!o->take)
		return args_list(optarg, spec->keys, into, command, err);
	if (o->name)
		snprintf(name, sizeof(name), "--%s", o->name);
	else
		snprintf(name, sizeof(name), "-%c", o->letter);
	return o->take(field(into, o), name, optarg ? optarg : "on", err);
}

static int take_words(const struct args_spec *spec, void *into, int n,
		      char **words, const char *command, struct err *err)
{
	if (n < (int)spec->min_words || n > (int)spec->max_words)
		return err_set(err, -EINVAL, "%s takes %s; see rawcow %s -h",
			       command, spec->wants, command);
	for (int i = 0; i < n; i++)
		*(char **)((char *)into + spec->words[i]) = words[i];
	return 0;
}

int args_parse(const struct args_spec *spec, void *into, int argc, char **argv,
	       struct err *err)
{
	struct table t;
	int ret = 0;

	make_table(spec, &t);
	opterr = 0;
	while (!ret) {
		int at = optind ? optind : 1;
		int c = getopt_long(argc, argv, t.letters, t.longs, NULL);

		if (c == -1)
			break;
		if (c == 'h') {
			print_help(spec);
			return ARGS_HELPED;
		}
		if (c == '?' || c == ':')
			return unknown(c, at, argv, err);
		ret = take_opt(spec, into, c, argv[0], err);
	}
	if (!ret)
		ret = take_words(spec, into, argc - optind, argv + optind,
				 argv[0], err);
	return ret || !spec->check ? ret : spec->check(into, err);
}

/* --- lists ----------------------------------------------------------------- */

/* Copy one item up to its single comma. Returns what follows the comma. */
static const char *cut_item(char *dst, const char *src)
{
	while (*src && !(src[0] == ',' && src[1] != ',')) {
		if (src[0] == ',')
			src++;
		*dst++ = *src++;
	}
	*dst = '\0';
	return *src ? src + 1 : src;
}

/* May the key K stand alone? Another one would take "on" as a name. */
static bool is_switch(const struct args_opt *k)
{
	return !k->value || !strcmp(k->value, "on|off");
}

static int take_key(const struct args_opt *k, const char *value, void *into,
		    const char *command, struct err *err)
{
	if (value || is_switch(k))
		return k->take(field(into, k), k->name, value ? value : "on",
			       err);
	return err_set(err, -EINVAL,
		       "option -o %s needs a value; see rawcow %s -h", k->name,
		       command);
}

static int take_item(char *item, const struct args_opt *keys, void *into,
		     const char *command, struct err *err)
{
	char *value = strchr(item, '=');
	char shown[64];

	if (value)
		*value++ = '\0';
	for (char *p = item; *p; p++)
		if (*p == '-')
			*p = '_';
	for (const struct args_opt *k = keys; k && k->take; k++)
		if (!strcmp(k->name, item))
			return take_key(k, value, into, command, err);
	return err_set(err, -EINVAL,
		       "option -o %s is not known; see rawcow %s -h",
		       err_escape(shown, sizeof(shown), item, strlen(item)),
		       command);
}

int args_list(const char *text, const struct args_opt *keys, void *into,
	      const char *command, struct err *err)
{
	autofree char *item = malloc(strlen(text) + 1);
	int ret = 0;

	if (!item)
		return err_set(err, -ENOMEM, "no memory for options");
	while (*text && !ret) {
		text = cut_item(item, text);
		ret = take_item(item, keys, into, command, err);
	}
	return ret;
}

/* --- values ---------------------------------------------------------------- */

int args_word(const char *name, const char *value, const char *const *words,
	      struct err *err)
{
	char shown[128];
	char all[160] = "";
	size_t used = 0;

	for (int i = 0; words[i]; i++) {
		if (!strcmp(value, words[i]))
			return i;
		used += (size_t)snprintf(all + used, sizeof(all) - used,
					 "%s%s", i ? ", " : "", words[i]);
	}
	return err_set(err, -EINVAL, "%s=%s is not known; use one of %s", name,
		       err_escape(shown, sizeof(shown), value, strlen(value)),
		       all);
}

int args_flag(void *field, const char *name, const char *value,
	      struct err *err)
{
	(void)name;
	(void)value;
	(void)err;
	*(bool *)field = true;
	return 0;
}

int args_text(void *field, const char *name, const char *value,
	      struct err *err)
{
	(void)name;
	(void)err;
	*(const char **)field = value;
	return 0;
}

int args_fd(void *field, const char *name, const char *value, struct err *err)
{
	char *end = NULL;
	long fd = -1;

	if (*value >= '0' && *value <= '9')
		fd = strtol(value, &end, 10);
	if (!end || *end || fd > INT_MAX || fcntl((int)fd, F_GETFD) < 0)
		return err_set(err, -EINVAL, "%s %.20s is no open file "
			       "descriptor", name, value);
	fcntl((int)fd, F_SETFD, FD_CLOEXEC);
	*(int *)field = (int)fd;
	return 0;
}

int args_output(void *field, const char *name, const char *value,
		struct err *err)
{
	static const char *const words[] = { "human", "json", NULL };
	int i = args_word(name, value, words, err);

	*(bool *)field = i == 1;
	return i < 0 ? i : 0;
}

int args_format(void *field, const char *name, const char *value,
		struct err *err)
{
	static const char *const words[] = { "qcow2", NULL };

	(void)field;
	return args_word(name, value, words, err);
}

int args_prealloc(void *field, const char *name, const char *value,
		  struct err *err)
{
	static const char *const words[] = { "off", "metadata", "falloc",
					     "full", NULL };
	int i = args_word(name, value, words, err);

	if (i < 0)
		return i;
	*(enum create_prealloc *)field = (enum create_prealloc)i;
	return 0;
}

int args_backing(void *field, const char *name, const char *value,
		 struct err *err)
{
	static const char *const words[] = { "dir", "none", "any", NULL };
	int i = args_word(name, value, words, err);

	if (i < 0)
		return i;
	*(enum image_backing *)field = (enum image_backing)i;
	return 0;
}

int args_on_off(void *field, const char *name, const char *value,
		struct err *err)
{
	static const char *const words[] = { "on",   "off",   "yes", "no",
					     "true", "false", NULL };
	int i = args_word(name, value, words, err);

	if (i < 0)
		return i;
	*(bool *)field = i % 2 == 0;
	return 0;
}

int args_size(void *field, const char *name, const char *value,
	      struct err *err)
{
	char shown[128];
	int ret = size_parse(value, field);

	if (!ret)
		return 0;
	err_escape(shown, sizeof(shown), value, strlen(value));
	return err_set(err, ret, ret == -ERANGE ?
			       "%s '%s' is too big; the most is 8E - 1" :
			       "%s '%s' is no size; write 512, 64k or 10G",
		       name, shown);
}

int args_string(void *field, const char *name, const char *value,
		struct err *err)
{
	char **dst = field;

	(void)name;
	free(*dst);
	*dst = strdup(value);
	return *dst ? 0 : err_set(err, -ENOMEM, "no memory for options");
}
