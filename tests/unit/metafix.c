/* metafix: see metafix.h. */
#include "metafix.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/be.h"
#include "base/num.h"

#define OFFSET_BITS 0x00fffffffffffe00ULL

static void must(int r, const char *what)
{
	if (!r)
		return;
	fprintf(stderr, "metafix: %s: %d\n", what, r);
	abort();
}

void metafix_build(struct metafix *fx, const struct imgbuild_params *p)
{
	memset(fx, 0, sizeof(*fx));
	fx->mem = hostmem_new();
	fx->rec = hostrecord_new();
	fx->fault = hostfault_new();
	must(hostmem_open(&fx->plain, fx->mem, true), "open");
	imgbuild_init(&fx->b, fx->plain, p);
	if (!p->data_file)
		return;
	fx->data_mem = hostmem_new();
	must(hostmem_open(&fx->data, fx->data_mem, true), "open");
	must(hostfile_truncate(fx->data, p->size), "truncate");
	fx->b.data = fx->data;
}

static void open_meta(struct metafix *fx)
{
	static const struct meta_budget budget = { 1, 1 };
	static unsigned char head[1 << 16];
	uint64_t size = hostmem_size(fx->mem);
	struct hostfile *f;
	struct err err = { "" };

	must(hostmem_open(&f, fx->mem, true), "open");
	must(hostfault_wrap(fx->fault, &f, f), "fault");
	must(hostrecord_wrap(fx->rec, &fx->file, f), "record");
	hostmem_read(fx->mem, head, sizeof(head), 0);
	memcpy(fx->sector0, head, sizeof(fx->sector0));
	must(header_decode(&fx->h, head, sizeof(head), size, &err), err.text);
	header_geom(&fx->h, &fx->g);
	must(meta_open(&fx->m, fx->file, &fx->g, &fx->h, fx->sector0, true,
		       &budget, &err),
	     err.text);
	fx->m.data_file = fx->data;
	fx->scan = rolescan_start(&fx->m, &err);
}

void metafix_open(struct metafix *fx)
{
	imgbuild_finish(&fx->b);
	open_meta(fx);
}

void metafix_reopen(struct metafix *fx)
{
	meta_fini(&fx->m);
	hostfile_close(fx->file);
	open_meta(fx);
}

void metafix_close(struct metafix *fx)
{
	meta_fini(&fx->m);
	hostfile_close(fx->file);
	imgbuild_fini(&fx->b);
	hostfile_close(fx->plain);
	hostfile_close(fx->data);
	hostmem_free(fx->data_mem);
	hostrecord_free(fx->rec);
	hostfault_free(fx->fault);
	hostmem_free(fx->mem);
}

int metafix_change_locked(struct metafix *fx, uint64_t goff, uint64_t n,
			  enum l2map_what what, uint64_t hoff)
{
	struct l2map_change c = { what, goff, n * fx->g.sub_size, hoff };

	return l2map_change_locked(&fx->m, &c);
}

int metafix_change(struct metafix *fx, uint64_t goff, uint64_t n,
		   enum l2map_what what, uint64_t hoff)
{
	int r;

	lock_take(&fx->m.lock);
	r = metafix_change_locked(fx, goff, n, what, hoff);
	lock_drop(&fx->m.lock);
	return r;
}

uint64_t metafix_take(struct metafix *fx, uint64_t n)
{
	uint64_t hidx;
	int r;

	lock_take(&fx->m.lock);
	r = alloc_exact_locked(&fx->m, n, ROLE_DATA, &hidx);
	lock_drop(&fx->m.lock);
	must(r, "alloc");
	return hidx * fx->b.csize;
}

bool metafix_exact(struct metafix *fx)
{
	unsigned high;

	return writeback_all(&fx->m) == 0 && !metafix_compare(fx, &high) &&
	       !high;
}

uint64_t metafix_be64(struct metafix *fx, uint64_t off)
{
	unsigned char raw[8];

	hostmem_read(fx->mem, raw, 8, off);
	return be64_load(raw);
}

