/*
 * imgbuild_deflate: raw deflate with a 4 KiB window, and zstd frames.
 */
#include "lib/imgbuild_deflate.h"

#include <stdlib.h>
#define ZLIB_CONST
#include <zlib.h>
#if defined(HAVE_ZSTD)
#include <zstd.h>
#endif

size_t imgbuild_deflate_zlib(void *out, size_t cap, const void *in, size_t len)
{
	z_stream z = { 0 };
	int ret;

	if (deflateInit2(&z, 9, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY) != Z_OK)
		abort();
	z.next_in = in;
	z.avail_in = (uInt)len;
	z.next_out = out;
	z.avail_out = (uInt)cap;
	ret = deflate(&z, Z_FINISH);
	deflateEnd(&z);
	return ret == Z_STREAM_END ? cap - z.avail_out : 0;
}

size_t imgbuild_deflate_zstd(void *out, size_t cap, const void *in, size_t len)
{
#if defined(HAVE_ZSTD)
	size_t n = ZSTD_compress(out, cap, in, len, 3);

	return ZSTD_isError(n) ? 0 : n;
#else
	(void)out;
	(void)cap;
	(void)in;
	(void)len;
	abort();
#endif
}
