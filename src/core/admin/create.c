/*
 * create: writes a new image.
 *
 * Everything stands in one row, so that all of it is known before the first
 * write:
 *
 *	header | refcount table | refcount blocks | L1 | encryption header |
 *	L2 tables | data
 *
 * The two last parts exist with preallocation only. Every cluster of the row
 * has refcount one. Tables are made in chunks of CHUNK bytes and never held
 * whole. Order of writes: all but the first sector, F, the first sector, F; so
 * a file that was cut short at any moment has no magic and is no image.
 */
#include "core/admin/create.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "core/admin/create_check.h"
#include "core/format/feature.h"
#include "core/format/geom.h"
#include "core/format/header.h"
#include "core/format/headerext.h"
#include "core/format/l2entry.h"
#include "core/format/qcow2.h"
#include "core/format/rcentry.h"
#include "core/host/hostlock.h"

#define CHUNK (1U << 20)

/* The row, in clusters. */
struct layout {
	uint64_t reftable, refblock, l1, luks, l2, data; /* first cluster of each */
	uint64_t total;
	uint64_t n_reftable, n_refblock, n_l1, n_luks, n_l2, n_data;
	uint64_t l1_entries;
};

struct creation {
	struct hostfile *file;
	const struct create_opts *opts;
	struct geom g;
	struct layout lay;
	struct create_luks luks; /* empty: not encrypted */
	uint64_t work, done; /* bytes, for progress */
	struct err *err;
};

/* --- options --------------------------------------------------------------- */

static void set_defaults(struct create_opts *o)
{
	if (!o->version)
		o->version = 3;
	if (!o->cluster_size)
		o->cluster_size = 64 << 10;
	if (!o->refcount_bits)
		o->refcount_bits = 16;
	if (o->size <= QCOW2_MAX_SIZE)
		o->size = num_round_up(o->size, QCOW2_SECTOR);
	/* who reads the tables must see the same as who reads the raw file,
	 * also after somebody wrote to that alone */
	if (o->data_file_raw && o->prealloc == CREATE_PREALLOC_OFF)
		o->prealloc = CREATE_PREALLOC_METADATA;
}

/* --- layout ---------------------------------------------------------------- */

static int l1_too_big(const struct creation *c)
{
	unsigned bits = c->g.cluster_bits;

	/* An L1 table of 32 MiB maps 2^22 L2 tables of a cluster each. */
	while (++bits <= QCOW2_CLUSTER_BITS_MAX) {
		if (num_div_ceil(c->g.size,
				 1ULL << (2 * bits - c->g.entry_bits)) <=
		    QCOW2_MAX_L1_BYTES / 8)
			return err_set(c->err, -EFBIG,
				"clusters of %" PRIu64 " bytes cannot map "
				"%" PRIu64 " bytes; use cluster_size=%u or more",
				c->g.cluster_size, c->g.size, 1U << bits);
	}
	return err_set(c->err, -EFBIG, "%" PRIu64 " bytes are more than qcow2 "
		       "can map with any cluster size; 2 EiB is the most",
		       c->g.size);
}

/* The refcount structures count themselves: grow them until they suffice. */
static void fix_refcounts(const struct geom *g, struct layout *l,
			  uint64_t others)
{
	uint64_t before;

	l->n_reftable = 1;
	l->n_refblock = 1;
	do {
		before = l->n_reftable + l->n_refblock;
		l->total = others + before;
		l->n_refblock = num_div_ceil(l->total, g->refblock_entries);
		l->n_reftable = geom_clusters(g, l->n_refblock * 8);
	} while (l->n_reftable + l->n_refblock != before);
}

static int lay_out(struct creation *c)
{
	const struct geom *g = &c->g;
	struct layout *l = &c->lay;

	l->l1_entries = NUM_MAX(1, geom_l1_entries(g, g->size));
	if (l->l1_entries > QCOW2_MAX_L1_BYTES / 8)
		return l1_too_big(c);
	l->n_l1 = geom_clusters(g, l->l1_entries * 8);
	if (c->opts->prealloc != CREATE_PREALLOC_OFF) {
		l->n_data = geom_clusters(g, g->size);
		l->n_l2 = num_div_ceil(l->n_data, g->l2_entries);
	}
	l->n_luks = geom_clusters(g, c->luks.len);
	fix_refcounts(g, l, 1 + l->n_l1 + l->n_luks + l->n_l2 +
				    (c->opts->data_file ? 0 : l->n_data));
	l->reftable = 1;
	l->refblock = l->reftable + l->n_reftable;
	l->l1 = l->refblock + l->n_refblock;
	l->luks = l->l1 + l->n_l1;
	l->l2 = l->luks + l->n_luks;
	l->data = c->opts->data_file ? 0 : l->l2 + l->n_l2;
	if (l->n_reftable > QCOW2_MAX_REFTABLE_BYTES >> g->cluster_bits ||
	    l->total >= QCOW2_HOST_OFFSET_MAX >> g->cluster_bits)
		return err_set(c->err, -EFBIG, "that much preallocation does "
			       "not fit the refcount table; use a larger "
			       "cluster_size, fewer refcount_bits or "
			       "preallocation=off");
	return 0;
}

