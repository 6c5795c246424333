/*
 * size: numbers of bytes as people write them.
 */
#pragma once

#include <stdint.h>

/*
 * Parse "64k", "10G", "1.5G", "512": an optional suffix b, k, M, G, T, P or E
 * (powers of 1024, either case, an optional "iB" or "B" after it). Returns 0,
 * -EINVAL for anything else, -ERANGE when the result is 2^63 or more.
 */
int size_parse(const char *text, uint64_t *out);

#define SIZE_TEXT_MAX 32

/* Write V as qemu-img does, "10 GiB (10737418240 bytes)" without the part in
 * parentheses: three significant digits. Returns BUF. */
const char *size_format(char buf[SIZE_TEXT_MAX], uint64_t v);
