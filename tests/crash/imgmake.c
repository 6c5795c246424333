#include "imgmake.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define COPIED (1ULL << 63)
#define STREAM (1ULL << 62)

struct making {
	const struct imgmake *m;
	struct imgmake_out *out;
	uint64_t cs, cap, next; /* next: free cluster */
	uint32_t *refs;
	uint64_t stream_end; /* byte behind the last compressed stream */
	struct oracle tags;
};

static void wr32(uint8_t *p, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(p, &v, 4);
}

static void wr64(uint8_t *p, uint64_t v)
{
	v = __builtin_bswap64(v);
	memcpy(p, &v, 8);
}

static uint64_t take(struct making *k, uint64_t n, uint32_t refs)
{
	uint64_t first = k->next;

	k->next += n;
	if (k->next > k->cap)
		abort();
	for (uint64_t i = first; i < k->next; i++)
		k->refs[i] = refs;
	return first * k->cs;
}

static void guest_bytes(struct making *k, uint64_t g, uint8_t *buf)
{
	uint64_t per = k->cs / 512;

	for (uint64_t i = 0; i < per; i++) {
		oracle_fill(&k->tags, g * per + i, ORACLE_INIT, buf + i * 512);
		k->out->init[g * per + i] = ORACLE_INIT;
	}
}

/* Encrypt what was built at BUF for guest cluster G, which lies at HOFF. */
static void seal(const struct making *k, uint64_t g, uint8_t *buf,
		 uint64_t hoff)
{
	if (!k->m->crypt)
		return;
	for (uint64_t at = 0; at < k->cs; at += 512)
		guestcrypt_encrypt(k->m->crypt, buf + at, buf + at, hoff + at,
				   g * k->cs + at);
}

static size_t deflate_raw(uint8_t *out, size_t cap, const uint8_t *in,
			  size_t len)
{
	z_stream z = { 0 };
	int rc;

	if (deflateInit2(&z, 9, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY) != Z_OK)
		abort();
	z.next_in = (Bytef *)(uintptr_t)in;
	z.avail_in = (uInt)len;
	z.next_out = out;
	z.avail_out = (uInt)cap;
	rc = deflate(&z, Z_FINISH);
	deflateEnd(&z);
	if (rc != Z_STREAM_END)
		abort();
	return cap - z.avail_out;
}

static uint64_t add_stream(struct making *k, uint64_t g, uint32_t refs)
{
	uint8_t *plain = malloc(k->cs), *packed = malloc(k->cs);
	unsigned x = 62 - (k->m->cluster_bits - 8);
	uint64_t off, first, last, more;
	size_t len;

	if (!plain || !packed)
		abort();
	guest_bytes(k, g, plain);
	len = deflate_raw(packed, k->cs, plain, k->cs);
	off = k->stream_end;
	/* streams share clusters where the refcount can count them */
	if (k->m->refcount_order < 2 || !off || off % k->cs + len > k->cs)
		off = take(k, 1, 0);
	memcpy(k->out->img + off, packed, len);
	k->stream_end = off + len;
	first = off / k->cs;
	more = (off + len - 1) / 512 - off / 512;
	last = ((off / 512 + more) * 512 + 511) / k->cs;
	for (uint64_t i = first; i <= last; i++)
		k->refs[i] += refs;
	free(plain);
	free(packed);
	return STREAM | more << x | off;
}

/* Zero or junk lies where nothing is mapped, but zero in a raw data file. */
static uint64_t data_file_entry(struct making *k, uint64_t g, char what)
{
	uint64_t per = k->cs / 512;

	if (what == 'd' || what == 'c') {
		guest_bytes(k, g, k->out->data + g * k->cs);
		seal(k, g, k->out->data + g * k->cs, g * k->cs);
		return g * k->cs | COPIED;
	}
	if (what != 'z' && what != 'a')
		return 0;
	for (uint64_t i = 0; i < per; i++)
		k->out->init[g * per + i] = ORACLE_ZERO;
	return what == 'z' ? 1 : g * k->cs | COPIED | 1;
}

