#include "check/broken.h"
#include "check/broken_sub.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OFFSET_MASK 0x00fffffffffffe00ULL
#define EXT_BITMAPS 0x23852875U
#define EXT_DATA_FILE 0x44415441U
#define CLUSTERS 128 /* of the disk */
#define STREAM BROKEN_STREAM

/* --- sound images ------------------------------------------------------------- */

struct base {
	const char *name;
	struct imgbuild_params p;
	bool snapshots, bitmaps, backing;
};

static const struct base bases[] = {
	{ "", { .cluster_bits = 12, .refcount_order = 4 }, true, true, false },
	{ "v2", { .version = 2, .cluster_bits = 12, .refcount_order = 4 },
	  true, false, false },
	{ "small", { .cluster_bits = 9, .refcount_order = 4 }, true, true,
	  false },
	{ "one bit", { .cluster_bits = 12, .refcount_order = 0 }, false, true,
	  false },
	{ "wide", { .cluster_bits = 12, .refcount_order = 6 }, true, true,
	  false },
	{ "64k", { .cluster_bits = 16, .refcount_order = 4 }, true, true,
	  false },
	{ "backing", { .cluster_bits = 12, .refcount_order = 4 }, false, false,
	  true },
	{ "v2 backing", { .version = 2, .cluster_bits = 12,
			  .refcount_order = 4 }, false, false, true },
	{ "sub", { .cluster_bits = 14, .refcount_order = 4, .extended = true },
	  true, true, false },
	{ "sub backing", { .cluster_bits = 14, .refcount_order = 4,
			   .extended = true }, false, false, true },
	{ "sub data", { .cluster_bits = 14, .refcount_order = 4,
			.extended = true, .data_file = true },
	  false, false, false },
};

static const struct base *base_of(const char *name)
{
	for (size_t i = 0; i < sizeof(bases) / sizeof(bases[0]); i++)
		if (!strcmp(bases[i].name, name))
			return &bases[i];
	abort();
}

/* Of the image being built: one at a time. */
static struct {
	uint64_t dir, table[2], data[2];
	uint64_t ext; /* of the bitmaps, in the header */
} bitmaps;

static void put_bitmap(struct imgbuild *b, unsigned i, uint64_t at)
{
	bitmaps.table[i] = imgbuild_alloc(b, 1);
	bitmaps.data[i] = imgbuild_alloc(b, 1);
	imgbuild_poke(b, at, 8, bitmaps.table[i]);
	imgbuild_poke(b, at + 8, 4, 1);
	imgbuild_poke(b, at + 12, 4, 2); /* auto */
	imgbuild_poke(b, at + 16, 1, 1);
	imgbuild_poke(b, at + 17, 1, 16);
	imgbuild_poke(b, at + 18, 2, 4);
	imgbuild_poke(b, at + 24, 4, 0x62697430 + i);
	imgbuild_poke(b, bitmaps.table[i], 8, bitmaps.data[i]);
}

static void put_bitmaps(struct imgbuild *b)
{
	unsigned char ext[24] = { 0, 0, 0, 2 };

	bitmaps.dir = imgbuild_alloc(b, 1);
	ext[15] = 64;
	for (int i = 0; i < 8; i++)
		ext[16 + i] = (unsigned char)(bitmaps.dir >> (56 - 8 * i));
	bitmaps.ext = b->ext_end;
	imgbuild_ext(b, EXT_BITMAPS, ext, sizeof(ext));
	imgbuild_header_set(b, IMGBUILD_AUTOCLEAR, 1);
	put_bitmap(b, 0, bitmaps.dir);
	put_bitmap(b, 1, bitmaps.dir + 32);
}

static void put_data(struct imgbuild *b, unsigned gidx, unsigned char seed)
{
	unsigned char *data = malloc(b->csize);

	assert(data);
	for (uint64_t i = 0; i < b->csize; i++)
		data[i] = (unsigned char)(seed + i / 512);
	imgbuild_data(b, gidx * b->csize, data, b->csize);
	free(data);
}

/* A quarter each: data, nothing, zero, data. */
static void put_mixed(struct imgbuild *b, unsigned gidx)
{
	put_data(b, gidx, 0x40);
	imgbuild_bitmap_set(b, gidx * b->csize, 0x00ff0000ff0000ff);
}

