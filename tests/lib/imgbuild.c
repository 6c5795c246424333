/*
 * imgbuild: everything but refcounts and the snapshot table is written to the
 * file at once; those two wait for imgbuild_finish(), since making them
 * allocates clusters.
 */
#include "lib/imgbuild.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/num.h"
#include "lib/imgbuild_deflate.h"

#define OFFSET_BITS 0x00fffffffffffe00ULL

static const struct {
	unsigned char off, width;
} fields[IMGBUILD_FIELDS] = {
	[IMGBUILD_MAGIC] = { 0, 4 },
	[IMGBUILD_VERSION] = { 4, 4 },
	[IMGBUILD_BACKING_OFFSET] = { 8, 8 },
	[IMGBUILD_BACKING_LEN] = { 16, 4 },
	[IMGBUILD_CLUSTER_BITS] = { 20, 4 },
	[IMGBUILD_SIZE] = { 24, 8 },
	[IMGBUILD_CRYPT] = { 32, 4 },
	[IMGBUILD_L1_ENTRIES] = { 36, 4 },
	[IMGBUILD_L1_OFFSET] = { 40, 8 },
	[IMGBUILD_REFTABLE_OFFSET] = { 48, 8 },
	[IMGBUILD_REFTABLE_CLUSTERS] = { 56, 4 },
	[IMGBUILD_SNAPSHOTS] = { 60, 4 },
	[IMGBUILD_SNAPSHOT_OFFSET] = { 64, 8 },
	[IMGBUILD_INCOMPAT] = { 72, 8 },
	[IMGBUILD_COMPAT] = { 80, 8 },
	[IMGBUILD_AUTOCLEAR] = { 88, 8 },
	[IMGBUILD_REFCOUNT_ORDER] = { 96, 4 },
	[IMGBUILD_HEADER_LEN] = { 100, 4 },
	[IMGBUILD_COMPRESSION] = { 104, 1 },
};

static void must(int ret, const char *what)
{
	if (ret >= 0)
		return;
	fprintf(stderr, "imgbuild: %s: %s\n", what, strerror(-ret));
	abort();
}

static void put(struct hostfile *f, const void *buf, size_t len, uint64_t off)
{
	must(hostfile_pwrite_full(f, buf, len, off), "write");
}

/* --- bytes and header -----------------------------------------------------*/

static void poke(struct hostfile *f, uint64_t off, unsigned width,
		 uint64_t value)
{
	unsigned char raw[8];

	assert(width >= 1 && width <= 8);
	be64_store(raw, value);
	put(f, raw + 8 - width, width, off);
}

void imgbuild_poke(struct imgbuild *b, uint64_t off, unsigned width,
		   uint64_t value)
{
	poke(b->f, off, width, value);
}

uint64_t imgbuild_peek(struct imgbuild *b, uint64_t off, unsigned width)
{
	unsigned char raw[8] = { 0 };

	assert(width >= 1 && width <= 8);
	must(hostfile_pread(b->f, raw + 8 - width, width, off, NULL), "read");
	return be64_load(raw);
}

void imgbuild_patch(struct hostfile *f, enum imgbuild_field field,
		    uint64_t value)
{
	poke(f, fields[field].off, fields[field].width, value);
}

void imgbuild_header_set(struct imgbuild *b, enum imgbuild_field field,
			 uint64_t value)
{
	imgbuild_patch(b->f, field, value);
}

uint64_t imgbuild_header_get(struct imgbuild *b, enum imgbuild_field field)
{
	return imgbuild_peek(b, fields[field].off, fields[field].width);
}

void imgbuild_ext(struct imgbuild *b, uint32_t type, const void *data,
		  uint32_t len)
{
	uint64_t at = b->ext_end;

	imgbuild_poke(b, at, 4, type);
	imgbuild_poke(b, at + 4, 4, len);
	if (len)
		put(b->f, data, len, at + 8);
	b->ext_end = at + 8 + num_round_up(len, 8);
	imgbuild_poke(b, b->ext_end, 8, 0);
}

void imgbuild_backing(struct imgbuild *b, const char *name, const char *format)
{
	if (format)
		imgbuild_ext(b, 0xe2792acaU, format, (uint32_t)strlen(format));
	put(b->f, name, strlen(name), b->ext_end + 8);
	imgbuild_header_set(b, IMGBUILD_BACKING_OFFSET, b->ext_end + 8);
	imgbuild_header_set(b, IMGBUILD_BACKING_LEN, strlen(name));
}