/* Every third subcluster has data, every third is zero; there is junk where
 * nobody may look. Returns the bitmap. */
static uint64_t fill_subclusters(struct making *k, uint64_t g, uint8_t *buf)
{
	uint64_t sub = k->cs / 32, per = k->cs / 512, bits = 0;
	uint8_t *plain = malloc(k->cs);
	uint32_t *init = k->out->init + g * per;

	if (!plain)
		abort();
	memset(buf, 0xa5, k->cs);
	for (uint64_t i = 0; i < per; i++)
		oracle_fill(&k->tags, g * per + i, ORACLE_INIT,
			    plain + i * 512);
	for (unsigned x = 0; x < 32; x++) {
		if (x % 3 == 0)
			memcpy(buf + x * sub, plain + x * sub, sub);
		bits |= x % 3 == 0 ? 1ULL << x : x % 3 == 1 ? 1ULL << (32 + x) : 0;
		for (uint64_t i = x * sub / 512; i < (x + 1) * sub / 512; i++)
			if (x % 3 < 2)
				init[i] = x % 3 ? ORACLE_ZERO : ORACLE_INIT;
	}
	free(plain);
	return bits;
}

/* The entry, and in *BITS what an extended one has as its bitmap. */
static uint64_t entry_for(struct making *k, uint64_t g, char what,
			  uint64_t *bits)
{
	uint64_t zero = k->m->extended ? 0 : 1;
	uint32_t refs = k->m->snapshot ? 2 : 1;
	uint64_t copied = k->m->snapshot ? 0 : COPIED, per = k->cs / 512, off;

	*bits = 0;
	if (k->m->data_file)
		return data_file_entry(k, g, what);
	switch (what) {
	case 's':
		off = take(k, 1, refs);
		*bits = fill_subclusters(k, g, k->out->img + off);
		seal(k, g, k->out->img + off, off);
		return off | copied;
	case 'd':
		off = take(k, 1, refs);
		guest_bytes(k, g, k->out->img + off);
		seal(k, g, k->out->img + off, off);
		*bits = 0xffffffff;
		return off | copied;
	case 'c':
		return add_stream(k, g, refs);
	case 'z':
	case 'a':
		if (k->m->version < 3)
			return 0;
		for (uint64_t i = 0; i < per; i++)
			k->out->init[g * per + i] = ORACLE_ZERO;
		*bits = 0xffffffffULL << 32;
		if (what == 'z')
			return zero;
		off = take(k, 1, refs);
		memset(k->out->img + off, 0xa5, k->cs);
		return off | copied | zero;
	default:
		return 0;
	}
}

static void make_tree(struct making *k, uint64_t l1)
{
	unsigned size = k->m->extended ? 16 : 8;
	uint64_t span = k->cs / size, n = strlen(k->m->preset), l2 = 0;
	uint64_t copied = k->m->snapshot ? 0 : COPIED;

	for (uint64_t g = 0; g < n && g < k->m->clusters; g++) {
		uint64_t bits;
		uint64_t raw = entry_for(k, g, k->m->preset[g], &bits);

		if (!raw && !(k->m->extended && bits))
			continue;
		l2 = __builtin_bswap64(
			*(uint64_t *)(void *)(k->out->img + l1 + g / span * 8));
		l2 &= ~COPIED;
		if (!l2) {
			l2 = take(k, 1, k->m->snapshot ? 2 : 1);
			wr64(k->out->img + l1 + g / span * 8, l2 | copied);
		}
		wr64(k->out->img + l2 + g % span * size, raw);
		if (k->m->extended)
			wr64(k->out->img + l2 + g % span * size + 8, bits);
	}
}

