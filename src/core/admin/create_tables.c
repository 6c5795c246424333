/*
 * create_tables: the tables of a new image; see create_work.h. They are made in
 * chunks and never held whole.
 */
#include "core/admin/create_work.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/num.h"
#include "core/format/qcow2.h"
#include "core/format/rcentry.h"

/* Fill N entries of a table from entry FIRST on; BUF is zero. */
typedef void fill_fn(const struct create_work *c, void *buf, uint64_t first,
		     uint64_t n);

/* Write the table at cluster HIDX whose first USED entries of
 * 1 << ORDER bits are not zero; the rest of the file reads zero already. */
static int write_table(struct create_work *c, uint64_t hidx, uint64_t used,
		       unsigned order, fill_fn *fill)
{
	uint64_t per_chunk = ((uint64_t)CREATE_CHUNK * 8) >> order;
	uint64_t hoff = hidx << c->g.cluster_bits;
	autofree uint8_t *buf = malloc(CREATE_CHUNK);

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
		create_advance(c, len);
	}
	return 0;
}

static void fill_reftable(const struct create_work *c, void *buf,
			  uint64_t first, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		be64_store((uint8_t *)buf + i * 8,
			   (c->row.refblock + first + i) << c->g.cluster_bits);
}

static void fill_refblocks(const struct create_work *c, void *buf,
			   uint64_t first, uint64_t n)
{
	(void)first;
	for (uint64_t i = 0; i < n; i++)
		rcentry_set(buf, c->g.refcount_order, i, 1);
}

static void fill_l1(const struct create_work *c, void *buf, uint64_t first,
		    uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		be64_store((uint8_t *)buf + i * 8,
			   ((c->row.l2 + first + i) << c->g.cluster_bits) |
				   QCOW2_ENTRY_COPIED);
}

/* An extended entry's bitmap stays 0: room, and no data in it yet. Another one
 * of an encrypted disk says that it reads as zero, for the file's zeroes would
 * be decrypted. */
static void fill_l2(const struct create_work *c, void *buf, uint64_t first,
		    uint64_t n)
{
	uint64_t flags = QCOW2_ENTRY_COPIED |
			 (c->luks.len && !c->opts->extended_l2 ?
				  QCOW2_ENTRY_ZERO :
				  0);

	for (uint64_t i = 0; i < n; i++) {
		uint8_t *e = (uint8_t *)buf + (i << c->g.entry_bits);

		be64_store(e, ((c->row.data + first + i) << c->g.cluster_bits) |
				      flags);
		/* what others write to a raw data file is the disk's */
		if (c->opts->extended_l2 && c->opts->data_file_raw)
			be64_store(e + 8, UINT32_MAX); /* all allocated */
	}
}

static int write_tables(struct create_work *c)
{
	const struct create_row *l = &c->row;
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
	return ret ? err_set_sys(c->err, ret, "cannot write the tables") : 0;
}

static int write_luks(struct create_work *c)
{
	const struct create_luks *l = &c->luks;
	uint64_t at = c->row.luks << c->g.cluster_bits;
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

int create_tables_write(struct create_work *c)
{
	int ret = write_tables(c);

	return ret ? ret : write_luks(c);
}
