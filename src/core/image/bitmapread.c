#include "core/image/bitmapread.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/num.h"
#include "core/image/bitmapbits.h"
#include "core/image/open.h"

int bitmapread_table(struct image *img, const struct bitmapdir_entry *e,
		     uint64_t **table, struct err *err)
{
	int r;

	*table = mem_array(e->table_entries, 8);
	if (!*table)
		return err_set(err, -ENOMEM, "no memory for a bitmap table");
	r = hostfile_pread(img->file, *table, (size_t)e->table_entries * 8,
			   e->table_off, NULL);
	return r < 0 ? err_set_sys(err, r, "cannot read a bitmap table") : 0;
}

/* What entry I of TABLE stands for. */
static int table_at(struct image *img, const uint64_t *table, uint64_t i,
		    uint64_t file_size, enum bitmapdir_kind *kind,
		    uint64_t *hoff, struct err *err)
{
	uint64_t raw = be64_load(&table[i]);

	if (bitmapdir_table_decode(raw, &img->geom, file_size, kind, hoff) == 0)
		return 0;
	return err_set(err, -EUCLEAN,
		       "its table has an invalid entry: %#" PRIx64, raw);
}

/* The bits of one cluster into BUF, at most LEN bytes. */
static int read_piece(struct image *img, enum bitmapdir_kind kind,
		      uint64_t hoff, void *buf, size_t len, struct err *err)
{
	int r = 0;

	if (kind == BITMAPDIR_DATA)
		r = hostfile_pread(img->file, buf, len, hoff, NULL);
	else if (kind == BITMAPDIR_ONES)
		memset(buf, 0xff, len);
	return r < 0 ? err_set_sys(err, r, "cannot read a bitmap") : 0;
}

int bitmapread_file_size(struct image *img, uint64_t *size, struct err *err)
{
	struct host_stat st;
	int r = hostfile_stat(img->file, &st);

	*size = r < 0 ? 0 : st.size;
	return r < 0 ? err_set_sys(err, r, "cannot stat") : 0;
}

int bitmapread_load(struct image *img, struct bitmap *b, struct err *err)
{
	uint64_t bits = bitmapdir_bits(img->geom.size, b->e.granularity_bits);
	uint64_t size = bitmapbits_size(bits), cs = img->geom.cluster_size;
	uint64_t n = num_div_ceil(num_div_ceil(bits, 8), cs), end = 0;
	_Atomic uint64_t *words = bitmapbits_new(bits);
	autofree uint64_t *table = NULL;
	int r = words ? bitmapread_file_size(img, &end, err) :
			err_set(err, -ENOMEM, "no memory for a bitmap");

	if (r == 0)
		r = bitmapread_table(img, &b->e, &table, err);
	/* those behind the last bit, too: a table is sound, or not */
	for (uint64_t i = 0; r == 0 && i < b->e.table_entries; i++) {
		enum bitmapdir_kind kind;
		uint64_t hoff;

		r = table_at(img, table, i, end, &kind, &hoff, err);
		if (r == 0 && i < n)
			r = read_piece(img, kind, hoff,
				       bitmapbits_bytes(words) + i * cs,
				       (size_t)NUM_MIN(cs, size - i * cs), err);
	}
	if (r < 0) {
		free(words);
		return r;
	}
	bitmapbits_trim(words, bits);
	b->words = words;
	b->bits = bits;
	atomic_store(&b->changed, false);
	return 0;
}

/* A run that may go on in the next cluster. */
struct run {
	uint64_t bit, n;
	bool set;
	int (*fn)(void *arg, uint64_t bit, uint64_t n, bool set);
	void *arg;
};

static int add_run(struct run *run, uint64_t n, bool set)
{
	int r = 0;

	if (run->n && run->set != set) {
		r = run->fn(run->arg, run->bit, run->n, run->set);
		run->bit += run->n;
		run->n = 0;
	}
	run->n += n;
	run->set = set;
	return r;
}

static int each_in(struct run *run, const _Atomic uint64_t *words,
		   uint64_t bits)
{
	int r = 0;

	for (uint64_t at = 0, n; at < bits && r == 0; at += n) {
		bool set;

		n = bitmapbits_run(words, bits, at, &set);
		r = add_run(run, n, set);
	}
	return r;
}

static int each_stored(struct image *img, const struct bitmap *b,
		       uint64_t bits, struct run *run, struct err *err)
{
	uint64_t cs = img->geom.cluster_size, end = 0;
	autofree uint64_t *table = NULL;
	autofree void *buf = mem_aligned((size_t)cs);
	int r = buf ? bitmapread_file_size(img, &end, err) :
		      err_set(err, -ENOMEM, "no memory for a bitmap");

	if (r == 0)
		r = bitmapread_table(img, &b->e, &table, err);
	for (uint64_t i = 0; r == 0 && i * cs * 8 < bits; i++) {
		uint64_t n = NUM_MIN(cs * 8, bits - i * cs * 8), hoff;
		enum bitmapdir_kind kind;

		r = table_at(img, table, i, end, &kind, &hoff, err);
		if (r == 0)
			r = read_piece(img, kind, hoff, buf, (size_t)cs, err);
		if (r == 0 && kind == BITMAPDIR_DATA)
			r = each_in(run, buf, n);
		else if (r == 0)
			r = add_run(run, n, kind == BITMAPDIR_ONES);
	}
	return r;
}

int bitmapread_each(struct image *img, const struct bitmap *b,
		     int (*fn)(void *arg, uint64_t bit, uint64_t n, bool set),
		     void *arg, struct err *err)
{
	uint64_t bits = bitmapdir_bits(img->geom.size, b->e.granularity_bits);
	struct run run = { .fn = fn, .arg = arg };
	int r = b->words ? each_in(&run, b->words, b->bits) :
			   each_stored(img, b, bits, &run, err);

	if (r == 0 && run.n)
		r = fn(arg, run.bit, run.n, run.set);
	return r;
}