static void make_snapshot(struct making *k, uint64_t l1, uint32_t entries)
{
	uint64_t len = 8ULL * entries;
	uint64_t copy = take(k, (len + k->cs - 1) / k->cs, 1);
	uint64_t table = take(k, 1, 1);
	uint8_t *p = k->out->img + table;

	memcpy(k->out->img + copy, k->out->img + l1, len);
	wr64(p, copy);
	wr32(p + 8, entries);
	p[13] = 1; /* id */
	p[15] = 4; /* name */
	wr32(p + 36, 16);
	wr64(p + 48, k->m->clusters * k->cs);
	memcpy(p + 56, "1snap", 5);
	wr32(k->out->img + 60, 1);
	wr64(k->out->img + 64, table);
}

static void set_count(struct making *k, uint8_t *block, uint64_t i, uint32_t v)
{
	unsigned bits = 1U << k->m->refcount_order;

	if (bits < 8) {
		unsigned per = 8 / bits;

		block[i / per] |= (uint8_t)(v << (i % per * bits));
		return;
	}
	for (unsigned b = bits / 8; b-- > 0; v >>= 8)
		block[i * (bits / 8) + b] = (uint8_t)v;
}

static void make_counts(struct making *k, uint64_t reftable)
{
	uint64_t span = k->cs * 8 >> k->m->refcount_order, blocks = 0;

	while (blocks * span < k->next + blocks)
		blocks++;
	for (uint64_t b = 0; b < blocks; b++)
		wr64(k->out->img + reftable + b * 8, take(k, 1, 1));
	for (uint64_t b = 0; b < blocks; b++) {
		uint64_t off = __builtin_bswap64(
			*(uint64_t *)(void *)(k->out->img + reftable + b * 8));

		for (uint64_t i = 0; i < span; i++)
			if (b * span + i < k->next && k->refs[b * span + i])
				set_count(k, k->out->img + off, i,
					  k->refs[b * span + i]);
	}
}

/* The directory, and the extension's data at X that names it. */
static void make_bitmaps(struct making *k, uint8_t *x)
{
	uint64_t dir = take(k, 1, 1), bits, bytes;

	bits = k->m->clusters * k->cs >> k->m->bitmaps;
	bytes = (bits + 7) / 8;
	for (unsigned i = 0; i < 2; i++) {
		uint64_t n = (bytes + k->cs - 1) / k->cs;
		uint64_t table = take(k, (n * 8 + k->cs - 1) / k->cs, 1);
		uint8_t *p = k->out->img + dir + i * 32;

		wr64(p, table);
		wr32(p + 8, (uint32_t)n);
		wr32(p + 12, i ? 0 : 2);
		p[16] = 1;
		p[17] = (uint8_t)k->m->bitmaps;
		p[19] = 1;
		p[24] = i ? 'd' : 'a';
		if (i) {
			uint64_t data = take(k, 1, 1);

			wr64(k->out->img + table, data);
			k->out->img[data] = IMGMAKE_BITS;
		}
	}
	wr32(x, 2);
	wr64(x + 8, 64);
	wr64(x + 16, dir);
}

/* The LUKS header, and the extension's data at X that names it. */
static void make_crypto(struct making *k, uint8_t *x)
{
	uint64_t off = take(k, (GUESTCRYPT_AREA + k->cs - 1) / k->cs, 1);

	guestcrypt_luks_area(k->out->img + off);
	wr64(x, off);
	wr64(x + 8, GUESTCRYPT_AREA);
}