static void put_stream(struct imgbuild *b, unsigned gidx, unsigned char seed)
{
	unsigned char *data = malloc(b->csize);

	assert(data);
	memset(data, seed, b->csize);
	imgbuild_compressed(b, gidx * b->csize, data);
	free(data);
}

/*
 * Guest clusters: 0 to 3 in both snapshots, 1 changed since; 8 to 64 as in
 * broken.h, two streams in a cluster; 80 and 81 data behind the second L2 table
 * if clusters have 512 bytes.
 */
static void build(struct imgbuild *b, struct hostfile *f, struct hostfile *data,
		  const struct base *base)
{
	struct imgbuild_params p = base->p;
	bool v3 = p.version != 2;
	bool one = p.refcount_order == 0;

	p.size = (uint64_t)CLUSTERS << p.cluster_bits;
	p.l1_entries = 4;
	imgbuild_init(b, f, &p);
	b->data = data;
	if (p.data_file)
		imgbuild_ext(b, EXT_DATA_FILE, "base.raw", 8);
	if (base->bitmaps)
		put_bitmaps(b);
	for (unsigned i = 0; i < 4; i++)
		put_data(b, i, (unsigned char)(0x10 * i + 1));
	if (v3)
		imgbuild_zero_plain(b, 4 * b->csize);
	if (base->snapshots) {
		imgbuild_snapshot(b, "1", "first");
		put_data(b, 1, 0x77);
		imgbuild_snapshot(b, "2", "second");
		put_data(b, 1, 0x88);
	}
	put_data(b, BROKEN_DATA, 0x99);
	if (v3)
		imgbuild_zero_alloc(b, BROKEN_PLACE * b->csize);
	if (p.extended)
		put_mixed(b, BROKEN_MIXED);
	if (!p.data_file)
		put_stream(b, STREAM, 0xaa);
	if (!p.data_file && !one)
		put_stream(b, STREAM + 1, 0xab);
	put_data(b, 80, 0xcc);
	put_data(b, 81, 0xcd);
	if (base->backing)
		imgbuild_backing(b, "base.raw", "raw");
	imgbuild_finish(b);
}

static struct hostmem *make(unsigned i, bool broken)
{
	struct hostmem *m = hostmem_new(), *data = hostmem_new();
	struct hostfile *f, *d;
	struct imgbuild b;

	if (!m || hostmem_open(&f, m, true) < 0 || !data ||
	    hostmem_open(&d, data, true) < 0)
		abort();
	build(&b, f, d, base_of(broken_cases[i].base));
	if (broken)
		broken_cases[i].make(&b);
	imgbuild_fini(&b);
	hostfile_close(f);
	hostfile_close(d); /* check does not look into it */
	hostmem_free(data);
	return m;
}

struct hostmem *broken_build(unsigned i)
{
	return make(i, true);
}

struct hostmem *broken_sound(unsigned i)
{
	return make(i, false);
}

/* --- places -------------------------------------------------------------------- */

static uint64_t offset(uint64_t entry)
{
	return entry & OFFSET_MASK;
}

static uint64_t l2_of(struct imgbuild *b)
{
	return offset(imgbuild_l1_get(b, 0));
}

static uint64_t get(struct imgbuild *b, unsigned gidx)
{
	return imgbuild_l2_get(b, gidx * b->csize);
}

uint64_t broken_slot(struct imgbuild *b, unsigned gidx)
{
	uint64_t per = b->csize / b->esize;

	return offset(imgbuild_l1_get(b, gidx / per)) + gidx % per * b->esize;
}

/* As it is, in whatever table there is: counts stay what they were. */
static void set(struct imgbuild *b, unsigned gidx, uint64_t entry)
{
	imgbuild_poke(b, broken_slot(b, gidx), 8, entry);
}

static void or_in(struct imgbuild *b, unsigned gidx, uint64_t bits)
{
	set(b, gidx, get(b, gidx) | bits);
}

static uint64_t block(struct imgbuild *b)
{
	return imgbuild_peek(b, b->reftable_off, 8);
}

static uint64_t snap(struct imgbuild *b)
{
	return imgbuild_header_get(b, IMGBUILD_SNAPSHOT_OFFSET);
}

/* The second record: they are of one length. */
static uint64_t snap2(struct imgbuild *b)
{
	uint64_t s = snap(b);
	uint64_t len = 40 + imgbuild_peek(b, s + 36, 4) +
		       imgbuild_peek(b, s + 12, 2) + imgbuild_peek(b, s + 14, 2);

	return s + ((len + 7) & ~7ULL);
}

