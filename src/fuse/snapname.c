#include "fuse/snapname.h"

#include <stdint.h>
#include <string.h>

#include "base/utf8.h"

static const char hex[] = "0123456789ABCDEF";

/* The value of an upper-case hex digit, or -1. */
static int digit(char c)
{
	const char *p = c ? strchr(hex, c) : NULL;

	return p ? (int)(p - hex) : -1;
}

static bool is_escape(const char *s)
{
	return s[0] == '%' && digit(s[1]) >= 0 && digit(s[2]) >= 0;
}

/* How many bytes at S are one character that may stand as it is; 0: none. */
static size_t plain(const char *text)
{
	const uint8_t *s = (const uint8_t *)text;
	size_t n = utf8_char(s, strlen(text));

	if (n == 1)
		return s[0] >= 0x20 && s[0] != 0x7f && s[0] != '/' &&
		       !is_escape(text);
	if (n == 2 && s[0] == 0xc2 && s[1] < 0xa0) /* control characters */
		return 0;
	return n;
}

static bool put_escaped(char *out, size_t *n, char c)
{
	if (*n + 3 > SNAPNAME_MAX)
		return false;
	out[(*n)++] = '%';
	out[(*n)++] = hex[(uint8_t)c >> 4];
	out[(*n)++] = hex[(uint8_t)c & 15];
	return true;
}

static bool put_plain(char *out, size_t *n, const char *s, size_t len)
{
	if (*n + len > SNAPNAME_MAX)
		return false;
	memcpy(out + *n, s, len);
	*n += len;
	return true;
}

/* Append NAME to OUT at N. */
static bool append(const char *name, char *out, size_t n)
{
	bool ok = *name;

	if (*name == '@' || !strcmp(name, ".") || !strcmp(name, ".."))
		ok = put_escaped(out, &n, *name++);
	while (ok && *name) {
		size_t len = plain(name);

		ok = len ? put_plain(out, &n, name, len)
			 : put_escaped(out, &n, *name);
		name += len ? len : 1;
	}
	out[n] = '\0';
	return ok;
}

bool snapname_escape(const char *name, char *out)
{
	return append(name, out, 0);
}

bool snapname_of_id(const char *id, char *out)
{
	*out = '@';
	return append(id, out, 1);
}

bool snapname_unescape(const char *shown, char *out)
{
	char again[SNAPNAME_MAX + 1];
	size_t n = 0;

	if (strlen(shown) > SNAPNAME_MAX)
		return false;
	for (const char *s = shown; *s; n++) {
		bool esc = is_escape(s);

		out[n] = esc ? (char)(digit(s[1]) << 4 | digit(s[2])) : *s;
		s += esc ? 3 : 1;
	}
	out[n] = '\0';
	return snapname_escape(out, again) && !strcmp(again, shown);
}
