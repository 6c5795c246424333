#include "base/err.h"

#include <stdio.h>
#include <string.h>

static void __attribute__((format(printf, 2, 0)))
set_text(struct err *err, const char *fmt, va_list ap)
{
	int n = vsnprintf(err->text, sizeof(err->text), fmt, ap);

	if (n >= (int)sizeof(err->text))
		memcpy(err->text + sizeof(err->text) - 4, "...", 4);
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
	struct err outer;
	va_list ap;

	if (!err)
		return;
	inner = *err;
	va_start(ap, fmt);
	set_text(&outer, fmt, ap);
	va_end(ap);
	err_set(err, 0, "%s: %s", outer.text, inner.text);
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
