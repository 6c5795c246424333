#include "core/admin/amend.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/seed.h"
#include "core/admin/relayout.h"
#include "core/admin/rewidth.h"
#include "core/admin/trim.h"
#include "core/data/write.h"
#include "core/format/qcow2.h"
#include "core/image/open.h"
#include "core/image/snaplist.h"
#include "core/meta/atonce.h"
#include "core/meta/l2map.h"
#include "core/meta/rolescan.h"

#define PIECE (1U << 20)

struct work {
	struct image *img;
	const struct amend_opts *opts;
	unsigned version, refcount_bits; /* in the end */
	struct err *err;
};

/* --- what stands against it --------------------------------------------------------- */

static int check_options(struct work *w)
{
	const struct amend_opts *o = w->opts;

	if (w->version > 2)
		return 0;
	if (w->refcount_bits != 16)
		return err_set(w->err, -EINVAL,
			       "version 2 has refcounts of 16 bits; use compat=1.1, or refcount_bits=16");
	if (o->lazy_refcounts == AMEND_ON)
		return err_set(w->err, -EINVAL,
			       "lazy_refcounts needs version 3; use compat=1.1");
	return 0;
}

static int check_features(struct work *w)
{
	const struct header *h = &w->img->meta.header;
	const char *what = NULL;

	if (h->incompatible & QCOW2_INCOMPAT_DATA_FILE)
		what = "an external data file";
	else if (h->incompatible & QCOW2_INCOMPAT_COMPRESSION)
		what = "zstd compression";
	else if (h->incompatible & QCOW2_INCOMPAT_EXTL2)
		what = "extended L2 entries";
	else if (h->incompatible)
		what = "an incompatible feature";
	else if (h->crypt_method == QCOW2_CRYPT_LUKS)
		what = "LUKS encryption";
	if (!what)
		return 0;
	return err_set(w->err, -ENOTSUP,
		       "version 2 does not have %s; 'qemu-img convert' can make an image without",
		       what);
}

/* Does the L2 table at HOFF, of a snapshot, have a zero flag? */
static int find_zero(struct work *w, uint64_t hoff, uint8_t *buf, bool *found)
{
	const struct geom *g = &w->img->geom;
	int r = hostfile_pread_full(w->img->file, buf, (size_t)g->cluster_size,
				    hoff);

	for (uint64_t i = 0; r == 0 && i < g->l2_entries; i++) {
		uint64_t e = be64_load(buf + i * 8);

		if (!(e & QCOW2_ENTRY_COMPRESSED) && e & QCOW2_ENTRY_ZERO)
			*found = true;
	}
	return r;
}

static int find_zero_in(struct work *w, const struct snapshot *s, bool *found)
{
	const struct geom *g = &w->img->geom;
	size_t len = (size_t)s->l1_entries * 8;
	autofree uint8_t *l1 = mem_array(len + 1, 1);
	autofree uint8_t *buf = malloc((size_t)g->cluster_size);
	int r = l1 && buf ? 0 : -ENOMEM;

	if (r == 0)
		r = hostfile_pread_full(w->img->file, l1, len, s->l1_offset);
	for (uint32_t i = 0; r == 0 && !*found && i < s->l1_entries; i++) {
		uint64_t hoff = be64_load(l1 + i * 8ULL) & QCOW2_OFFSET_MASK;

		if (hoff)
			r = find_zero(w, hoff, buf, found);
	}
	return r;
}

static int read_snapshots(struct work *w, struct snaplist *list)
{
	struct host_stat st;
	int r = hostfile_stat(w->img->file, &st);

	*list = (struct snaplist){ 0 };
	if (r < 0)
		return err_set_sys(w->err, r, "cannot stat");
	return snaplist_read(list, w->img->file, &w->img->meta.header,
			     &w->img->geom, st.size, w->err);
}

static int check_snapshots(struct work *w)
{
	struct snaplist list;
	bool found = false;
	int r = read_snapshots(w, &list);

	for (size_t i = 0; r == 0 && i < list.n; i++) {
		if (w->version == 2) {
			r = find_zero_in(w, &list.snap[i], &found);
			if (r < 0)
				err_set_sys(w->err, r,
					    "cannot read a snapshot's tables");
		} else if (list.snap[i].extra_len < 16) {
			r = err_set(w->err, -ENOTSUP,
				    "a snapshot of it does not record the size of its disk, which version 3 needs; delete it first");
		}
	}
	snaplist_fini(&list);
	if (r == 0 && found)
		r = err_set(w->err, -ENOTSUP,
			    "a snapshot of it has zero clusters, which version 2 does not have; delete the snapshot first");
	return r;
}

