/*
 * fuzz: what the fuzz targets share. A target is one file with
 * LLVMFuzzerTestOneInput(); it is linked with driver.c as an ordinary test and,
 * under --enable-fuzzing, with libFuzzer.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* An assertion that NDEBUG leaves alone. */
#define FUZZ_CHECK(x)                                                         \
	do {                                                                  \
		if (!(x)) {                                                   \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__,    \
				#x);                                          \
			abort();                                              \
		}                                                             \
	} while (0)