/* --- counts and flags ---------------------------------------------------------- */

static void count_zero(struct imgbuild *b)
{
	imgbuild_refcount_set(b, offset(get(b, 8)), 0);
}
static void count_shared_low(struct imgbuild *b)
{
	imgbuild_refcount_set(b, offset(get(b, 0)), 1);
}
static void count_high(struct imgbuild *b)
{
	imgbuild_refcount_set(b, offset(get(b, 8)), 7);
}
static void count_all_zero(struct imgbuild *b)
{
	for (uint64_t at = 0; at < b->csize; at += 8)
		imgbuild_poke(b, block(b) + at, 8, 0);
}
static void count_header_zero(struct imgbuild *b)
{
	imgbuild_refcount_set(b, 0, 0);
	imgbuild_refcount_set(b, b->l1_off, 0);
	imgbuild_refcount_set(b, b->reftable_off, 0);
}
static void count_table_zero(struct imgbuild *b)
{
	imgbuild_refcount_set(b, l2_of(b), 0);
}
static void count_stream_low(struct imgbuild *b)
{
	uint64_t hoff = get(b, STREAM) & ((1ULL << 50) - 1);

	imgbuild_refcount_set(b, hoff & ~(b->csize - 1), 1);
}
static void leak(struct imgbuild *b)
{
	imgbuild_refcount_set(b, imgbuild_alloc(b, 1), 1);
}
static void leak_entry(struct imgbuild *b)
{
	set(b, 8, 0);
}
static void leak_table(struct imgbuild *b)
{
	imgbuild_l1_set(b, 0, 0);
}
static void copied_l1_clear(struct imgbuild *b)
{
	imgbuild_l1_set(b, 0, l2_of(b));
}
static void copied_clear(struct imgbuild *b)
{
	set(b, 8, offset(get(b, 8)));
}
static void copied_set(struct imgbuild *b)
{
	or_in(b, 0, IMGBUILD_COPIED);
}
static void marks(struct imgbuild *b)
{
	imgbuild_header_set(b, IMGBUILD_INCOMPAT, 3);
	count_zero(b);
}

/* --- refcount structure ---------------------------------------------------------- */

static void reftable_or(struct imgbuild *b, uint64_t bits)
{
	imgbuild_poke(b, b->reftable_off, 8, block(b) | bits);
}
static void reftable_reserved(struct imgbuild *b) { reftable_or(b, 4); }
static void reftable_unaligned(struct imgbuild *b)
{
	imgbuild_poke(b, b->reftable_off, 8, block(b) + 512);
}
static void reftable_outside(struct imgbuild *b) { reftable_or(b, 1ULL << 40); }
static void reftable_just_outside(struct imgbuild *b)
{
	imgbuild_poke(b, b->reftable_off, 8, b->end + b->csize);
}
static void reftable_empty(struct imgbuild *b)
{
	imgbuild_poke(b, b->reftable_off, 8, 0);
}
static void reftable_far(struct imgbuild *b)
{
	imgbuild_poke(b, b->reftable_off + b->csize - 8, 8, 12345);
}
static void refblock_twice(struct imgbuild *b)
{
	imgbuild_poke(b, b->reftable_off + 8, 8, block(b));
}
static void refblock_is_data(struct imgbuild *b)
{
	imgbuild_poke(b, b->reftable_off, 8, offset(get(b, 8)));
}
static void refblock_is_l2(struct imgbuild *b)
{
	imgbuild_poke(b, b->reftable_off, 8, l2_of(b));
}
static void refblock_is_l1(struct imgbuild *b)
{
	imgbuild_poke(b, b->reftable_off, 8, b->l1_off);
}
static void refblock_is_header(struct imgbuild *b)
{
	imgbuild_header_set(b, IMGBUILD_REFTABLE_OFFSET, l2_of(b));
}
static void refblock_is_snapshots(struct imgbuild *b)
{
	imgbuild_poke(b, b->reftable_off, 8, snap(b));
}
static void refblock_is_bitmap(struct imgbuild *b)
{
	imgbuild_poke(b, b->reftable_off, 8, bitmaps.data[0]);
}
static void reftable_is_l1(struct imgbuild *b)
{
	imgbuild_header_set(b, IMGBUILD_REFTABLE_OFFSET, b->l1_off);
}
static void reftable_is_block(struct imgbuild *b)
{
	imgbuild_header_set(b, IMGBUILD_REFTABLE_OFFSET, block(b));
}
static void reftable_and_l2(struct imgbuild *b)
{
	reftable_outside(b);
	or_in(b, 8, 4);
	or_in(b, 80, 1ULL << 41);
}

