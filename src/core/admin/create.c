/*
 * create: writes a new image, see create_work.h for its parts. Order of writes:
 * all but the first sector, F, the first sector, F; so a file that was cut short
 * at any moment has no magic and is no image.
 */
#include "core/admin/create.h"

#include <errno.h>
#include <inttypes.h>

#include "base/mem.h"
#include "base/num.h"
#include "core/admin/create_check.h"
#include "core/admin/create_work.h"
#include "core/format/qcow2.h"
#include "core/host/hostlock.h"

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

/* --- progress -------------------------------------------------------------- */

static void count_work(struct create_work *c)
{
	const struct create_row *l = &c->row;

	c->work = num_div_ceil(l->total << c->g.refcount_order, 8) +
		  (l->n_data << c->g.entry_bits) + l->n_l2 * 8 + l->n_refblock * 8;
	if (c->opts->prealloc == CREATE_PREALLOC_FULL)
		c->work += l->n_data << c->g.cluster_bits;
	/* whole sectors are written: leave some room below 1000 permille */
	c->work += 4 * QCOW2_SECTOR;
}

void create_advance(struct create_work *c, uint64_t bytes)
{
	c->done += bytes;
	if (c->opts->progress && c->work)
		c->opts->progress(c->opts->progress_arg,
				  (unsigned)(NUM_MIN(c->done, c->work) /
					     (c->work / 1000 + 1)));
}

/* --- the order of writes --------------------------------------------------- */

static int empty(struct hostfile *f)
{
	struct host_stat st;
	int ret = hostfile_stat(f, &st);

	return ret || st.block_device || !st.size ? ret :
						    hostfile_truncate(f, 0);
}

/* By now only the host can fail: an option that is refused costs nobody what
 * the files hold. */
static int empty_files(struct create_work *c)
{
	int ret = empty(c->file);

	if (!ret && c->opts->data_file)
		ret = empty(c->opts->data);
	if (!ret && c->opts->data_file)
		ret = create_data_clear(c);
	return ret ? err_set_sys(c->err, ret, "cannot empty the file") : 0;
}

static int write_host(struct create_work *c, uint8_t *head)
{
	size_t rest = (size_t)c->g.cluster_size - QCOW2_SECTOR;
	int ret = hostfile_truncate(c->file, c->row.total
					     << c->g.cluster_bits);

	if (ret)
		return err_set_sys(c->err, ret, "cannot make the file "
				   "%" PRIu64 " bytes long",
				   c->row.total << c->g.cluster_bits);
	ret = create_tables_write(c);
	if (!ret)
		ret = create_data_reserve(c);
	/* all of it before the image that names it */
	if (!ret && c->opts->data_file)
		ret = create_data_finish(c);
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

static int write_all(struct create_work *c)
{
	autofree uint8_t *head = mem_array(1, (size_t)c->g.cluster_size);
	int ret;

	if (!head)
		return err_set(c->err, -ENOMEM, "no memory for a cluster");
	ret = create_header_make(c, head);
	if (!ret)
		ret = empty_files(c);
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
	struct create_work c = { .file = file, .opts = &o, .err = err };
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
		ret = create_row_plan(&c);
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