/* --- tables ---------------------------------------------------------------- */

static void advance(struct creation *c, uint64_t bytes)
{
	c->done += bytes;
	if (c->opts->progress && c->work)
		c->opts->progress(c->opts->progress_arg,
				  (unsigned)(NUM_MIN(c->done, c->work) /
					     (c->work / 1000 + 1)));
}

/* Fill N entries of a table from entry FIRST on; BUF is zero. */
typedef void fill_fn(const struct creation *c, void *buf, uint64_t first,
		     uint64_t n);

/* Write a table of N_CLUSTERS at cluster HIDX whose first USED entries of
 * 1 << ORDER bits are not zero; the rest of the file reads zero already. */
static int write_table(struct creation *c, uint64_t hidx, uint64_t used,
		       unsigned order, fill_fn *fill)
{
	uint64_t per_chunk = ((uint64_t)CHUNK * 8) >> order;
	uint64_t hoff = hidx << c->g.cluster_bits;
	autofree uint8_t *buf = malloc(CHUNK);

	if (!buf)
		return -ENOMEM;
	for (uint64_t i = 0; i < used; i += per_chunk) {
		uint64_t n = NUM_MIN(per_chunk, used - i);
		size_t len = (size_t)num_round_up(num_div_ceil(n << order, 8),
						  QCOW2_SECTOR);
		int ret;

		memset(buf, 0, len);
		fill(c, buf, i, n);
		ret = hostfile_pwrite_full(c->file, buf, len, hoff);
		if (ret < 0)
			return ret;
		hoff += len;
		advance(c, len);
	}
	return 0;
}

static void fill_reftable(const struct creation *c, void *buf, uint64_t first,
			  uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		be64_store((uint8_t *)buf + i * 8,
			   (c->lay.refblock + first + i) << c->g.cluster_bits);
}

static void fill_refblocks(const struct creation *c, void *buf, uint64_t first,
			   uint64_t n)
{
	(void)first;
	for (uint64_t i = 0; i < n; i++)
		rcentry_set(buf, c->g.refcount_order, i, 1);
}

static void fill_l1(const struct creation *c, void *buf, uint64_t first,
		    uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		be64_store((uint8_t *)buf + i * 8,
			   ((c->lay.l2 + first + i) << c->g.cluster_bits) |
				   QCOW2_ENTRY_COPIED);
}

/* An extended entry's bitmap stays 0: room, and no data in it yet. Another one
 * of an encrypted disk says that it reads as zero, for the file's zeroes would
 * be decrypted. */
static void fill_l2(const struct creation *c, void *buf, uint64_t first,
		    uint64_t n)
{
	uint64_t flags = QCOW2_ENTRY_COPIED |
			 (c->luks.len && !c->opts->extended_l2 ?
				  QCOW2_ENTRY_ZERO :
				  0);

	for (uint64_t i = 0; i < n; i++)
		be64_store((uint8_t *)buf + (i << c->g.entry_bits),
			   ((c->lay.data + first + i) << c->g.cluster_bits) |
				   flags);
}

static int write_tables(struct creation *c)
{
	const struct layout *l = &c->lay;
	int ret;

	ret = write_table(c, l->reftable, l->n_refblock, 6, fill_reftable);
	if (!ret)
		ret = write_table(c, l->refblock, l->total,
				  c->g.refcount_order, fill_refblocks);
	if (!ret)
		ret = write_table(c, l->l1, l->n_l2, 6, fill_l1);
	if (!ret)
		ret = write_table(c, l->l2, l->n_data, c->g.entry_bits + 3,
				  fill_l2);
	if (ret)
		return err_set_sys(c->err, ret, "cannot write the tables");
	return 0;
}

static int write_luks(struct creation *c)
{
	const struct create_luks *l = &c->luks;
	uint64_t at = c->lay.luks << c->g.cluster_bits;
	int ret;

	if (!l->len)
		return 0;
	ret = hostfile_pwrite_full(c->file, l->header, sizeof(l->header), at);
	if (!ret)
		ret = hostfile_pwrite_full(c->file, l->material,
					   l->material_len,
					   at + l->material_at);
	return ret ? err_set_sys(c->err, ret, "cannot write the encryption "
				 "header") : 0;
}

