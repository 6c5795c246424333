/*
 * imgbuild_deflate: compressed streams for imgbuild, straight from the
 * libraries.
 */
#pragma once

#include <stddef.h>

/* Length of the stream in OUT; 0 when it does not fit into CAP bytes. */
size_t imgbuild_deflate_zlib(void *out, size_t cap, const void *in, size_t len);
/* Aborts in a build without zstd. */
size_t imgbuild_deflate_zstd(void *out, size_t cap, const void *in, size_t len);
