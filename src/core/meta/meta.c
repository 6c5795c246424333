#include "core/meta/meta.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "core/format/qcow2.h"
#include "core/meta/l2map.h"

static void init(struct meta *m, struct hostfile *file, const struct geom *geom,
		 const struct header *header, bool writable)
{
	memset(m, 0, sizeof(*m));
	m->geom = geom;
	m->file = file;
	m->header = *header;
	m->writable = writable;
	lock_init(&m->lock);
	epoch_init(&m->epoch);
	writeback_init(&m->wb);
	alloc_init(&m->alloc);
}

/* Header, L1 table and refcount table must have counts: an allocator that
 * believes they are free would hand them out. */
static int check_roots(struct meta *m, struct err *err)
{
	const struct geom *g = m->geom;
	const uint64_t roots[] = { 0, m->l1.hoff, m->refcount.hoff };

	for (unsigned i = 0; i < sizeof(roots) / sizeof(roots[0]); i++) {
		uint64_t v;
		int r;

		if (i == 1 && !m->l1.n)
			continue;
		lock_take(&m->lock);
		r = refcount_get_locked(m, roots[i] >> g->cluster_bits, &v);
		lock_drop(&m->lock);
		if (r < 0)
			return err_set_sys(err, r, "cannot read refcounts");
		if (!v)
			return err_set(err, -EUCLEAN,
				       "the refcount of the table at host offset %#" PRIx64
				       " is 0; run 'rawcow check'",
				       roots[i]);
	}
	return 0;
}

static int open_writable(struct meta *m, const uint8_t *sector0,
			 const struct meta_budget *budget, struct err *err)
{
	int r = refcount_open(m, budget->refcount);

	if (r < 0)
		return err_set_sys(err, r, "cannot read the refcount table");
	m->header_sector = mem_array(1, QCOW2_SECTOR);
	if (!m->header_sector)
		return err_set_sys(err, -ENOMEM, "cannot open");
	memcpy(m->header_sector, sector0, QCOW2_SECTOR);
	r = check_roots(m, err);
	return r < 0 ? r : rolescan_open(m, err);
}

int meta_open(struct meta *m, struct hostfile *file, const struct geom *geom,
	      const struct header *header, const uint8_t *sector0,
	      bool writable, const struct meta_budget *budget, struct err *err)
{
	struct host_stat st;
	int r;

	init(m, file, geom, header, writable);
	r = hostfile_stat(file, &st);
	if (r < 0) {
		err_set_sys(err, r, "cannot stat");
		goto out;
	}
	atomic_store(&m->end_hidx, geom_clusters(geom, st.size));
	m->wb.file_size = st.size;
	r = l1table_load(&m->l1, file, header->l1_offset, header->l1_entries);
	if (r < 0) {
		err_set_sys(err, r, "cannot read the L1 table");
		goto out;
	}
	r = tablecache_new(&m->l2, file, geom->slice_bits, geom->cluster_size,
			   budget->l2);
	if (r < 0) {
		err_set_sys(err, r, "cannot open");
		goto out;
	}
	if (writable)
		r = open_writable(m, sector0, budget, err);
out:
	if (r < 0)
		meta_fini(m);
	return r;
}

void meta_fini(struct meta *m)
{
	l2map_forget_new_tables(m);
	l1table_fini(&m->l1);
	tablecache_free(m->l2);
	refcount_fini(&m->refcount);
	alloc_fini(&m->alloc);
	rolescan_fini(&m->roles);
	writeback_fini(&m->wb);
	epoch_fini(&m->epoch);
	lock_fini(&m->lock);
	free(m->header_sector);
	m->header_sector = NULL;
	m->l2 = NULL;
}

int meta_read_table(struct meta *m, void *t, uint64_t hoff)
{
	uint64_t cs = m->geom->cluster_size;

	return hostfile_pread_units(m->file, t, cs, hoff, cs);
}

int meta_write(struct meta *m, const void *buf, size_t len, uint64_t hoff,
	       enum role role)
{
	int r = rolescan_check(m, hoff, len, role);

	return r < 0 ? r : hostfile_pwrite_full(m->file, buf, len, hoff);
}

int meta_zero(struct meta *m, uint64_t hoff, uint64_t len, enum role role)
{
	int r = rolescan_check(m, hoff, len, role);

	return r < 0 ? r : hostfile_zero(m->file, hoff, len);
}

int meta_reserve_room(struct meta *m, uint64_t hoff, uint64_t len)
{
	int r = hostfile_allocate(m->file, hoff, len);

	return r == -EOPNOTSUPP ? 0 : r;
}

int meta_corrupt(struct meta *m, const char *what, uint64_t hoff)
{
	log_limited(LOG_LEVEL_ERROR,
		    "%s: corrupt: %s at host offset %#" PRIx64
		    "; unmount and run 'rawcow check'%s",
		    m->file->name, what, hoff,
		    m->writable ? "; writing stops" : "");
	atomic_store(&m->corrupt, true);
	return -EUCLEAN;
}