/* --- data ------------------------------------------------------------------ */

static int write_zeroes(struct creation *c, struct hostfile *file,
			uint64_t hoff, uint64_t len)
{
	autofree void *buf = mem_array(1, CHUNK);

	if (!buf)
		return -ENOMEM;
	while (len) {
		size_t n = (size_t)NUM_MIN(len, CHUNK);
		int ret = hostfile_pwrite_full(file, buf, n, hoff);

		if (ret < 0)
			return ret;
		hoff += n;
		len -= n;
		advance(c, n);
	}
	return 0;
}

static int reserve_data(struct creation *c)
{
	struct hostfile *file = c->opts->data_file ? c->opts->data : c->file;
	uint64_t hoff = c->lay.data << c->g.cluster_bits;
	uint64_t len = c->lay.n_data << c->g.cluster_bits;
	int ret = 0;

	if (c->opts->data_file)
		len = NUM_MIN(len, c->g.size);

	if (!len || c->opts->prealloc < CREATE_PREALLOC_FALLOC)
		return 0;
	if (c->opts->prealloc == CREATE_PREALLOC_FALLOC)
		ret = hostfile_allocate(file, hoff, len);
	/* A host that cannot reserve gets the room by writing it. */
	if (c->opts->prealloc == CREATE_PREALLOC_FULL || ret == -EOPNOTSUPP)
		ret = write_zeroes(c, file, hoff, len);
	if (ret)
		return err_set_sys(c->err, ret,
				   "cannot preallocate %" PRIu64 " bytes", len);
	return 0;
}

/* --- header ---------------------------------------------------------------- */

static void header_fields(const struct creation *c, struct header *h)
{
	const struct create_opts *o = c->opts;

	*h = (struct header){
		.version = o->version,
		.cluster_bits = c->g.cluster_bits,
		.size = c->g.size,
		.crypt_method = c->luks.len ? QCOW2_CRYPT_LUKS :
					      QCOW2_CRYPT_NONE,
		.l1_entries = (uint32_t)c->lay.l1_entries,
		.l1_offset = c->lay.l1 << c->g.cluster_bits,
		.reftable_offset = c->lay.reftable << c->g.cluster_bits,
		.reftable_clusters = (uint32_t)c->lay.n_reftable,
		.refcount_order = c->g.refcount_order,
		.header_len = o->version == 2 ? QCOW2_V2_HEADER_LEN :
						QCOW2_OUR_HEADER_LEN,
		.compression = (uint8_t)o->compression,
	};
	if (o->compression != QCOW2_COMPRESSION_ZLIB)
		h->incompatible |= QCOW2_INCOMPAT_COMPRESSION;
	if (o->extended_l2)
		h->incompatible |= QCOW2_INCOMPAT_EXTL2;
	if (o->data_file)
		h->incompatible |= QCOW2_INCOMPAT_DATA_FILE;
	if (o->data_file_raw)
		h->autoclear |= QCOW2_AUTOCLEAR_DATA_FILE_RAW;
	if (o->lazy_refcounts)
		h->compatible |= QCOW2_COMPAT_LAZY_REFCOUNTS;
}

/* Put the extensions and the backing name behind the header in BUF of CAP
 * bytes. The table of feature names is a comfort: it goes when room is short. */
static int append_rest(const struct creation *c, struct header *h, void *buf,
		       size_t cap)
{
	const struct create_opts *o = c->opts;
	size_t name_len = o->backing_file ? strlen(o->backing_file) : 0;
	size_t pos = h->header_len;
	uint32_t len;
	const void *names = feature_name_table(&len);
	uint8_t area[16];
	int ret = 0;

	lukshdr_put_area(area, c->lay.luks << c->g.cluster_bits, c->luks.len);
	if (c->luks.len)
		ret = headerext_append(buf, cap, &pos, QCOW2_EXT_CRYPTO, area,
				       sizeof(area));
	if (!ret && o->backing_file)
		ret = headerext_append(buf, cap, &pos,
				       QCOW2_EXT_BACKING_FORMAT,
				       o->backing_format,
				       (uint32_t)strlen(o->backing_format));
	if (!ret && o->data_file)
		ret = headerext_append(buf, cap, &pos, QCOW2_EXT_DATA_FILE,
				       o->data_file,
				       (uint32_t)strlen(o->data_file));
	if (!ret && h->version >= 3 &&
	    pos + 8 + num_round_up(len, 8) + 8 + name_len <= cap)
		ret = headerext_append(buf, cap, &pos, QCOW2_EXT_FEATURE_NAMES,
				       names, len);
	if (!ret)
		ret = headerext_append(buf, cap, &pos, QCOW2_EXT_END, NULL, 0);
	if (ret || name_len > cap - pos)
		return err_set(c->err, -EINVAL, "the names of its files do "
			       "not fit a header cluster of %zu bytes; use a "
			       "larger cluster_size or a shorter name", cap);
	if (name_len) {
		memcpy((uint8_t *)buf + pos, o->backing_file, name_len);
		h->backing_offset = pos;
		h->backing_size = (uint32_t)name_len;
	}
	return 0;
}

