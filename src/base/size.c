#include "base/size.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char suffixes[] = "bkMGTPE";

static int suffix_shift(const char *s, unsigned *shift)
{
	const char *p;

	*shift = 0;
	if (!*s)
		return 0;
	for (p = suffixes; *p && tolower(*p) != tolower(*s); p++)
		;
	if (!*p)
		return -EINVAL;
	*shift = (unsigned)(p - suffixes) * 10;
	s++;
	if (*shift && (!strcasecmp(s, "ib") || !strcasecmp(s, "b")))
		return 0;
	return *s ? -EINVAL : 0;
}

int size_parse(const char *text, uint64_t *out)
{
	unsigned long long whole;
	unsigned shift;
	long double v;
	char *end;
	char *dot;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	whole = strtoull(text, &end, 10);
	if (errno)
		return -ERANGE;
	v = (long double)whole;
	dot = end;
	if (*dot == '.') {
		long double unit = 0.1L;

		if (!isdigit((unsigned char)dot[1]))
			return -EINVAL;
		for (end = dot + 1; isdigit((unsigned char)*end); end++) {
			v += unit * (*end - '0');
			unit /= 10;
		}
	}
	if (suffix_shift(end, &shift) < 0)
		return -EINVAL;
	if (*dot == '.' && shift == 0)
		return -EINVAL;
	v *= (long double)(1ULL << shift);
	if (v >= 0x1p63L)
		return -ERANGE;
	*out = (uint64_t)v;
	return 0;
}

const char *size_format(char buf[SIZE_TEXT_MAX], uint64_t v)
{
	static const char *const units[] = { "B",   "KiB", "MiB", "GiB",
					     "TiB", "PiB", "EiB" };
	unsigned i = 0;
	double d = (double)v;

	while (d >= 1000 && i < 6) {
		d /= 1024;
		i++;
	}
	snprintf(buf, SIZE_TEXT_MAX, "%0.3g %s", d, units[i]);
	return buf;
}