/* The header with everything as it is but VERSION. */
static struct relayout in_version(const struct work *w, unsigned version)
{
	struct relayout to = { .header = w->img->meta.header,
			       .keep_backing = true };

	to.header.version = version;
	if (version == 2) {
		to.header.header_len = QCOW2_V2_HEADER_LEN;
		to.header.compatible = to.header.autoclear = 0;
		to.refuse_bitmaps = true;
	} else {
		to.header.header_len = QCOW2_OUR_HEADER_LEN;
	}
	return to;
}

static int check(struct work *w)
{
	const struct relayout to = in_version(w, w->version);
	unsigned now = w->img->meta.header.version;
	int r = check_options(w);

	if (r == 0 && w->version < now)
		r = check_features(w);
	if (r == 0 && w->version < now)
		r = relayout_check(w->img, &to, w->err);
	if (r == 0 && w->version != now)
		r = check_snapshots(w);
	return r;
}

/* --- steps ------------------------------------------------------------------------------ */

static int put_version(struct work *w, unsigned version)
{
	const struct relayout to = in_version(w, version);

	return relayout_header(w->img, &to, w->err);
}

static int put_lazy(struct work *w, bool on)
{
	struct meta *m = &w->img->meta;
	uint64_t before = m->header.compatible;
	int r;

	m->header.compatible &= ~QCOW2_COMPAT_LAZY_REFCOUNTS;
	if (on)
		m->header.compatible |= QCOW2_COMPAT_LAZY_REFCOUNTS;
	if (m->header.compatible == before)
		return 0;
	r = atonce_header(m);
	return r < 0 ? err_set_sys(w->err, r, "cannot write the header") : 0;
}

/* The zero clusters of LEN bytes at OFF, or a part of them that *DONE tells. */
static int expand(struct work *w, uint64_t off, uint64_t len, uint64_t *done)
{
	struct image *img = w->img;
	uint64_t mask = img->geom.cluster_size - 1;
	uint64_t shown = img->disk.backing ? img->disk.backing->size : 0;

	if (off >= shown) {
		*done = len;
		return trim_range(&img->meta, off, (off + len + mask) & ~mask);
	}
	shown = (shown + mask) & ~mask;
	*done = NUM_MIN(NUM_MIN(len, shown - off), (uint64_t)PIECE);
	return write_zero_bytes(&img->disk, *done, off);
}

/* No entry of the active tables has a zero flag afterwards, stably. */
static int expand_all(struct work *w)
{
	struct image *img = w->img;
	uint64_t size = img->geom.size;
	int r = 0;

	for (uint64_t off = 0, len; r == 0 && off < size; off += len) {
		struct extent e;

		r = l2map_lookup(&img->meta, off, size - off, &e);
		len = e.len;
		if (r == 0 && (e.kind == L2ENTRY_ZERO_PLAIN ||
			       e.kind == L2ENTRY_ZERO_ALLOC))
			r = expand(w, off, e.len, &len);
		if (r == 0 && writeback_pressure(&img->meta) != WRITEBACK_CALM)
			r = writeback_all(&img->meta);
	}
	if (r == 0)
		r = writeback_all(&img->meta);
	return r < 0 ? err_set_sys(w->err, r, "cannot write its zero clusters") :
		       0;
}

static int downgrade(struct work *w)
{
	int r;

	if (SEED_BUG(SEED_DOWNGRADE_EARLY))
		return put_version(w, 2);
	r = expand_all(w);
	return r < 0 ? r : put_version(w, 2);
}

static int change(struct work *w)
{
	const struct amend_opts *o = w->opts;
	const struct header *h = &w->img->meta.header;
	int r = check(w);

	if (r == 0 && w->version > h->version)
		r = put_version(w, 3);
	if (r == 0 && w->refcount_bits != w->img->geom.refcount_bits)
		r = rewidth_image(w->img,
				  (unsigned)__builtin_ctz(w->refcount_bits),
				  o->progress, o->progress_arg, w->err);
	if (r == 0 && o->lazy_refcounts != AMEND_KEEP && w->version > 2)
		r = put_lazy(w, o->lazy_refcounts == AMEND_ON);
	if (r == 0 && w->version < h->version)
		r = downgrade(w);
	return r;
}

int amend_image(struct image *img, const struct amend_opts *opts,
		struct err *err)
{
	struct work w = { .img = img, .opts = opts, .err = err };
	int r = gate_quiesce(img);

	if (r < 0)
		return err_set_sys(err, r, "cannot amend");
	w.version = opts->version ? opts->version : img->meta.header.version;
	w.refcount_bits = opts->refcount_bits ? opts->refcount_bits :
						img->geom.refcount_bits;
	r = state_finish_roles(img, "cannot amend", err);
	if (r == 0)
		r = change(&w);
	gate_open(img);
	return r;
}