/* --- L1 and L2 entries ------------------------------------------------------------- */

static void l1_or(struct imgbuild *b, uint64_t bits)
{
	imgbuild_l1_set(b, 0, imgbuild_l1_get(b, 0) | bits);
}
static void l1_reserved(struct imgbuild *b) { l1_or(b, 2); }
static void l1_reserved_high(struct imgbuild *b) { l1_or(b, 1ULL << 60); }
static void l1_reserved_uncounted(struct imgbuild *b)
{
	l1_or(b, 2);
	count_all_zero(b);
}
static void l1_unaligned(struct imgbuild *b) { l1_or(b, 512); }
static void l1_outside(struct imgbuild *b) { l1_or(b, 1ULL << 40); }
static void l1_copied_empty(struct imgbuild *b)
{
	imgbuild_l1_set(b, 3, IMGBUILD_COPIED);
}
static void l2_reserved(struct imgbuild *b) { or_in(b, 8, 4); }
static void l2_reserved_high(struct imgbuild *b) { or_in(b, 8, 1ULL << 58); }
static void l2_reserved_shared(struct imgbuild *b) { or_in(b, 0, 0x80); }
static void l2_zero_v2(struct imgbuild *b) { or_in(b, 8, IMGBUILD_ZERO); }
static void l2_zero_v2_empty(struct imgbuild *b) { set(b, 30, IMGBUILD_ZERO); }
static void l2_unaligned(struct imgbuild *b) { or_in(b, 8, 1024); }
static void l2_outside(struct imgbuild *b) { or_in(b, 8, 1ULL << 41); }
static void l2_just_outside(struct imgbuild *b)
{
	set(b, 8, (b->end + b->csize) | IMGBUILD_COPIED);
}
static void l2_outside_zero(struct imgbuild *b) { or_in(b, 9, 1ULL << 41); }
static void l2_copied_empty(struct imgbuild *b) { set(b, 30, IMGBUILD_COPIED); }
static void l2_garbage(struct imgbuild *b)
{
	for (unsigned i = 16; i < 40; i++)
		set(b, i, 0x0123456789abcdefULL * (i + 1));
}
static void file_cut(struct imgbuild *b)
{
	uint64_t end = b->end;
	uint64_t hoff = imgbuild_alloc(b, 2);

	for (unsigned i = 0; i < 2; i++) {
		imgbuild_refcount_set(b, hoff + i * b->csize, 1);
		set(b, 30 + i, (hoff + i * b->csize) | IMGBUILD_COPIED);
	}
	if (hostfile_truncate(b->f, end) < 0)
		abort();
}
static void stream_copied(struct imgbuild *b)
{
	or_in(b, STREAM, IMGBUILD_COPIED);
}
static void stream_outside(struct imgbuild *b)
{
	or_in(b, STREAM, 1ULL << 44);
}
static void stream_broken(struct imgbuild *b)
{
	uint64_t hoff = get(b, STREAM) & ((1ULL << 50) - 1);

	imgbuild_poke(b, hoff, 4, 0xffffffff);
}

/* --- clusters with two roles --------------------------------------------------------- */

