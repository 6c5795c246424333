/* codec: round trips, streams of other encoders, broken and hostile streams. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#if defined(HAVE_ZSTD)
#include <zstd.h>
#endif

#include "core/codec/codec.h"
#include "suite.h"

#define CLUSTER 65536U
#define CAP (2 * CLUSTER)

static uint64_t rng = 88172645463325252ULL;

static uint64_t rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

enum fill { FILL_ZERO, FILL_TEXT, FILL_MIXED, FILL_RANDOM, NR_FILL };

static void fill(uint8_t *p, size_t len, enum fill how)
{
	for (size_t i = 0; i < len; i++) {
		if (how == FILL_ZERO)
			p[i] = 0;
		else if (how == FILL_TEXT || (how == FILL_MIXED && i & 4096))
			p[i] = (uint8_t)"the quick brown fox "[rnd() % 20 & ~3U];
		else
			p[i] = (uint8_t)rnd();
	}
}

/* Decode from a buffer of exactly LEN bytes. */
static int decode(const struct codec *c, void *out, size_t out_len,
		  const void *in, size_t len)
{
	uint8_t *exact = malloc(len ? len : 1);
	int r;

	memcpy(exact, in, len);
	r = c->decompress(out, out_len, exact, len);
	free(exact);
	return r;
}

START_TEST(test_get)
{
	ck_assert_str_eq(codec_get(0)->name, "zlib");
#if defined(HAVE_ZSTD)
	ck_assert_str_eq(codec_get(1)->name, "zstd");
#endif
	ck_assert_ptr_null(codec_get(2));
	ck_assert_ptr_null(codec_get(255));
}
END_TEST

static void check_roundtrip(const struct codec *c, size_t cluster, enum fill how)
{
	uint8_t *in = malloc(cluster);
	uint8_t *packed = calloc(1, 4 * cluster + 1024);
	uint8_t *out = malloc(cluster + 1);
	int64_t n;

	fill(in, cluster, how);
	n = c->compress(packed, 2 * cluster, in, cluster);
	ck_assert_int_gt(n, 0);
	ck_assert_int_eq(c->compress(packed + n, (size_t)n - 1, in, cluster), -ENOSPC);
	memset(packed + n, 0xa5, 512); /* the rest of the last sector */
	for (size_t extra = 0; extra <= 511; extra += 255) {
		memset(out, 0xee, cluster + 1);
		ck_assert_int_eq(decode(c, out, cluster, packed, (size_t)n + extra), 0);
		ck_assert_mem_eq(out, in, cluster);
		ck_assert_uint_eq(out[cluster], 0xee);
	}
	/* More than the stream holds, and streams that were cut. */
	ck_assert_int_eq(decode(c, out, cluster + 1, packed, (size_t)n), -EIO);
	ck_assert_int_eq(decode(c, out, cluster, packed, (size_t)n / 2), -EIO);
	ck_assert_int_eq(decode(c, out, cluster, packed, 1), -EIO);
	ck_assert_int_eq(decode(c, out, cluster, packed, 0), -EIO);
	/* And a good one after the bad ones. */
	ck_assert_int_eq(decode(c, out, cluster, packed, (size_t)n), 0);
	ck_assert_mem_eq(out, in, cluster);
	free(out);
	free(packed);
	free(in);
}

START_TEST(test_roundtrip)
{
	static const size_t sizes[] = { 512, 4096, 65536, 2 << 20 };

	for (unsigned type = 0; codec_get(type); type++)
		for (size_t i = 0; i < 4; i++)
			for (unsigned how = 0; how < NR_FILL; how++)
				check_roundtrip(codec_get(type), sizes[i], how);
}
END_TEST

static size_t raw_deflate(void *out, const void *in, size_t len, int window,
			  int level)
{
	z_stream z = { .next_in = (Bytef *)(uintptr_t)in, .avail_in = (uInt)len,
		       .next_out = out, .avail_out = CAP };

	ck_assert_int_eq(deflateInit2(&z, level, Z_DEFLATED, -window, 9, Z_DEFAULT_STRATEGY), Z_OK);
	ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
	deflateEnd(&z);
	return CAP - z.avail_out;
}

