/* repairentry: what all steps of a repair write through, and single entries;
 * see repairwork.h. */
#include "core/admin/repairwork.h"

#include "base/be.h"

int repairentry_write(struct checkwalk *w, const void *buf, uint64_t len,
		     uint64_t off)
{
	int r;

	w->writes++;
	w->unsynced = true;
	r = hostfile_pwrite_full(w->file, buf, (size_t)len, off);
	return r < 0 ? err_set_sys(w->err, r, "cannot write the repair") : 0;
}

int repairentry_sync(struct checkwalk *w)
{
	int r;

	if (!w->unsynced)
		return 0;
	w->unsynced = false;
	r = hostfile_sync(w->file);
	return r < 0 ? err_set_sys(w->err, r, "cannot make the repair durable")
		     : 0;
}

bool repairentry_known(const struct checkwalk *w)
{
	return w->hiding == 0 && w->res->check_errors == 0;
}

/* Put the new values of FIXES into their entries, if their tables are where
 * they seem to be: the moves' or the others'. */
static int put_entries(struct checkwalk *w, bool moves)
{
	int r = 0;

	for (size_t i = 0; i < w->fixes.n && r == 0; i++) {
		const struct checkfix *f = &w->fixes.fix[i];
		uint8_t entry[16];

		if ((f->n != 0) != moves || (moves && !f->moved) ||
		    !checkfix_allowed(f, &w->map, w->g.cluster_bits))
			continue;
		be64_store(entry, f->raw);
		be64_store(entry + 8, f->bitmap);
		r = repairentry_write(w, entry, f->with_bitmap ? 16 : 8, f->at);
	}
	return r < 0 ? r : repairentry_sync(w);
}

int repairentry_moved(struct checkwalk *w)
{
	return put_entries(w, true);
}

int repairentry_patches(struct checkwalk *w)
{
	return put_entries(w, false);
}
