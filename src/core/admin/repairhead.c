/* repairhead: the header's roots and marks; see repairwork.h. */
#include "core/admin/repairwork.h"

#include <errno.h>

#include "base/be.h"
#include "base/mem.h"
#include "core/format/qcow2.h"

#define EXT_LEN 24 /* of the bitmaps extension */

static void put_ext(uint8_t *p, const struct repairwork_roots *roots)
{
	be32_store(p, roots->nb_bitmaps);
	be64_store(p + 8, roots->bitmaps_len);
	be64_store(p + 16, roots->bitmaps_offset);
}

static void put_roots(uint8_t *sector, const struct checkwalk *w,
		      const struct repairwork_roots *roots)
{
	if (roots->reftable_offset) {
		be64_store(sector + 48, roots->reftable_offset);
		be32_store(sector + 56, roots->reftable_clusters);
	}
	if (roots->snapshots) {
		be32_store(sector + 60, roots->nb_snapshots);
		be64_store(sector + 64, roots->snapshots_offset);
	}
	if (w->g.version >= 3)
		be64_store(sector + 88, roots->autoclear);
}

static int put_sector(struct checkwalk *w, const uint8_t *sector)
{
	int r = repairentry_write(w, sector, QCOW2_SECTOR, 0);

	return r < 0 ? r : repairentry_sync(w);
}

/* Behind sector 0 no write of the extension goes together with the roots. */
static int put_far_ext(struct checkwalk *w, uint8_t *sector, uint64_t off,
		       const struct repairwork_roots *roots)
{
	uint8_t ext[EXT_LEN] = { 0 };
	int r;

	be64_store(sector + 88, roots->autoclear & ~QCOW2_AUTOCLEAR_BITMAPS);
	r = put_sector(w, sector);
	put_ext(ext, roots);
	if (r == 0)
		r = repairentry_write(w, ext, sizeof(ext), off);
	if (r == 0)
		r = repairentry_sync(w);
	be64_store(sector + 88, roots->autoclear);
	return r < 0 ? r : put_sector(w, sector);
}

int repairhead_roots(struct checkwalk *w, const struct repairwork_roots *roots)
{
	const struct headerext *x = headerext_find(&w->ext, QCOW2_EXT_BITMAPS);
	uint8_t sector[QCOW2_SECTOR];
	uint64_t off;
	int r = hostfile_pread(w->file, sector, sizeof(sector), 0, NULL);

	if (r < 0)
		return err_set_sys(w->err, r, "cannot read the header");
	put_roots(sector, w, roots);
	if (!roots->bitmaps)
		return put_sector(w, sector);
	off = (uint64_t)(x->data - w->head);
	if (off + EXT_LEN > QCOW2_SECTOR)
		return put_far_ext(w, sector, off, roots);
	put_ext(sector + off, roots);
	return put_sector(w, sector);
}

int repairhead_set_marks(struct hostfile *file, uint64_t set, uint64_t clear,
			 uint64_t *before, struct err *err)
{
	uint8_t sector[QCOW2_SECTOR];
	int ret = hostfile_pread_full(file, sector, sizeof(sector), 0);
	uint64_t have = be64_load(sector + 72);

	*before = 0;
	if (ret == 0 && be32_load(sector + 4) < 3)
		return 0;
	if (ret == 0) {
		*before = have;
		if (((have | set) & ~clear) == have)
			return 0;
		ret = hostfile_sync(file);
	}
	be64_store(sector + 72, (have | set) & ~clear);
	if (ret == 0)
		ret = hostfile_pwrite_full(file, sector, sizeof(sector), 0);
	if (ret == 0)
		ret = hostfile_sync(file);
	return ret < 0 ? err_set_sys(err, ret, "cannot change its marks") : 0;
}
