#include "core/admin/extdata.h"

#include <errno.h>

#include "base/num.h"
#include "core/data/payload.h"
#include "core/image/open.h"
#include "core/meta/l2map.h"

/* A device has the length that it has. */
static int set_length(struct image *img, const struct host_stat *st,
		      uint64_t size)
{
	int r = 0;

	if (st->block_device)
		return st->size < size ? -ENOSPC : 0;
	if (st->size != size)
		r = hostfile_truncate(img->data_file, size);
	if (r == 0)
		atomic_store(&img->meta.data_unsynced, true);
	return r;
}

int extdata_grow(struct image *img, uint64_t old, uint64_t size)
{
	struct host_stat st;
	uint64_t end;
	int r = hostfile_stat(img->data_file, &st);

	if (r < 0)
		return r;
	/* what the file had behind the end of the disk is none of it */
	end = NUM_MIN(st.size, size);
	if (img->geom.data_raw && old < end)
		r = payload_zero(&img->disk, end - old, old, true);
	return r < 0 ? r : set_length(img, &st, size);
}

int extdata_map(struct image *img, uint64_t from, uint64_t to)
{
	struct meta *m = &img->meta;
	int r = 0;

	from = num_round_up(from, img->geom.cluster_size);
	to = num_round_up(to, img->geom.cluster_size);
	while (r == 0 && from < to) {
		const struct l2map_change c = {
			.what = L2MAP_DATA,
			.goff = from,
			.len = NUM_MIN(to - from, l2map_reach(m, from)),
			.hoff = from,
		};

		lock_take(&m->lock);
		r = l2map_change_locked(m, &c);
		lock_drop(&m->lock);
		if (r == 0 && writeback_pressure(m) != WRITEBACK_CALM)
			r = writeback_all(m);
		from += c.len;
	}
	return r;
}

int extdata_shrink(struct image *img, uint64_t size)
{
	struct host_stat st;
	int r = hostfile_stat(img->data_file, &st);

	return r < 0 ? r : set_length(img, &st, size);
}

void extdata_empty(struct image *img)
{
	struct host_stat st;

	if (hostfile_stat(img->data_file, &st) == 0)
		payload_discard(&img->disk, st.size, 0);
}