/* --- clusters and refcounts -----------------------------------------------*/

static uint64_t *rc_slot(struct imgbuild *b, uint64_t hoff)
{
	size_t i = (size_t)(hoff / b->csize);
	size_t old = b->rc_cap;

	must(mem_grow(&b->rc, &b->rc_cap, i + 1, sizeof(*b->rc)), "memory");
	memset(b->rc + old, 0, (b->rc_cap - old) * sizeof(*b->rc));
	return &b->rc[i];
}

static uint64_t block_entries(const struct imgbuild *b)
{
	return b->csize * 8 >> b->p.refcount_order;
}

/* Where the refcount of the cluster at HOFF is stored: the host offset of its
 * first byte; widths below 8 bits are packed from the lowest bit upwards. */
static uint64_t stored_rc(struct imgbuild *b, uint64_t hoff, unsigned *shift)
{
	uint64_t i = hoff / b->csize;
	uint64_t block = imgbuild_peek(
		b, b->reftable_off + i / block_entries(b) * 8, 8);
	uint64_t bit = (i % block_entries(b)) << b->p.refcount_order;

	assert(block);
	*shift = bit % 8;
	return block + bit / 8;
}

uint64_t imgbuild_refcount_get(struct imgbuild *b, uint64_t hoff)
{
	unsigned bits = 1U << b->p.refcount_order;
	unsigned shift;
	uint64_t at;

	if (!b->reftable_off)
		return *rc_slot(b, hoff);
	at = stored_rc(b, hoff, &shift);
	if (bits >= 8)
		return imgbuild_peek(b, at, bits / 8);
	return imgbuild_peek(b, at, 1) >> shift & ((1U << bits) - 1);
}

static void store_rc(struct imgbuild *b, uint64_t hoff, uint64_t value)
{
	unsigned bits = 1U << b->p.refcount_order;
	unsigned shift;
	uint64_t at = stored_rc(b, hoff, &shift);
	uint64_t mask;

	if (bits >= 8) {
		imgbuild_poke(b, at, bits / 8, value);
		return;
	}
	mask = ((1ULL << bits) - 1) << shift;
	imgbuild_poke(b, at, 1,
		      (imgbuild_peek(b, at, 1) & ~mask) |
			      (value << shift & mask));
}

void imgbuild_refcount_set(struct imgbuild *b, uint64_t hoff, uint64_t value)
{
	if (b->reftable_off)
		store_rc(b, hoff, value);
	else
		*rc_slot(b, hoff) = value;
}

void imgbuild_ref(struct imgbuild *b, uint64_t hoff, int by)
{
	imgbuild_refcount_set(b, hoff,
			      imgbuild_refcount_get(b, hoff) + (uint64_t)by);
}

uint64_t imgbuild_alloc(struct imgbuild *b, uint64_t n)
{
	uint64_t hoff = b->end;

	b->end += n * b->csize;
	must(hostfile_truncate(b->f, b->end), "truncate");
	for (uint64_t i = 0; i < n && !b->reftable_off; i++)
		*rc_slot(b, hoff + i * b->csize) = 1;
	return hoff;
}

/* --- tables ---------------------------------------------------------------*/

uint64_t imgbuild_l1_get(struct imgbuild *b, uint64_t idx)
{
	assert(idx < b->p.l1_entries);
	return imgbuild_peek(b, b->l1_off + idx * 8, 8);
}

void imgbuild_l1_set(struct imgbuild *b, uint64_t idx, uint64_t entry)
{
	assert(idx < b->p.l1_entries);
	imgbuild_poke(b, b->l1_off + idx * 8, 8, entry);
}

static uint64_t l2_slot(struct imgbuild *b, uint64_t goff, uint64_t l1)
{
	return (l1 & OFFSET_BITS) +
	       goff / b->csize % (b->csize / b->esize) * b->esize;
}

static uint64_t l1_index(struct imgbuild *b, uint64_t goff)
{
	return goff / b->csize / (b->csize / b->esize);
}

uint64_t imgbuild_l2_get(struct imgbuild *b, uint64_t goff)
{
	uint64_t l1 = imgbuild_l1_get(b, l1_index(b, goff));

	return l1 & OFFSET_BITS ? imgbuild_peek(b, l2_slot(b, goff, l1), 8) : 0;
}

uint64_t imgbuild_bitmap_get(struct imgbuild *b, uint64_t goff)
{
	uint64_t l1 = imgbuild_l1_get(b, l1_index(b, goff));

	assert(b->p.extended);
	return l1 & OFFSET_BITS ? imgbuild_peek(b, l2_slot(b, goff, l1) + 8, 8)
				: 0;
}

