/* args: see args.h. */
#include "cli/args.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/size.h"

int args_next(int argc, char **argv, const char *letters,
	      const struct option *longs, struct err *err)
{
	char shown[128];
	int at = optind ? optind : 1;
	int opt;

	opterr = 0;
	opt = getopt_long(argc, argv, letters, longs, NULL);
	if (opt != '?' && opt != ':')
		return opt;
	/* a letter may stand among others in one word; a long one is alone */
	if (optopt && optopt < ARGS_LONG)
		snprintf(shown, sizeof(shown), "-%c", optopt);
	else
		err_escape(shown, sizeof(shown),
			   argv[optind > at ? optind - 1 : at],
			   strlen(argv[optind > at ? optind - 1 : at]));
	err_set(err, -EINVAL, opt == ':' ?
			"option %s needs a value; see rawcow %s -h" :
			"option %s is not known; see rawcow %s -h",
		shown, argv[0]);
	return '?';
}

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

int args_list(const char *text,
	      int (*set)(void *ctx, const char *key, const char *value,
			 struct err *err),
	      void *ctx, struct err *err)
{
	autofree char *item = malloc(strlen(text) + 1);

	if (!item)
		return err_set(err, -ENOMEM, "no memory for options");
	while (*text) {
		char *value;
		int ret;

		text = cut_item(item, text);
		value = strchr(item, '=');
		if (value)
			*value++ = '\0';
		for (char *p = item; *p; p++)
			if (*p == '-')
				*p = '_';
		ret = set(ctx, item, value ? value : "on", err);
		if (ret)
			return ret;
	}
	return 0;
}

int args_word(const char *key, const char *value, const char *const *words,
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
	return err_set(err, -EINVAL, "%s=%s is not known; use one of %s", key,
		       err_escape(shown, sizeof(shown), value, strlen(value)),
		       all);
}

int args_output(const char *value, bool *json, struct err *err)
{
	static const char *const words[] = { "human", "json", NULL };
	int i = args_word("--output", value, words, err);

	*json = i == 1;
	return i < 0 ? i : 0;
}

int args_format(const char *value, struct err *err)
{
	static const char *const words[] = { "qcow2", NULL };

	return args_word("-f", value, words, err);
}

int args_bool(const char *key, const char *value, bool *out, struct err *err)
{
	static const char *const words[] = { "on",   "off",   "yes", "no",
					     "true", "false", NULL };
	int i = args_word(key, value, words, err);

	if (i < 0)
		return i;
	*out = i % 2 == 0;
	return 0;
}

int args_size(const char *key, const char *value, uint64_t *out,
	      struct err *err)
{
	char shown[128];
	int ret = size_parse(value, out);

	if (!ret)
		return 0;
	err_escape(shown, sizeof(shown), value, strlen(value));
	return err_set(err, ret, ret == -ERANGE ?
			       "%s '%s' is too big; the most is 8E - 1" :
			       "%s '%s' is no size; write 512, 64k or 10G",
		       key, shown);
}
