#include "core/admin/trim.h"

#include "base/num.h"
#include "core/meta/l2map.h"

/* Unmap the clusters of [FROM, TO), both at the edge of one, from one L2
 * table. */
static int unmap_part(struct meta *m, uint64_t from, uint64_t to)
{
	while (from < to) {
		struct l2map_change c = { .what = L2MAP_UNMAP,
					  .goff = from };
		int r;

		c.len = NUM_MIN(to - from, l2map_reach(m, from));
		lock_take(&m->lock);
		r = l2map_change_locked(m, &c);
		lock_drop(&m->lock);
		if (r < 0)
			return r;
		from += c.len;
	}
	return 0;
}

int trim_range(struct meta *m, uint64_t from, uint64_t to)
{
	uint64_t span = geom_l2_span(m->geom);
	uint64_t whole = NUM_MIN(num_round_up(from, span), to);
	int r = unmap_part(m, from, whole);

	for (; r == 0 && to - whole >= span; whole += span) {
		lock_take(&m->lock);
		r = l2map_drop_table_locked(m, geom_l1_index(m->geom, whole));
		lock_drop(&m->lock);
		if (r == 0 && writeback_pressure(m) != WRITEBACK_CALM)
			r = writeback_all(m);
	}
	return r < 0 ? r : unmap_part(m, whole, to);
}

int trim_end(struct meta *m, uint64_t from, uint64_t size)
{
	return trim_range(m, from, num_round_up(size, geom_l2_span(m->geom)));
}

/* The file's clusters behind the last one in use, if it has some. */
static int cut_locked(struct meta *m) LOCK_REQUIRES(&m->lock)
{
	uint64_t end = atomic_load(&m->end_hidx);
	uint64_t last = end;
	uint64_t v = 0;
	int r = 0;

	while (last > 1) {
		r = refcount_get_locked(m, last - 1, &v);
		if (r < 0 || v ||
		    rolemap_get(&m->roles.map, last - 1) != ROLE_NONE)
			break;
		last--;
	}
	if (r < 0 || last == end)
		return r;
	r = hostfile_truncate(m->file, last << m->geom->cluster_bits);
	if (r < 0)
		return r;
	atomic_store(&m->end_hidx, last);
	m->wb.file_size = last << m->geom->cluster_bits;
	m->alloc.hint = 0;
	/* the new length is durable with the next commit */
	atomic_store(&m->data_unsynced, true);
	return 0;
}

int trim_file(struct meta *m)
{
	struct host_stat st;
	int r = hostfile_stat(m->file, &st);

	if (r < 0 || st.block_device)
		return r;
	/* one that runs would think that somebody else has cut the file */
	writeback_hold(&m->wb);
	lock_take(&m->lock);
	r = cut_locked(m);
	lock_drop(&m->lock);
	writeback_release(&m->wb);
	return r;
}
