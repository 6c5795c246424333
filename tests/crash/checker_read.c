/* checker_read: what the guest sees in an image that was walked. */
#include <inttypes.h>
#include <zlib.h>
#if defined(HAVE_ZSTD)
#include <zstd.h>
#endif

#include "checker_priv.h"

void checker_decode(const struct checker_head *h, uint64_t raw,
		    struct checker_ref *ref)
{
	unsigned x = 62 - (h->cluster_bits - 8);

	ref->len = 0;
	ref->hoff = 0;
	if (raw == STREAM_PART) {
		ref->kind = CHECKER_STREAM_PART;
		return;
	}
	if (raw & STREAM) {
		uint64_t more = (raw & (STREAM - 1)) >> x;

		ref->kind = CHECKER_STREAM;
		ref->hoff = raw & ((1ULL << x) - 1);
		ref->len = 512 * (more + 1) - (ref->hoff & 511);
		return;
	}
	ref->hoff = raw & ENTRY_OFF;
	if (h->data_file && raw & COPIED && !(raw & 1)) {
		ref->kind = CHECKER_PLAIN; /* at 0, too */
		ref->hoff += h->data_base;
		return;
	}
	if (h->version >= 3 && (raw & 1))
		ref->kind = CHECKER_ZERO;
	else
		ref->kind = ref->hoff ? CHECKER_PLAIN : CHECKER_UNALLOCATED;
}

int checker_run_deep(struct checker *c, const uint8_t *img, uint64_t len)
{
	uint8_t *buf;
	int rc = checker_run(c, img, len);

	if (rc)
		return rc;
	buf = grow(NULL, csize(c));
	for (unsigned t = 0; t < c->trees && !rc; t++) {
		for (uint64_t g = 0; g < c->map_n && !rc; g++) {
			struct checker_ref ref;

			checker_decode(&c->h, c->map[t][g], &ref);
			if (ref.kind != CHECKER_STREAM)
				continue;
			if (ref.len > len - ref.hoff)
				ref.len = len - ref.hoff;
			if (checker_inflate(c->h.compression, buf, csize(c),
					    img + ref.hoff, ref.len))
				rc = checker_fault(c,
					   "compressed data at %#" PRIx64
					      " broken", ref.hoff);
		}
	}
	free(buf);
	return rc;
}

static int inflate_raw(void *out, size_t out_len, const void *in, size_t in_len)
{
	static __thread z_stream z;
	static __thread bool ready;
	int rc;

	if (!ready && inflateInit2(&z, -15) != Z_OK)
		abort();
	if (ready)
		inflateReset(&z);
	ready = true;
	z.next_in = (Bytef *)(uintptr_t)in;
	z.avail_in = (uInt)in_len;
	z.next_out = out;
	z.avail_out = (uInt)out_len;
	rc = inflate(&z, Z_FINISH);
	if (z.avail_out || (rc != Z_STREAM_END && rc != Z_BUF_ERROR))
		return -1;
	return 0;
}

int checker_inflate(unsigned compression, void *out, size_t out_len,
		    const void *in, size_t in_len)
{
	if (compression == 0)
		return inflate_raw(out, out_len, in, in_len);
#if defined(HAVE_ZSTD)
	if (compression == 1) {
		ZSTD_DCtx *d = ZSTD_createDCtx();
		ZSTD_inBuffer ib = { in, in_len, 0 };
		ZSTD_outBuffer ob = { out, out_len, 0 };

		while (ob.pos < ob.size && ib.pos < ib.size) {
			size_t r = ZSTD_decompressStream(d, &ob, &ib);

			if (ZSTD_isError(r) || !r)
				break;
		}
		ZSTD_freeDCtx(d);
		return ob.pos == ob.size ? 0 : -1;
	}
#endif
	return -1;
}

const uint8_t *checker_plain(const struct checker_head *h, const uint8_t *data,
			     uint64_t hoff, uint64_t sec, uint8_t buf[512])
{
	if (!h->crypt)
		return data;
	/* a data file's sectors are numbered in that file */
	if (h->data_file)
		hoff -= h->data_base;
	guestcrypt_decrypt(h->crypt, buf, data, hoff, sec * 512);
	return buf;
}

bool checker_read(const struct checker *c, const uint8_t *img, uint64_t len,
		  unsigned tree, uint64_t sec, uint8_t out[512])
{
	uint64_t in = sec * 512 & ((1ULL << c->h.unit_bits) - 1);
	uint64_t u = sec * 512 >> c->h.unit_bits;
	struct checker_ref ref;
	uint8_t *buf;

	memset(out, 0, 512);
	if (u >= c->map_n)
		return true;
	checker_decode(&c->h, c->map[tree][u], &ref);
	if (ref.kind == CHECKER_STREAM_PART) {
		u &= ~(units(c) - 1ULL);
		checker_decode(&c->h, c->map[tree][u], &ref);
	}
	if (ref.kind == CHECKER_STREAM)
		in = sec * 512 & (csize(c) - 1);
	switch (ref.kind) {
	case CHECKER_UNALLOCATED:
		return false;
	case CHECKER_ZERO:
		return true;
	case CHECKER_PLAIN:
		if (c->h.data_file)
			memcpy(out, img + ref.hoff + in, 512);
		else if (ref.hoff + in < len)
			memcpy(out, img + ref.hoff + in,
			       len - ref.hoff - in < 512 ?
				       len - ref.hoff - in : 512);
		checker_plain(&c->h, out, ref.hoff + in, sec, out);
		return true;
	case CHECKER_STREAM:
		buf = grow(NULL, csize(c));
		if (ref.len > len - ref.hoff)
			ref.len = len - ref.hoff;
		if (!checker_inflate(c->h.compression, buf, csize(c),
				     img + ref.hoff, ref.len))
			memcpy(out, buf + in, 512);
		else
			memset(out, 0xee, 512);
		free(buf);
		return true;
	case CHECKER_STREAM_PART:
		break;
	}
	return true;
}
