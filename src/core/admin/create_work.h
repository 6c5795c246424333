/*
 * create_work: the making of one image, step by step. Private to core/admin;
 * create.c has the order of the steps.
 *
 * Everything stands in one row, so that all of it is known before the first
 * write:
 *
 *	header | refcount table | refcount blocks | L1 | encryption header |
 *	L2 tables | data
 *
 * The two last parts exist with preallocation only. Every cluster of the row
 * has refcount one.
 */
#pragma once

#include "core/admin/create.h"
#include "core/format/geom.h"

#define CREATE_CHUNK (1U << 20) /* bytes written at once */

/* The row, in clusters. */
struct create_row {
	uint64_t reftable, refblock, l1, luks, l2, data; /* first cluster of each */
	uint64_t total;
	uint64_t n_reftable, n_refblock, n_l1, n_luks, n_l2, n_data;
	uint64_t l1_entries;
};

struct create_work {
	struct hostfile *file;
	const struct create_opts *opts; /* with defaults filled in */
	struct geom g;
	struct create_row row;
	struct create_luks luks; /* empty: not encrypted */
	uint64_t work, done; /* bytes, for progress */
	struct err *err;
};

/* create_row.c: plan c->row from what is set above it, and luks. -EFBIG with
 * text. */
int create_row_plan(struct create_work *c);

/* create_header.c: the first cluster into BUF, which is zero. -EINVAL with text:
 * the names do not fit. */
int create_header_make(const struct create_work *c, void *buf);

/* create_tables.c: write the tables, and the encryption header. The file has its
 * length, and reads as zero. -errno with text. */
int create_tables_write(struct create_work *c);

/* create_data.c: a device that is the data file reads as zero wherever tables
 * will show it; the room that preallocation asks for; the data file as long as
 * the disk, F. -errno, the last two with text. */
int create_data_clear(struct create_work *c);
int create_data_reserve(struct create_work *c);
int create_data_finish(struct create_work *c);

/* create.c: BYTES more were written. */
void create_advance(struct create_work *c, uint64_t bytes);