/* What zlib alone says, with WINDOW bits. */
static int raw_inflate(void *out, size_t out_len, const void *in, size_t len,
		       int window)
{
	z_stream z = { .next_in = (Bytef *)(uintptr_t)in, .avail_in = (uInt)len,
		       .next_out = out, .avail_out = (uInt)out_len };
	int r;

	ck_assert_int_eq(inflateInit2(&z, -window), Z_OK);
	r = inflate(&z, Z_FINISH);
	inflateEnd(&z);
	return (r == Z_STREAM_END || r == Z_BUF_ERROR) && !z.avail_out ? 0 : -EIO;
}

START_TEST(test_deflate_windows)
{
	static uint8_t in[CLUSTER], packed[CAP], out[CLUSTER];
	const struct codec *c = codec_get(0);

	for (int window = 9; window <= 15; window++) {
		for (int level = 0; level <= 9; level += 3) {
			size_t n;

			fill(in, CLUSTER, FILL_MIXED);
			memcpy(in + 40000, in, 20000); /* needs a far match */
			n = raw_deflate(packed, in, CLUSTER, window, level);
			memset(out, 0, sizeof(out));
			ck_assert_int_eq(decode(c, out, CLUSTER, packed, n), 0);
			ck_assert_mem_eq(out, in, CLUSTER);
		}
	}
}
END_TEST

/* QEMU reads with a window of 12 bits. */
START_TEST(test_deflate_for_qemu)
{
	static uint8_t in[CLUSTER], packed[CAP], out[CLUSTER];
	int64_t n;

	fill(in, CLUSTER, FILL_MIXED);
	memcpy(in + 10000, in, 10000);
	n = codec_get(0)->compress(packed, CAP, in, CLUSTER);
	ck_assert_int_gt(n, 0);
	ck_assert_int_eq(raw_inflate(out, CLUSTER, packed, (size_t)n, 12), 0);
	ck_assert_mem_eq(out, in, CLUSTER);
}
END_TEST

/* The codec (libdeflate first, where it is built in) and zlib alone give the
 * same answer and the same bytes for damaged streams. */
START_TEST(test_deflate_agrees)
{
	static uint8_t in[4096], packed[CAP], out[4096], want[4096];
	const struct codec *c = codec_get(0);
	unsigned good = 0;

	for (unsigned k = 0; k < 2000; k++) {
		size_t n;
		int r;

		fill(in, sizeof(in), k % NR_FILL);
		n = raw_deflate(packed, in, sizeof(in), 12, (int)(k % 10));
		for (unsigned i = k % 4; i; i--)
			packed[rnd() % n] ^= (uint8_t)(1U << rnd() % 8);
		if (k % 5 == 0)
			n -= rnd() % NR_FILL;
		r = raw_inflate(want, sizeof(want), packed, n, 15);
		ck_assert_int_eq(decode(c, out, sizeof(out), packed, n), r);
		if (!r)
			ck_assert_mem_eq(out, want, sizeof(out));
		good += !r;
	}
	ck_assert_uint_gt(good, 250);
	ck_assert_uint_lt(good, 1750);
}
END_TEST

/* A cluster is what is there when it is full, even if more would come. */
START_TEST(test_deflate_longer)
{
	static uint8_t in[CLUSTER], packed[CAP], out[CLUSTER];
	size_t n;

	fill(in, CLUSTER, FILL_TEXT);
	n = raw_deflate(packed, in, CLUSTER, 12, 6);
	ck_assert_int_eq(decode(codec_get(0), out, CLUSTER / 2, packed, n), 0);
	ck_assert_mem_eq(out, in, CLUSTER / 2);
	/* A zlib header makes it another format. */
	memmove(packed + 2, packed, n);
	memcpy(packed, "\x78\x9c", 2);
	ck_assert_int_eq(decode(codec_get(0), out, CLUSTER, packed, n + 2), -EIO);
}
END_TEST