static void data_twice(struct imgbuild *b)
{
	set(b, 30, get(b, 8));
}
static void data_many(struct imgbuild *b)
{
	for (unsigned i = 30; i < 36; i++)
		set(b, i, get(b, 8));
}
static void data_is(struct imgbuild *b, uint64_t hoff)
{
	set(b, 30, hoff | IMGBUILD_COPIED);
}
static void data_is_l1(struct imgbuild *b) { data_is(b, b->l1_off); }
static void data_is_l2(struct imgbuild *b) { data_is(b, l2_of(b)); }
static void data_is_reftable(struct imgbuild *b) { data_is(b, b->reftable_off); }
static void data_is_refblock(struct imgbuild *b) { data_is(b, block(b)); }
static void data_is_snapshots(struct imgbuild *b) { data_is(b, snap(b)); }
static void data_is_snap_l1(struct imgbuild *b)
{
	data_is(b, imgbuild_peek(b, snap(b), 8));
}
static void data_is_bitmap(struct imgbuild *b) { data_is(b, bitmaps.data[0]); }
static void data_is_bitmap_table(struct imgbuild *b)
{
	data_is(b, bitmaps.table[1]);
}
static void data_is_bitmap_dir(struct imgbuild *b) { data_is(b, bitmaps.dir); }
static void data_is_stream(struct imgbuild *b)
{
	data_is(b, get(b, STREAM) & ((1ULL << 50) - 1) & ~(b->csize - 1));
}
static void zero_is_l2(struct imgbuild *b)
{
	set(b, 30, l2_of(b) | IMGBUILD_ZERO | IMGBUILD_COPIED);
}
static void stream_in(struct imgbuild *b, uint64_t hoff)
{
	set(b, STREAM, (get(b, STREAM) & ~((1ULL << 50) - 1)) | hoff);
}
static void stream_in_header(struct imgbuild *b)
{
	/* a stream that could be there: zeroes decompress to nothing */
	uint64_t from = get(b, STREAM) & ((1ULL << 50) - 1);

	for (unsigned i = 0; i < 64; i++)
		imgbuild_poke(b, 1024 + i, 1, imgbuild_peek(b, from + i, 1));
	stream_in(b, 1024);
}
static void l2_is(struct imgbuild *b, uint64_t hoff)
{
	imgbuild_l1_set(b, 3, hoff | IMGBUILD_COPIED);
}
static void l2_is_l1(struct imgbuild *b) { l2_is(b, b->l1_off); }
static void l2_is_header(struct imgbuild *b)
{
	l2_is(b, imgbuild_peek(b, snap(b), 8));
}
static void l2_is_l2(struct imgbuild *b) { l2_is(b, l2_of(b)); }
static void l2_is_data(struct imgbuild *b) { l2_is(b, offset(get(b, 8))); }
static void l2_is_refblock(struct imgbuild *b) { l2_is(b, block(b)); }
static void l2_is_reftable(struct imgbuild *b) { l2_is(b, b->reftable_off); }
static void l2_is_snapshots(struct imgbuild *b) { l2_is(b, snap(b)); }
static void l2_is_bitmap(struct imgbuild *b) { l2_is(b, bitmaps.table[0]); }
static void knot(struct imgbuild *b)
{
	/* two tables that map each other, and themselves */
	l2_is(b, offset(get(b, 8)));
	set(b, 30, l2_of(b) | IMGBUILD_COPIED);
	set(b, 31, offset(get(b, 8)) | IMGBUILD_COPIED);
	imgbuild_poke(b, offset(get(b, 8)), 8, l2_of(b) | IMGBUILD_COPIED);
}

/* --- snapshots ------------------------------------------------------------------------ */

static void snap_l1_unaligned(struct imgbuild *b)
{
	imgbuild_poke(b, snap(b), 8, 1234);
}
static void snap_l1_outside(struct imgbuild *b)
{
	imgbuild_poke(b, snap2(b), 8, 1ULL << 40);
}
static void snap_l1_long(struct imgbuild *b)
{
	imgbuild_poke(b, snap(b) + 8, 4, 1U << 24);
}
static void snap_l1_active(struct imgbuild *b)
{
	imgbuild_poke(b, snap(b), 8, b->l1_off);
}
static void snap_l1_same(struct imgbuild *b)
{
	imgbuild_poke(b, snap2(b), 8, imgbuild_peek(b, snap(b), 8));
}
static void snap_both(struct imgbuild *b)
{
	imgbuild_poke(b, snap(b), 8, 1234);
	imgbuild_poke(b, snap2(b), 8, 1234);
}
static void snap_extra_long(struct imgbuild *b)
{
	/* the second record's, which is last: its names move along */
	uint64_t s = snap2(b);
	uint64_t extra = imgbuild_peek(b, s + 36, 4);
	uint64_t id = imgbuild_peek(b, s + 40 + extra, 1);

	imgbuild_poke(b, s + 36, 4, 1100);
	for (unsigned i = 0; i < 6; i++)
		imgbuild_poke(b, s + 40 + 1101 + i, 1, (uint64_t)('s' + i));
	imgbuild_poke(b, s + 40 + 1100, 1, id);
}
static void snap_extra_short(struct imgbuild *b)
{
	/* eight bytes less in the last record; its names move up */
	uint64_t s = snap2(b);
	uint64_t extra = imgbuild_peek(b, s + 36, 4);

	imgbuild_poke(b, s + 36, 4, 8);
	for (unsigned i = 0; i < 7; i++)
		imgbuild_poke(b, s + 48 + i, 1,
			      imgbuild_peek(b, s + 40 + extra + i, 1));
}
static void snap_too_many(struct imgbuild *b)
{
	imgbuild_header_set(b, IMGBUILD_SNAPSHOTS, 3);
	imgbuild_poke(b, snap2(b) + snap2(b) - snap(b), 8, 1234);
}
static void snap_endless(struct imgbuild *b)
{
	imgbuild_poke(b, snap2(b) + 36, 4, 0x7fffffff);
}
static void snap_entry(struct imgbuild *b)
{
	uint64_t l1 = imgbuild_peek(b, snap(b), 8);

	imgbuild_poke(b, l1, 8, imgbuild_peek(b, l1, 8) | 6);
}
static void snap_entry_outside(struct imgbuild *b)
{
	imgbuild_poke(b, imgbuild_peek(b, snap(b), 8), 8, 1ULL << 40);
}

