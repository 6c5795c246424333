/* create_data: room for the data of a new image; see create_work.h. */
#include "core/admin/create_work.h"

#include <errno.h>
#include <inttypes.h>

#include "base/mem.h"
#include "base/num.h"

static int write_zeroes(struct create_work *c, struct hostfile *file,
			uint64_t hoff, uint64_t len)
{
	autofree void *buf = mem_array(1, CREATE_CHUNK);

	if (!buf)
		return -ENOMEM;
	while (len) {
		size_t n = (size_t)NUM_MIN(len, CREATE_CHUNK);
		int ret = hostfile_pwrite_full(file, buf, n, hoff);

		if (ret < 0)
			return ret;
		hoff += n;
		len -= n;
		create_advance(c, n);
	}
	return 0;
}

int create_data_clear(struct create_work *c)
{
	struct hostfile *data = c->opts->data;
	struct host_stat st;
	int ret = hostfile_stat(data, &st);

	/* full preallocation writes all of it anyway */
	if (ret || !st.block_device || !c->row.n_data ||
	    c->opts->prealloc == CREATE_PREALLOC_FULL)
		return ret;
	if (st.size < c->g.size)
		return -ENOSPC;
	ret = hostfile_punch(data, 0, c->g.size);
	return ret == -EOPNOTSUPP ? write_zeroes(c, data, 0, c->g.size) : ret;
}

int create_data_reserve(struct create_work *c)
{
	struct hostfile *file = c->opts->data_file ? c->opts->data : c->file;
	uint64_t hoff = c->row.data << c->g.cluster_bits;
	uint64_t len = c->row.n_data << c->g.cluster_bits;
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

int create_data_finish(struct create_work *c)
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
