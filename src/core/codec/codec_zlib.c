/*
 * codec_zlib: raw deflate streams (RFC 1951, no zlib header). A thread keeps
 * its contexts from its first cluster until it ends.
 */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <zlib.h>
#if defined(HAVE_LIBDEFLATE)
#include <libdeflate.h>
#endif

#include "base/threadlocal.h"
#include "core/codec/codec_list.h"

#define DECODE_WINDOW_BITS (-15) /* negative: raw; takes all smaller ones */
#define ENCODE_WINDOW_BITS (-12) /* the largest that QEMU reads */
#define ENCODE_MEM_LEVEL 9

struct context {
	z_stream inflate;
	z_stream deflate;
	bool have_inflate;
	bool have_deflate;
#if defined(HAVE_LIBDEFLATE)
	struct libdeflate_decompressor *fast;
#endif
};

static struct threadlocal contexts = THREADLOCAL_INIT;

static void free_context(void *p)
{
	struct context *c = p;

	if (c->have_inflate)
		inflateEnd(&c->inflate);
	if (c->have_deflate)
		deflateEnd(&c->deflate);
#if defined(HAVE_LIBDEFLATE)
	libdeflate_free_decompressor(c->fast);
#endif
	free(c);
}

static struct context *get_context(void)
{
	return threadlocal_get(&contexts, sizeof(struct context),
			       free_context);
}

static bool too_long(size_t a, size_t b)
{
	return a > UINT_MAX || b > UINT_MAX;
}

static void set_buffers(z_stream *z, void *out, size_t out_len, const void *in,
			size_t in_len)
{
	/* zlib's type has no const unless ZLIB_CONST is defined; it only
	 * reads. */
	z->next_in = (Bytef *)(uintptr_t)in;
	z->avail_in = (uInt)in_len;
	z->next_out = out;
	z->avail_out = (uInt)out_len;
}

static int slow_decompress(struct context *c, void *out, size_t out_len,
			   const void *in, size_t in_len)
{
	z_stream *z = &c->inflate;
	int r;

	if (c->have_inflate)
		inflateReset(z);
	else if (inflateInit2(z, DECODE_WINDOW_BITS) != Z_OK)
		return -ENOMEM;
	c->have_inflate = true;
	set_buffers(z, out, out_len, in, in_len);
	r = inflate(z, Z_FINISH);
	if (r == Z_MEM_ERROR)
		return -ENOMEM;
	/* Z_BUF_ERROR: the cluster is complete, and the end of the stream was
	 * cut off or would hold more. */
	if (r != Z_STREAM_END && r != Z_BUF_ERROR)
		return -EIO;
	return z->avail_out ? -EIO : 0;
}

/* True if libdeflate produced all of OUT. What it does not like is left to
 * zlib, whose answer counts. */
static bool fast_decompress(struct context *c, void *out, size_t out_len,
			    const void *in, size_t in_len)
{
#if defined(HAVE_LIBDEFLATE)
	size_t used;

	if (!c->fast)
		c->fast = libdeflate_alloc_decompressor();
	if (!c->fast)
		return false;
	/* The plain variant would take the bytes behind the stream amiss. */
	return libdeflate_deflate_decompress_ex(c->fast, in, in_len, out,
						out_len, &used, NULL) ==
	       LIBDEFLATE_SUCCESS;
#else
	(void)c, (void)out, (void)out_len, (void)in, (void)in_len;
	return false;
#endif
}

static int decompress(void *out, size_t out_len, const void *in, size_t in_len)
{
	struct context *c = get_context();

	if (!c)
		return -ENOMEM;
	if (too_long(out_len, in_len))
		return -EIO;
	if (fast_decompress(c, out, out_len, in, in_len))
		return 0;
	return slow_decompress(c, out, out_len, in, in_len);
}

static int64_t compress_raw(void *out, size_t out_cap, const void *in,
			    size_t in_len)
{
	struct context *c = get_context();
	z_stream *z;

	if (!c)
		return -ENOMEM;
	if (too_long(out_cap, in_len))
		return -ENOSPC;
	z = &c->deflate;
	if (c->have_deflate)
		deflateReset(z);
	else if (deflateInit2(z, Z_DEFAULT_COMPRESSION, Z_DEFLATED,
			      ENCODE_WINDOW_BITS, ENCODE_MEM_LEVEL,
			      Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	c->have_deflate = true;
	set_buffers(z, out, out_cap, in, in_len);
	if (deflate(z, Z_FINISH) != Z_STREAM_END)
		return -ENOSPC;
	return (int64_t)(out_cap - z->avail_out);
}

const struct codec codec_zlib = {
	.name = "zlib",
	.decompress = decompress,
	.compress = compress_raw,
};