/* --- bitmaps and header ----------------------------------------------------------------- */

static void bitmap_granularity(struct imgbuild *b)
{
	imgbuild_poke(b, bitmaps.dir + 17, 1, 40);
}
static void bitmap_both(struct imgbuild *b)
{
	imgbuild_poke(b, bitmaps.dir + 17, 1, 40);
	imgbuild_poke(b, bitmaps.dir + 32 + 17, 1, 60);
}
static void bitmap_newer(struct imgbuild *b)
{
	/* of a type that a newer program may know */
	imgbuild_poke(b, bitmaps.dir + 32 + 16, 1, 9);
}
static void bitmap_twin(struct imgbuild *b)
{
	imgbuild_poke(b, bitmaps.dir + 32 + 24, 4, 0x62697430);
}
static void bitmap_name(struct imgbuild *b)
{
	imgbuild_poke(b, bitmaps.dir + 32 + 18, 2, 4000);
}
static void bitmap_entry(struct imgbuild *b)
{
	imgbuild_poke(b, bitmaps.table[1], 8, bitmaps.data[1] | 2);
}
static void bitmap_outside(struct imgbuild *b)
{
	imgbuild_poke(b, bitmaps.table[0], 8, 1ULL << 50);
}
static void bitmap_size(struct imgbuild *b)
{
	imgbuild_poke(b, bitmaps.dir + 8, 4, 3);
}
static void bitmap_shared(struct imgbuild *b)
{
	imgbuild_poke(b, bitmaps.table[1], 8, bitmaps.data[0]);
}
static void bitmap_is_l2(struct imgbuild *b)
{
	imgbuild_poke(b, bitmaps.table[0], 8, l2_of(b));
}
static void bitmap_dir_outside(struct imgbuild *b)
{
	imgbuild_poke(b, bitmaps.ext + 8 + 16, 8, 1ULL << 40);
}
static void bitmap_dir_long(struct imgbuild *b)
{
	imgbuild_poke(b, bitmaps.ext + 8 + 8, 8, 80);
}
static void bitmap_void(struct imgbuild *b)
{
	imgbuild_header_set(b, IMGBUILD_AUTOCLEAR, 0);
}
static void bitmap_in_use(struct imgbuild *b)
{
	imgbuild_poke(b, bitmaps.dir + 12, 4, 3);
	imgbuild_poke(b, bitmaps.dir + 32 + 17, 1, 3);
}
static void bitmap_ext_len(struct imgbuild *b)
{
	imgbuild_poke(b, bitmaps.ext + 4, 4, 23);
}
static void ext_endless(struct imgbuild *b)
{
	imgbuild_poke(b, b->ext_end, 8, 0x1234567800100000ULL);
}
static void raw_bit(struct imgbuild *b)
{
	imgbuild_header_set(b, IMGBUILD_AUTOCLEAR, 3);
}
static void bitmap_bit(struct imgbuild *b)
{
	imgbuild_header_set(b, IMGBUILD_AUTOCLEAR, 1);
}
static void everything(struct imgbuild *b)
{
	reftable_outside(b);
	l2_is_l1(b);
	data_is_snapshots(b);
	or_in(b, 0, 4);
	bitmap_granularity(b);
	snap_l1_active(b);
}

#include "check/broken_list.h"

const unsigned broken_n = sizeof(broken_cases) / sizeof(broken_cases[0]);