static void make_header(struct making *k, uint64_t reftable, uint64_t l1,
			uint32_t entries)
{
	const struct imgmake *m = k->m;
	uint8_t *p = k->out->img;
	unsigned pos = m->version == 3 ? 112 : 72;

	wr32(p, 0x514649fb);
	wr32(p + 4, m->version);
	wr32(p + 20, m->cluster_bits);
	wr64(p + 24, m->clusters * k->cs);
	wr32(p + 32, m->crypt);
	wr32(p + 36, entries);
	wr64(p + 40, l1);
	wr64(p + 48, reftable);
	wr32(p + 56, 1);
	if (m->version == 3) {
		wr64(p + 72, (m->extended ? 16 : 0) | (m->data_file ? 4 : 0));
		wr64(p + 88, m->autoclear | (m->bitmaps ? 1 : 0) |
				     (m->data_raw ? 2 : 0));
		wr32(p + 96, m->refcount_order);
		wr32(p + 100, 112);
	}
	if (m->ext_fill) {
		wr32(p + pos, 0xf111f111);
		wr32(p + pos + 4, m->ext_fill);
		memset(p + pos + 8, 'f', m->ext_fill);
		pos += 8 + m->ext_fill;
	}
	if (m->crypt == GUESTCRYPT_LUKS) {
		wr32(p + pos, 0x0537be77);
		wr32(p + pos + 4, 16);
		make_crypto(k, p + pos + 8);
		pos += 24;
	}
	if (m->bitmaps) {
		wr32(p + pos, 0x23852875);
		wr32(p + pos + 4, 24);
		make_bitmaps(k, p + pos + 8);
		pos += 32;
	}
	if (m->data_file) {
		wr32(p + pos, 0x44415441);
		wr32(p + pos + 4, sizeof(IMGMAKE_DATA_NAME) - 1);
		memcpy(p + pos + 8, IMGMAKE_DATA_NAME,
		       sizeof(IMGMAKE_DATA_NAME) - 1);
		pos += 16;
	}
	if (m->backing_sectors) {
		wr32(p + pos, 0xe2792aca);
		wr32(p + pos + 4, 3);
		memcpy(p + pos + 8, "raw", 3);
		pos += 16;
		wr64(p + 8, pos + 8);
		wr32(p + 16, sizeof(IMGMAKE_BACKING_NAME) - 1);
		memcpy(p + pos + 8, IMGMAKE_BACKING_NAME,
		       sizeof(IMGMAKE_BACKING_NAME) - 1);
	}
}

void imgmake_build(const struct imgmake *m, struct imgmake_out *out)
{
	struct making k = { .m = m, .out = out, .cs = 1ULL << m->cluster_bits };
	uint64_t l1, reftable, span = k.cs / (m->extended ? 16 : 8);
	uint32_t entries = (uint32_t)((m->clusters + span - 1) / span);

	memset(out, 0, sizeof(*out));
	k.cap = m->clusters + m->pad_to / k.cs + entries * 3 + 256;
	if (m->crypt == GUESTCRYPT_LUKS)
		k.cap += GUESTCRYPT_AREA / k.cs;
	out->img = calloc(k.cap, k.cs);
	k.refs = calloc(k.cap, sizeof(*k.refs));
	out->sectors = m->clusters * (k.cs / 512);
	out->init = calloc(out->sectors, sizeof(*out->init));
	if (!out->img || !k.refs || !out->init)
		abort();
	if (m->data_file) {
		out->data = malloc(m->clusters * k.cs);
		if (!out->data)
			abort();
		memset(out->data, m->data_raw ? 0 : 0xa5, m->clusters * k.cs);
	}
	for (uint64_t i = 0; i < out->sectors; i++)
		out->init[i] = i < m->backing_sectors ? ORACLE_BACKING :
							ORACLE_ZERO;
	take(&k, 1, 1);
	reftable = take(&k, 1, 1);
	l1 = take(&k, (8ULL * entries + k.cs - 1) / k.cs, 1);
	make_header(&k, reftable, l1, entries);
	make_tree(&k, l1);
	if (m->snapshot)
		make_snapshot(&k, l1, entries);
	while ((k.next + 2) * k.cs < m->pad_to) {
		take(&k, 1, 1);
		out->leaks++;
	}
	make_counts(&k, reftable);
	out->len = k.next * k.cs;
	free(k.refs);
}

void imgmake_free(struct imgmake_out *out)
{
	free(out->img);
	free(out->data);
	free(out->init);
	memset(out, 0, sizeof(*out));
}