#if defined(HAVE_ZSTD)
/* A frame without its content size, so that the decoder needs a window. */
static size_t stream_zstd(void *out, const void *in, size_t len, int window_log)
{
	ZSTD_CCtx *c = ZSTD_createCCtx();
	ZSTD_outBuffer o = { out, CAP, 0 };
	ZSTD_inBuffer i = { in, len, 0 };
	ZSTD_inBuffer none = { in, 0, 0 };

	ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, window_log);
	ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
	ck_assert(!ZSTD_isError(ZSTD_compressStream2(c, &o, &i, ZSTD_e_continue)));
	ck_assert_uint_eq(ZSTD_compressStream2(c, &o, &none, ZSTD_e_end), 0);
	ZSTD_freeCCtx(c);
	return o.pos;
}

START_TEST(test_zstd_window)
{
	static uint8_t in[CLUSTER], packed[CAP], out[CLUSTER];
	const struct codec *c = codec_get(1);

	fill(in, CLUSTER, FILL_TEXT);
	for (int log = 10; log <= 27; log++) {
		size_t n = stream_zstd(packed, in, CLUSTER, log);

		ck_assert_int_eq(decode(c, out, CLUSTER, packed, n), log <= 21 ? 0 : -EIO);
	}
}
END_TEST

START_TEST(test_zstd_frames)
{
	static uint8_t in[CLUSTER], packed[CAP], out[CLUSTER];
	const struct codec *c = codec_get(1);
	size_t n;

	fill(in, CLUSTER, FILL_TEXT);
	n = ZSTD_compress(packed, CAP, in, 10000, 3);
	n += stream_zstd(packed + n, in + 10000, 20000, 17);
	memcpy(packed + n, "\x50\x2a\x4d\x18\3\0\0\0abc", 11); /* skipped */
	n += 11;
	n += ZSTD_compress(packed + n, CAP - n, in + 30000, CLUSTER - 30000, 1);
	memset(packed + n, 0, 400);
	ck_assert_int_eq(decode(c, out, CLUSTER, packed, n + 400), 0);
	ck_assert_mem_eq(out, in, CLUSTER);
	/* The cluster ends in the middle of the last frame. */
	ck_assert_int_eq(decode(c, out, CLUSTER - 1, packed, n), -EIO);
	/* Two frames are a cluster; what follows does not matter. */
	ck_assert_int_eq(decode(c, out, 30000, packed, n), 0);
	/* Garbage where the next frame should be. */
	ck_assert_int_eq(decode(c, out, 30001, packed, n - 20), -EIO);
	packed[0] ^= 0xff;
	ck_assert_int_eq(decode(c, out, CLUSTER, packed, n), -EIO);
}
END_TEST

START_TEST(test_zstd_checksum)
{
	static uint8_t in[CLUSTER], packed[CAP], out[CLUSTER];
	size_t n;

	fill(in, CLUSTER, FILL_TEXT);
	n = stream_zstd(packed, in, CLUSTER, 17);
	packed[n - 1] ^= 1;
	ck_assert_int_eq(decode(codec_get(1), out, CLUSTER, packed, n), -EIO);
}
END_TEST
#endif

static void *use_codecs(void *arg)
{
	static uint8_t in[4096];
	uint8_t packed[8192], out[4096];

	for (unsigned k = 0; k < 50; k++) {
		for (unsigned type = 0; codec_get(type); type++) {
			const struct codec *c = codec_get(type);
			int64_t n = c->compress(packed, sizeof(packed), in, sizeof(in));

			if (n <= 0 || c->decompress(out, sizeof(out), packed, (size_t)n) ||
			    memcmp(in, out, sizeof(in)))
				return arg;
		}
	}
	return NULL;
}

/* ASan's leak check sees contexts that outlive their threads. */
START_TEST(test_threads)
{
	for (unsigned round = 0; round < 5; round++) {
		pthread_t t[4];
		void *bad;

		for (unsigned i = 0; i < 4; i++)
			ck_assert_int_eq(pthread_create(&t[i], NULL, use_codecs, &rng), 0);
		for (unsigned i = 0; i < 4; i++) {
			ck_assert_int_eq(pthread_join(t[i], &bad), 0);
			ck_assert_ptr_null(bad);
		}
	}
}
END_TEST

SUITE_MAIN("codec", test_get, test_roundtrip, test_deflate_windows,
	   test_deflate_for_qemu, test_deflate_agrees, test_deflate_longer,
#if defined(HAVE_ZSTD)
	   test_zstd_window, test_zstd_frames, test_zstd_checksum,
#endif
	   test_threads)
