/*
 * utf8: well-formed UTF-8, as RFC 3629 has it: no sequence longer than needed, no
 * surrogates, nothing behind U+10FFFF.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* How many of the LEN bytes at S are its first character, a NUL too; 0: none. */
static inline size_t utf8_char(const uint8_t *s, size_t len)
{
	uint8_t low = 0x80, high = 0xbf; /* of the second byte */
	size_t n;

	if (!len || s[0] < 0x80)
		return len ? 1 : 0;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (s[0] == 0xe0)
		low = 0xa0;
	else if (s[0] == 0xed)
		high = 0x9f;
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;
	if (n > len || s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return n;
}
