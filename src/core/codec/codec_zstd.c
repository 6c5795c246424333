/*
 * codec_zstd: zstd streams. A thread keeps its contexts from its first cluster
 * until it ends.
 */
#if defined(HAVE_ZSTD)

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/threadlocal.h"
#include "core/codec/codec_list.h"

/* The largest cluster. The library's own limit would let every thread be made
 * to allocate 128 MiB. */
#define WINDOW_LOG_MAX 21

struct context {
	ZSTD_DCtx *decoder;
	ZSTD_CCtx *encoder;
};

static struct threadlocal contexts = THREADLOCAL_INIT;

static void free_context(void *p)
{
	struct context *c = p;

	ZSTD_freeDCtx(c->decoder);
	ZSTD_freeCCtx(c->encoder);
	free(c);
}

static struct context *get_context(void)
{
	return threadlocal_get(&contexts, sizeof(struct context),
			       free_context);
}

static ZSTD_DCtx *get_decoder(void)
{
	struct context *c = get_context();
	size_t r;

	if (!c)
		return NULL;
	if (c->decoder) {
		ZSTD_DCtx_reset(c->decoder, ZSTD_reset_session_only);
		return c->decoder;
	}
	c->decoder = ZSTD_createDCtx();
	if (!c->decoder)
		return NULL;
	r = ZSTD_DCtx_setParameter(c->decoder, ZSTD_d_windowLogMax,
				   WINDOW_LOG_MAX);
	if (ZSTD_isError(r)) {
		ZSTD_freeDCtx(c->decoder);
		c->decoder = NULL;
	}
	return c->decoder;
}

static bool is_no_memory(size_t r)
{
	return ZSTD_getErrorCode(r) == ZSTD_error_memory_allocation;
}

/* The cluster may be made of several frames; the last one must end with it. */
static int decompress(void *out, size_t out_len, const void *in, size_t in_len)
{
	ZSTD_outBuffer o = { out, out_len, 0 };
	ZSTD_inBuffer i = { in, in_len, 0 };
	ZSTD_DCtx *d = get_decoder();
	size_t progress;
	size_t r;

	if (!d)
		return -ENOMEM;
	do {
		progress = o.pos + i.pos;
		r = ZSTD_decompressStream(d, &o, &i);
		if (ZSTD_isError(r))
			return is_no_memory(r) ? -ENOMEM : -EIO;
		if (o.pos + i.pos == progress)
			return -EIO;
	} while (o.pos < out_len || r);
	return 0;
}

static int64_t compress_frame(void *out, size_t out_cap, const void *in,
			      size_t in_len)
{
	struct context *c = get_context();
	size_t r;

	if (c && !c->encoder)
		c->encoder = ZSTD_createCCtx();
	if (!c || !c->encoder)
		return -ENOMEM;
	r = ZSTD_compress2(c->encoder, out, out_cap, in, in_len);
	if (!ZSTD_isError(r))
		return (int64_t)r;
	return is_no_memory(r) ? -ENOMEM : -ENOSPC;
}

const struct codec codec_zstd = {
	.name = "zstd",
	.decompress = decompress,
	.compress = compress_frame,
};

#else

/* ISO C wants a declaration in every file. */
typedef int codec_zstd_unused;

#endif