uint64_t metafix_refcount(struct metafix *fx, uint64_t hidx)
{
	struct imgbuild *b = &fx->b;
	uint64_t per_block = b->csize * 8 >> b->p.refcount_order;
	uint64_t n = imgbuild_header_get(b, IMGBUILD_REFTABLE_CLUSTERS) *
		     b->csize / 8;

	b->reftable_off = imgbuild_header_get(b, IMGBUILD_REFTABLE_OFFSET);
	if (hidx / per_block >= n ||
	    !metafix_be64(fx, b->reftable_off + hidx / per_block * 8))
		return 0;
	return imgbuild_refcount_get(b, hidx * b->csize);
}

struct refs {
	struct metafix *fx;
	uint64_t *n, len;
};

static void refer(struct refs *r, uint64_t off, uint64_t bytes)
{
	uint64_t size = r->fx->b.csize;

	for (uint64_t c = off / size; c * size < off + bytes; c++)
		if (c < r->len)
			r->n[c]++;
}

static void refer_entry(struct refs *r, uint64_t e)
{
	unsigned x = 62 - (r->fx->b.p.cluster_bits - 8);
	uint64_t at = e & ((1ULL << x) - 1);

	if (r->fx->b.p.data_file)
		return;
	if (e & IMGBUILD_COMPRESSED)
		refer(r, at,
		      ((e & (IMGBUILD_COMPRESSED - 1)) >> x) * 512 + 512 -
			      at % 512);
	else if (e & OFFSET_BITS)
		refer(r, e & OFFSET_BITS, 1);
}

static void refer_tables(struct refs *r)
{
	struct imgbuild *b = &r->fx->b;
	uint64_t table = imgbuild_header_get(b, IMGBUILD_REFTABLE_OFFSET);
	uint64_t bytes = imgbuild_header_get(b, IMGBUILD_REFTABLE_CLUSTERS) *
			 b->csize;

	refer(r, 0, 1);
	refer(r, b->l1_off, NUM_MAX(b->p.l1_entries * 8ULL, 1ULL));
	refer(r, table, bytes);
	for (uint64_t i = 0; i < bytes; i += 8)
		if (metafix_be64(r->fx, table + i))
			refer(r, metafix_be64(r->fx, table + i), 1);
	for (unsigned i = 0; i < b->p.l1_entries; i++) {
		uint64_t l2 = imgbuild_l1_get(b, i) & OFFSET_BITS;

		for (uint64_t k = 0; l2 && k < b->csize; k += b->esize)
			refer_entry(r, metafix_be64(r->fx, l2 + k));
		if (l2)
			refer(r, l2, 1);
	}
}

unsigned metafix_compare(struct metafix *fx, unsigned *high)
{
	struct refs r = { .fx = fx };
	unsigned low = 0;

	r.len = num_div_ceil(hostmem_size(fx->mem), fx->b.csize) + 16;
	r.n = calloc(r.len, sizeof(*r.n));
	refer_tables(&r);
	*high = 0;
	for (uint64_t i = 0; i < r.len; i++) {
		low += metafix_refcount(fx, i) < r.n[i];
		*high += metafix_refcount(fx, i) > r.n[i];
	}
	free(r.n);
	return low;
}

unsigned metafix_count(struct metafix *fx, enum hostrecord_op op)
{
	struct hostrecord_entry e;
	unsigned n = 0;

	for (uint64_t i = 0; i < hostrecord_len(fx->rec); i++) {
		hostrecord_get(fx->rec, i, &e);
		n += e.op == op;
	}
	return n;
}

const char *metafix_log(struct metafix *fx)
{
	static const char letters[] = "WZPATS..";
	static char text[4096];
	struct hostrecord_entry e;
	size_t n = 0;

	for (uint64_t i = 0; i < hostrecord_len(fx->rec); i++) {
		hostrecord_get(fx->rec, i, &e);
		if (letters[e.op] != '.' && n + 1 < sizeof(text))
			text[n++] = letters[e.op];
	}
	text[n] = '\0';
	return text;
}