static int build_header(const struct creation *c, void *buf)
{
	struct header h;
	int ret;

	header_fields(c, &h);
	ret = append_rest(c, &h, buf, (size_t)c->g.cluster_size);
	if (!ret)
		header_encode(&h, buf);
	return ret;
}

/* All of it before the image that names it. */
static int finish_data_file(struct creation *c)
{
	struct host_stat st;
	int ret = hostfile_stat(c->opts->data, &st);

	if (!ret && st.block_device && st.size < c->g.size)
		ret = -ENOSPC;
	else if (!ret && !st.block_device)
		ret = hostfile_truncate(c->opts->data, c->g.size);
	if (!ret)
		ret = hostfile_sync(c->opts->data);
	return ret ? err_set_sys(c->err, ret, "cannot make the data file "
				 "%" PRIu64 " bytes long", c->g.size) : 0;
}

static int write_host(struct creation *c, uint8_t *head)
{
	size_t rest = (size_t)c->g.cluster_size - QCOW2_SECTOR;
	int ret = hostfile_truncate(c->file, c->lay.total
					     << c->g.cluster_bits);

	if (ret)
		return err_set_sys(c->err, ret, "cannot make the file "
				   "%" PRIu64 " bytes long",
				   c->lay.total << c->g.cluster_bits);
	ret = write_tables(c);
	if (!ret)
		ret = write_luks(c);
	if (!ret)
		ret = reserve_data(c);
	if (!ret && c->opts->data_file)
		ret = finish_data_file(c);
	if (ret)
		return ret;
	if (rest)
		ret = hostfile_pwrite_full(c->file, head + QCOW2_SECTOR, rest,
					   QCOW2_SECTOR);
	if (!ret)
		ret = hostfile_sync(c->file);
	if (!ret)
		ret = hostfile_pwrite_full(c->file, head, QCOW2_SECTOR, 0);
	if (!ret)
		ret = hostfile_sync(c->file);
	if (ret)
		return err_set_sys(c->err, ret, "cannot write the header");
	return 0;
}

static void count_work(struct creation *c)
{
	const struct layout *l = &c->lay;

	c->work = num_div_ceil(l->total << c->g.refcount_order, 8) +
		  (l->n_data << c->g.entry_bits) + l->n_l2 * 8 + l->n_refblock * 8;
	if (c->opts->prealloc == CREATE_PREALLOC_FULL)
		c->work += l->n_data << c->g.cluster_bits;
	/* whole sectors are written: leave some room below 1000 permille */
	c->work += 4 * QCOW2_SECTOR;
}

static int write_all(struct creation *c)
{
	autofree uint8_t *head = mem_array(1, (size_t)c->g.cluster_size);
	int ret;

	if (!head)
		return err_set(c->err, -ENOMEM, "no memory for a cluster");
	ret = build_header(c, head);
	if (ret)
		return ret;
	count_work(c);
	ret = write_host(c, head);
	if (!ret && c->opts->progress)
		c->opts->progress(c->opts->progress_arg, 1000);
	return ret;
}

int create_image(struct hostfile *file, const struct create_opts *opts,
		 struct err *err)
{
	struct create_opts o = *opts;
	struct creation c = { .file = file, .opts = &o, .err = err };
	int ret;

	set_defaults(&o);
	ret = create_check(&o, err);
	if (ret)
		return ret;
	geom_init(&c.g, o.version, (unsigned)__builtin_ctzll(o.cluster_size),
		  (unsigned)__builtin_ctz(o.refcount_bits),
		  (uint8_t)o.compression, o.size);
	if (o.extended_l2)
		geom_extend(&c.g);
	if (o.luks)
		ret = create_luks_make(&c.luks, o.luks, err);
	if (!ret)
		ret = lay_out(&c);
	if (!ret)
		ret = write_all(&c);
	create_luks_fini(&c.luks);
	return ret;
}

int create_exclusive(struct hostfile *file, const struct create_opts *opts,
		     struct err *err)
{
	int r = hostlock_take(file, HOSTLOCK_CREATE, err);

	if (r < 0 && r != -EOPNOTSUPP)
		return r;
	r = create_image(file, opts, err);
	hostlock_drop(file, HOSTLOCK_CREATE);
	return r;
}
