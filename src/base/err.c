#include "base/err.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define CONTEXT_MIN 64 /* bytes that a reason leaves to where it was met */

static void __attribute__((format(printf, 2, 0)))
set_text(struct err *err, const char *fmt, va_list ap)
{
	int n = vsnprintf(err->text, sizeof(err->text), fmt, ap);

	if (n >= (int)sizeof(err->text))
		memcpy(err->text + sizeof(err->text) - 4, "...", 4);
	/* a file's name may hold anything */
	for (char *p = err->text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
}

int err_set(struct err *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return code;
	va_start(ap, fmt);
	set_text(err, fmt, ap);
	va_end(ap);
	return code;
}

int err_set_sys(struct err *err, int code, const char *fmt, ...)
{
	struct err text;
	char buf[128];
	va_list ap;

	if (!err)
		return code;
	va_start(ap, fmt);
	set_text(&text, fmt, ap);
	va_end(ap);
	return err_set(err, code, "%s: %s", text.text,
		       strerror_r(-code, buf, sizeof(buf)));
}

void err_wrap(struct err *err, const char *fmt, ...)
{
	struct err inner;
	char outer[PATH_MAX + CONTEXT_MIN];
	size_t len, room = sizeof(err->text) - sizeof(": ");
	va_list ap;

	if (!err)
		return;
	inner = *err;
	va_start(ap, fmt);
	vsnprintf(outer, sizeof(outer), fmt, ap);
	va_end(ap);
	len = strlen(inner.text);
	room = len + CONTEXT_MIN < room ? room - len : CONTEXT_MIN;
	len = strlen(outer);
	if (len <= room)
		err_set(err, 0, "%s: %s", outer, inner.text);
	else /* of a path the end says most */
		err_set(err, 0, "...%s: %s", outer + len - room + 3,
			inner.text);
}

void err_append(struct err *err, const char *fmt, ...)
{
	struct err inner;
	struct err more;
	va_list ap;

	if (!err)
		return;
	inner = *err;
	va_start(ap, fmt);
	set_text(&more, fmt, ap);
	va_end(ap);
	err_set(err, 0, "%s%s", inner.text, more.text);
}

const char *err_escape(char *dst, unsigned long size, const void *src,
		       unsigned long len)
{
	const unsigned char *s = src;
	unsigned long n = 0;

	for (unsigned long i = 0; i < len && n + 5 <= size; i++) {
		if (s[i] == '\\' || s[i] == '\'' || s[i] == '"')
			n += (unsigned long)snprintf(dst + n, 3, "\\%c", s[i]);
		else if (s[i] >= 0x20 && s[i] < 0x7f)
			dst[n++] = (char)s[i];
		else
			n += (unsigned long)snprintf(dst + n, 5, "\\x%02x",
						     s[i]);
	}
	if (size)
		dst[n] = '\0';
	return dst;
}