void imgbuild_bitmap_set(struct imgbuild *b, uint64_t goff, uint64_t bitmap)
{
	uint64_t l1 = imgbuild_l1_get(b, l1_index(b, goff));

	assert(b->p.extended && l1 & OFFSET_BITS);
	imgbuild_poke(b, l2_slot(b, goff, l1) + 8, 8, bitmap);
}

static void copy_cluster(struct imgbuild *b, uint64_t to, uint64_t from)
{
	autofree unsigned char *buf = malloc(b->csize);

	assert(buf);
	must(hostfile_pread(b->f, buf, b->csize, from, NULL), "read");
	put(b->f, buf, b->csize, to);
}

void imgbuild_l2_set(struct imgbuild *b, uint64_t goff, uint64_t entry)
{
	uint64_t i = l1_index(b, goff);
	uint64_t l1 = imgbuild_l1_get(b, i);
	uint64_t old = l1 & OFFSET_BITS;

	if (!old || (b->snaps && !(l1 & IMGBUILD_COPIED))) {
		l1 = imgbuild_alloc(b, 1) | IMGBUILD_COPIED;
		imgbuild_l1_set(b, i, l1);
		if (old) {
			copy_cluster(b, l1 & OFFSET_BITS, old);
			imgbuild_ref(b, old, -1);
		}
	}
	imgbuild_poke(b, l2_slot(b, goff, l1), 8, entry);
	if (b->p.extended)
		imgbuild_poke(b, l2_slot(b, goff, l1) + 8, 8, 0);
}

/* --- guest clusters -------------------------------------------------------*/

static void ref_target(struct imgbuild *b, uint64_t entry, int by)
{
	unsigned x = 62 - (b->p.cluster_bits - 8);
	uint64_t first = entry & OFFSET_BITS;
	uint64_t last = first;

	if (b->p.data_file)
		return;
	if (entry & IMGBUILD_COMPRESSED) {
		first = entry & ((1ULL << x) - 1);
		last = num_round_down(first, 512) +
		       ((entry & (IMGBUILD_COMPRESSED - 1)) >> x) * 512 + 511;
	}
	if (!first)
		return;
	for (uint64_t c = num_round_down(first, b->csize); c <= last;
	     c += b->csize)
		imgbuild_ref(b, c, by);
}

/* Make the table, and give back what was mapped. */
static void unmap(struct imgbuild *b, uint64_t goff)
{
	ref_target(b, imgbuild_l2_get(b, goff), -1);
	imgbuild_l2_set(b, goff, 0);
}

uint64_t imgbuild_data(struct imgbuild *b, uint64_t goff, const void *data,
		       size_t len)
{
	uint64_t hoff;

	assert(len <= b->csize && goff % b->csize == 0);
	unmap(b, goff);
	hoff = b->p.data_file ? goff : imgbuild_alloc(b, 1);
	if (len)
		put(b->p.data_file ? b->data : b->f, data, len, hoff);
	imgbuild_l2_set(b, goff, hoff | IMGBUILD_COPIED);
	if (b->p.extended)
		imgbuild_bitmap_set(b, goff, IMGBUILD_SUBCLUSTERS);
	return hoff;
}

uint64_t imgbuild_subclusters(struct imgbuild *b, uint64_t goff,
			      const void *data, size_t len, uint64_t bitmap)
{
	uint64_t hoff = imgbuild_data(b, goff, data, len);

	imgbuild_bitmap_set(b, goff, bitmap);
	return hoff;
}

void imgbuild_zero_plain(struct imgbuild *b, uint64_t goff)
{
	unmap(b, goff);
	imgbuild_l2_set(b, goff, b->p.extended ? 0 : IMGBUILD_ZERO);
	if (b->p.extended)
		imgbuild_bitmap_set(b, goff, IMGBUILD_SUBCLUSTERS << 32);
}

uint64_t imgbuild_zero_alloc(struct imgbuild *b, uint64_t goff)
{
	autofree unsigned char *junk = malloc(b->csize);
	uint64_t hoff;

	assert(junk);
	memset(junk, b->p.data_raw ? 0 : 0xee, b->csize);
	hoff = imgbuild_data(b, goff, junk, b->csize);
	if (b->p.extended)
		imgbuild_bitmap_set(b, goff, IMGBUILD_SUBCLUSTERS << 32);
	else
		imgbuild_l2_set(b, goff,
				hoff | IMGBUILD_COPIED | IMGBUILD_ZERO);
	return hoff;
}

