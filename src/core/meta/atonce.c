#include "core/meta/atonce.h"

#include <errno.h>
#include <string.h>

#include "base/be.h"
#include "base/seed.h"
#include "core/format/qcow2.h"
#include "core/meta/meta.h"

/* Write and sync, or fail for good [R8]. */
static int put_now(struct meta *m, const void *buf, size_t len, uint64_t hoff,
		   enum role role, bool sync)
{
	int r = meta_write(m, buf, len, hoff, role);

	if (r == 0 && sync) {
		atomic_fetch_add(&m->wb.syncs, 1);
		r = hostfile_sync(m->file);
	}
	if (r < 0)
		writeback_fail(m, r);
	return r < 0 ? -EIO : 0;
}

/* [R7] */
static int put_sector0(struct meta *m, bool sync)
{
	return put_now(m, m->header_sector, QCOW2_SECTOR, 0, ROLE_HEADER, sync);
}

/* Sector 0 as it is on disk, with other feature bits [R7]: roots that the next
 * commit will move stay as they are. */
static int put_features(struct meta *m, uint64_t incompat, uint64_t clear,
			uint64_t set)
{
	if (atomic_load(&m->failed))
		return -EIO;
	lock_take(&m->lock);
	m->header.incompatible |= incompat;
	m->header.autoclear = (m->header.autoclear & ~clear) | set;
	be64_store(m->header_sector + 72, m->header.incompatible);
	be64_store(m->header_sector + 88, m->header.autoclear);
	lock_drop(&m->lock);
	return put_sector0(m, !SEED_BUG(SEED_AUTOCLEAR_LATE));
}

int atonce_features(struct meta *m, uint64_t incompat, uint64_t clear,
		    uint64_t set)
{
	int r;

	writeback_hold(&m->wb);
	r = put_features(m, incompat, clear, set);
	writeback_release(&m->wb);
	return r;
}

static void set_roots(struct header *h, const struct header *from)
{
	h->size = from->size;
	h->l1_entries = from->l1_entries;
	h->l1_offset = from->l1_offset;
	h->nb_snapshots = from->nb_snapshots;
	h->snapshots_offset = from->snapshots_offset;
}

/* Put sector 0, with ROOTS unless they are NULL. */
static int put_header(struct meta *m, const struct header *roots)
{
	struct header before;
	int r;

	if (atomic_load(&m->failed))
		return -EIO;
	lock_take(&m->lock);
	before = m->header;
	if (roots)
		set_roots(&m->header, roots);
	header_encode(&m->header, m->header_sector);
	lock_drop(&m->lock);
	r = put_sector0(m, true);
	if (r < 0) {
		lock_take(&m->lock);
		set_roots(&m->header, &before);
		lock_drop(&m->lock);
	}
	return r;
}

int atonce_header(struct meta *m)
{
	int r;

	writeback_hold(&m->wb);
	r = put_header(m, NULL);
	writeback_release(&m->wb);
	return r;
}

int atonce_roots(struct meta *m, const struct header *h)
{
	int r;

	writeback_hold(&m->wb);
	r = put_header(m, h);
	writeback_release(&m->wb);
	return r;
}

int atonce_head_sector(struct meta *m, const uint8_t *sector, uint64_t hoff,
		       bool sync)
{
	int r = -EIO;

	writeback_hold(&m->wb);
	if (!atomic_load(&m->failed) && hoff) {
		r = put_now(m, sector, QCOW2_SECTOR, hoff, ROLE_HEADER, sync);
	} else if (!atomic_load(&m->failed)) {
		lock_take(&m->lock);
		memcpy(m->header_sector, sector, QCOW2_SECTOR);
		header_encode(&m->header, m->header_sector);
		lock_drop(&m->lock);
		r = put_sector0(m, sync);
	}
	writeback_release(&m->wb);
	return r;
}

int atonce_table(struct meta *m, const void *buf, size_t len, uint64_t hoff,
		 enum role role)
{
	int r = -EIO;

	writeback_hold(&m->wb);
	if (!atomic_load(&m->failed))
		r = put_now(m, buf, len, hoff, role,
			    !SEED_BUG(SEED_BITMAP_UNMARKED));
	writeback_release(&m->wb);
	return r;
}

int atonce_replace_header(struct meta *m, const struct header *h,
			  const void *sector)
{
	lock_take(&m->lock);
	memcpy(m->header_sector, sector, QCOW2_SECTOR);
	m->header = *h;
	lock_drop(&m->lock);
	return atonce_header(m);
}
