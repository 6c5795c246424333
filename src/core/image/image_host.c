/*
 * image_host: image_map_host(), which tells data from holes of the host file.
 *
 * Asking the host costs a system call for each extent, and where a cluster was
 * written in part only, the host may call the rest of it a hole. So it is asked
 * only about images that look preallocated: whose refcounts count clearly more
 * clusters than the host holds. It is a guess; a wrong one costs precision.
 * No lock: two threads may both count, and come to the same result.
 */
#include <errno.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/num.h"
#include "core/format/qcow2.h"
#include "core/format/rcentry.h"
#include "core/image/open.h"

#define PIECE (64U << 10)
/* Refcounts of 32 TiB with clusters of 64 KiB. Above it "no" is the answer:
 * a hostile table could name one empty block a million times. */
#define BLOCK_BYTES_MAX (1ULL << 30)

enum { UNKNOWN, NO, YES };

struct counting {
	struct image *img;
	uint64_t end;	/* host clusters of the file */
	uint64_t limit; /* count no further */
	uint64_t used;	/* counted so far */
	uint64_t read;	/* bytes of refcount blocks */
	uint8_t *buf;	/* PIECE bytes */
};

static void count_piece(struct counting *c, uint64_t n)
{
	unsigned order = c->img->geom.refcount_order;
	uint64_t i = 0;

	while (i < n && c->used < c->limit) {
		uint64_t from = rcentry_find_used(c->buf, order, i, n);

		i = rcentry_find_zero(c->buf, order, from, n);
		c->used += i - from;
	}
}

/* The block at HOFF, whose first entry counts cluster HIDX. */
static int count_block(struct counting *c, uint64_t hoff, uint64_t hidx)
{
	const struct geom *g = &c->img->geom;
	uint64_t n = NUM_MIN(g->refblock_entries, c->end - hidx);
	uint64_t in_piece = (uint64_t)PIECE * 8 >> g->refcount_order;

	for (uint64_t i = 0; i < n && c->used < c->limit; i += in_piece) {
		uint64_t step = NUM_MIN(in_piece, n - i);
		size_t bytes = (size_t)(((step << g->refcount_order) + 7) / 8);
		int r;

		c->read += bytes;
		if (c->read > BLOCK_BYTES_MAX)
			return -EFBIG;
		r = hostfile_pread(c->img->file, c->buf, bytes,
				   hoff + (i << g->refcount_order) / 8, NULL);
		if (r < 0)
			return r;
		count_piece(c, step);
	}
	return 0;
}

/* Entries of the refcount table from TABLE (LEN bytes of it) on; the first is
 * number AREA. */
static int count_areas(struct counting *c, const uint8_t *table, size_t len,
		       uint64_t area)
{
	const struct geom *g = &c->img->geom;

	for (size_t i = 0; i < len / 8 && c->used < c->limit; i++, area++) {
		uint64_t hoff = be64_load(table + i * 8) & QCOW2_REFTABLE_MASK;
		int r;

		if (area << g->refblock_bits >= c->end)
			return 0;
		if (!hoff)
			continue;
		if (hoff >> g->cluster_bits >= c->end)
			return -EUCLEAN;
		r = count_block(c, hoff, area << g->refblock_bits);
		if (r < 0)
			return r;
	}
	return 0;
}

static int count_used(struct counting *c)
{
	const struct header *h = &c->img->header;
	const struct geom *g = &c->img->geom;
	size_t len = (size_t)h->reftable_clusters << g->cluster_bits;
	autofree uint8_t *table = mem_array(len, 1);
	autofree uint8_t *buf = mem_array(PIECE, 1);
	int r;

	if (!table || !buf)
		return -ENOMEM;
	c->buf = buf;
	r = hostfile_pread(c->img->file, table, len, h->reftable_offset, NULL);
	return r < 0 ? r : count_areas(c, table, len, 0);
}

static int look(struct image *img)
{
	struct counting c = { .img = img };
	struct host_stat st;
	uint64_t held;

	if (hostfile_stat(img->file, &st) < 0 || st.block_device)
		return NO;
	held = st.blocks * 512 >> img->geom.cluster_bits;
	c.end = geom_clusters(&img->geom, st.size);
	/* a ninth more, and more than rounding */
	c.limit = NUM_MAX(held + held / 9, held + 2);
	return count_used(&c) == 0 && c.used >= c.limit ? YES : NO;
}

static bool looks_preallocated(struct image *img)
{
	int v = atomic_load(&img->looks_preallocated);

	if (v == UNKNOWN) {
		v = look(img);
		atomic_store(&img->looks_preallocated, v);
	}
	return v == YES;
}

int image_map_host(struct image *img, struct image_extent *ext)
{
	uint64_t end;
	bool data;
	int r;

	ext->host_hole = false;
	for (unsigned i = 0; img && i < ext->depth; i++)
		img = img->backing.image;
	/* of a raw file image_map() has told already; a hole decrypts to
	 * something, not to zero */
	if (!img || img->disk.crypt || ext->kind != IMAGE_EXTENT_DATA || !looks_preallocated(img))
		return 0;
	r = hostfile_next_extent(img->disk.data, ext->hoff, &data, &end);
	if (r < 0 && r != -ENXIO)
		return r;
	/* -ENXIO: the file ends within its last cluster */
	ext->host_hole = r < 0 || !data;
	if (r == 0)
		ext->len = NUM_MIN(ext->len, end - ext->hoff);
	return 0;
}

const char *image_name_at(const struct image *img, unsigned depth)
{
	for (; depth; depth--) {
		if (img->backing.raw)
			return img->backing.raw->name;
		img = img->backing.image;
	}
	return (img->data_file ? img->data_file : img->file)->name;
}