static uint64_t refcount_max(const struct imgbuild *b)
{
	return UINT64_MAX >> (64 - (1U << b->p.refcount_order));
}

/* Room for a stream: behind the last one when that leaves no gap. */
static uint64_t place_stream(struct imgbuild *b, size_t len)
{
	uint64_t at = b->comp_next;
	uint64_t room = num_round_up(at, b->csize) - at;

	if (len > room && num_round_up(at, b->csize) != b->end)
		room = 0;
	if (room && imgbuild_refcount_get(b, at) >= refcount_max(b))
		room = 0;
	if (!room) {
		at = b->end;
	} else {
		imgbuild_ref(b, num_round_down(at, b->csize), 1);
	}
	if (len > room)
		(void)imgbuild_alloc(b, num_div_ceil(len - room, b->csize));
	return at;
}

uint64_t imgbuild_stream(struct imgbuild *b, uint64_t goff, const void *stream,
			 size_t len)
{
	unsigned x = 62 - (b->p.cluster_bits - 8);
	uint64_t at;
	uint64_t more;

	/* First, or a new table would lie between the stream's clusters. */
	unmap(b, goff);
	at = place_stream(b, len);
	more = (at + len - 1) / 512 - at / 512;
	put(b->f, stream, len, at);
	b->comp_next = at + len;
	imgbuild_l2_set(b, goff, IMGBUILD_COMPRESSED | more << x | at);
	return at;
}

uint64_t imgbuild_compressed(struct imgbuild *b, uint64_t goff,
			     const void *data)
{
	autofree unsigned char *out = malloc(b->csize);
	size_t len = 0;

	assert(out);
	if (b->p.zstd)
		len = imgbuild_deflate_zstd(out, b->csize, data, b->csize);
	else
		len = imgbuild_deflate_zlib(out, b->csize, data, b->csize);
	if (!len)
		must(-E2BIG, "data cannot be compressed");
	return imgbuild_stream(b, goff, out, len);
}

/* --- snapshots ------------------------------------------------------------*/

static void share_table(struct imgbuild *b, uint64_t l2)
{
	imgbuild_ref(b, l2, 1);
	for (uint64_t at = l2; at < l2 + b->csize; at += b->esize) {
		uint64_t entry = imgbuild_peek(b, at, 8);

		ref_target(b, entry, 1);
		imgbuild_poke(b, at, 8, entry & ~IMGBUILD_COPIED);
	}
}

static void snap_bytes(struct imgbuild *b, unsigned width, uint64_t value)
{
	must(mem_grow(&b->snap, &b->snap_cap, b->snap_len + 8, 1), "memory");
	for (unsigned i = width; i-- > 0;)
		b->snap[b->snap_len++] = (unsigned char)(value >> (8 * i));
}

static void snap_text(struct imgbuild *b, const char *s)
{
	for (; *s; s++)
		snap_bytes(b, 1, (unsigned char)*s);
}

void imgbuild_snapshot(struct imgbuild *b, const char *id, const char *name)
{
	uint64_t n = NUM_MAX(num_div_ceil(b->p.l1_entries * 8ULL, b->csize), 1);
	uint64_t l1 = imgbuild_alloc(b, n);

	for (unsigned i = 0; i < b->p.l1_entries; i++) {
		uint64_t e = imgbuild_l1_get(b, i) & ~IMGBUILD_COPIED;

		imgbuild_poke(b, l1 + i * 8ULL, 8, e);
		imgbuild_l1_set(b, i, e);
		if (e & OFFSET_BITS)
			share_table(b, e & OFFSET_BITS);
	}
	snap_bytes(b, 8, l1);
	snap_bytes(b, 4, b->p.l1_entries);
	snap_bytes(b, 2, strlen(id));
	snap_bytes(b, 2, strlen(name));
	snap_bytes(b, 4, 1700000000); /* date */
	snap_bytes(b, 4, 0);
	snap_bytes(b, 8, 0); /* guest clock */
	snap_bytes(b, 4, 0); /* VM state */
	snap_bytes(b, 4, 16);
	snap_bytes(b, 8, 0);
	snap_bytes(b, 8, b->p.size);
	snap_text(b, id);
	snap_text(b, name);
	while (b->snap_len % 8)
		snap_bytes(b, 1, 0);
	b->snaps++;
}

static void write_snapshots(struct imgbuild *b)
{
	uint64_t at;

	if (!b->snaps)
		return;
	at = imgbuild_alloc(b, num_div_ceil(b->snap_len, b->csize));
	put(b->f, b->snap, b->snap_len, at);
	imgbuild_header_set(b, IMGBUILD_SNAPSHOTS, b->snaps);
	imgbuild_header_set(b, IMGBUILD_SNAPSHOT_OFFSET, at);
}

/* --- begin and end --------------------------------------------------------*/

static void fill_params(struct imgbuild_params *p)
{
	p->version = p->version ? p->version : 3;
	p->cluster_bits = p->cluster_bits ? p->cluster_bits : 16;
	if (p->version == 2) {
		p->header_len = 72;
		p->refcount_order = 4;
	}
	p->header_len = p->header_len ? p->header_len : 112;
}

static void write_header(struct imgbuild *b)
{
	imgbuild_header_set(b, IMGBUILD_MAGIC, 0x514649fbU);
	imgbuild_header_set(b, IMGBUILD_VERSION, b->p.version);
	imgbuild_header_set(b, IMGBUILD_CLUSTER_BITS, b->p.cluster_bits);
	imgbuild_header_set(b, IMGBUILD_SIZE, b->p.size);
	imgbuild_header_set(b, IMGBUILD_L1_ENTRIES, b->p.l1_entries);
	imgbuild_header_set(b, IMGBUILD_L1_OFFSET, b->l1_off);
	if (b->p.version == 2)
		return;
	imgbuild_header_set(b, IMGBUILD_REFCOUNT_ORDER, b->p.refcount_order);
	imgbuild_header_set(b, IMGBUILD_HEADER_LEN, b->p.header_len);
	imgbuild_header_set(b, IMGBUILD_INCOMPAT,
			    (b->p.zstd ? 8 : 0) | (b->p.extended ? 16 : 0) |
				    (b->p.data_file ? 4 : 0));
	imgbuild_header_set(b, IMGBUILD_AUTOCLEAR, b->p.data_raw ? 2 : 0);
	if (b->p.zstd)
		imgbuild_header_set(b, IMGBUILD_COMPRESSION, 1);
}

void imgbuild_init(struct imgbuild *b, struct hostfile *f,
		   const struct imgbuild_params *p)
{
	uint64_t l1;

	memset(b, 0, sizeof(*b));
	b->f = f;
	b->p = *p;
	fill_params(&b->p);
	b->csize = 1ULL << b->p.cluster_bits;
	b->esize = b->p.extended ? 16 : 8;
	l1 = num_div_ceil(num_div_ceil(b->p.size, b->csize),
			  b->csize / b->esize);
	if (!b->p.l1_entries)
		b->p.l1_entries = (unsigned)l1;
	must(hostfile_truncate(f, 0), "truncate");
	(void)imgbuild_alloc(b, 1);
	b->l1_off = imgbuild_alloc(
		b, NUM_MAX(num_div_ceil(b->p.l1_entries * 8ULL, b->csize), 1));
	b->ext_end = b->p.header_len;
	write_header(b);
}

/* Blocks must cover the data, themselves and the table. */
void imgbuild_finish(struct imgbuild *b)
{
	uint64_t used, blocks = 0, table = 0, all, at, old;

	write_snapshots(b);
	used = b->end / b->csize;
	do {
		old = blocks + table;
		blocks = num_div_ceil(used + old, block_entries(b));
		table = num_div_ceil(blocks * 8, b->csize);
	} while (blocks + table != old);
	all = used + blocks + table;
	at = imgbuild_alloc(b, table + blocks);
	for (uint64_t i = 0; i < blocks; i++)
		imgbuild_poke(b, at + i * 8, 8,
			      at + (table + i) * b->csize);
	b->reftable_off = at;
	imgbuild_header_set(b, IMGBUILD_REFTABLE_OFFSET, at);
	imgbuild_header_set(b, IMGBUILD_REFTABLE_CLUSTERS, table);
	for (uint64_t i = 0; i < all; i++)
		store_rc(b, i * b->csize, *rc_slot(b, i * b->csize));
}

void imgbuild_fini(struct imgbuild *b)
{
	free(b->rc);
	free(b->snap);
	b->rc = NULL;
	b->snap = NULL;
}

void imgbuild_minimal(struct hostfile *f, const struct imgbuild_params *p)
{
	struct imgbuild b;

	imgbuild_init(&b, f, p);
	imgbuild_finish(&b);
	imgbuild_fini(&b);
}
