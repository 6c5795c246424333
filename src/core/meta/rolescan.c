/* rolescan: claims, and the scan of L2 tables; see rolescan.h. rolescan_open.c
 * says who claims what at open, rolescan_guard.c what a role allows. */
#include "core/meta/rolescan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "core/format/l2entry.h"
#include "core/format/qcow2.h"
#include "core/meta/meta.h"

/* Tables of so many bytes in all are scanned while opening: a millisecond. */
#define AT_ONCE (4ULL << 20)

/* A cluster with two uses. */
struct clash {
	uint64_t hidx;
	enum role a, b;
};

/* --- claims ---------------------------------------------------------------- */

static bool is_unseen(enum role role)
{
	return role == ROLE_L2_UNSEEN || role == ROLE_L2_SHARED_UNSEEN;
}

/* May a cluster of role OLD be referred to as ROLE once more? */
static bool agrees(enum role old, enum role role)
{
	if (role == ROLE_L2_SHARED_UNSEEN)
		return old == role || old == ROLE_L2_SHARED;
	return old == role &&
	       (role == ROLE_DATA_SHARED || role == ROLE_COMPRESSED);
}

/* Could HIDX have a second reference at open? What its count says; one that
 * cannot be read is met later. The first one, known from a table that was seen,
 * may be gone by now. */
static bool was_counted_twice(struct meta *m, uint64_t hidx)
	LOCK_REQUIRES(&m->lock)
{
	const struct rolescan *rs = &m->roles;
	uint64_t v;

	return refcount_get_locked(m, hidx, &v) < 0 || v >= 2 ||
	       rs->lowered_lost ||
	       rolemap_get(&rs->lowered, hidx) != ROLE_NONE;
}

/* N clusters are referred to as ROLE. -EUCLEAN: *C; -ENOMEM. */
static int claim(struct meta *m, uint64_t hidx, uint64_t n, enum role role,
		 struct clash *c) LOCK_REQUIRES(&m->lock)
{
	struct rolemap *map = &m->roles.map;

	if (is_unseen(role) && rolemap_get(map, hidx) == ROLE_NONE)
		m->roles.unseen++;
	if (rolemap_all(map, hidx, n, ROLE_NONE))
		return rolemap_set(map, hidx, n, role);
	for (uint64_t end = hidx + n; hidx < end; hidx++) {
		enum role old = rolemap_get(map, hidx);

		if (old == ROLE_NONE && rolemap_set(map, hidx, 1, role) < 0)
			return -ENOMEM;
		if (old != ROLE_NONE &&
		    !(agrees(old, role) && was_counted_twice(m, hidx))) {
			*c = (struct clash){hidx, old, role};
			return -EUCLEAN;
		}
	}
	return 0;
}

/* Why an image is not opened to write. */
static int refuse(const struct meta *m, int r, const struct clash *c,
		  struct err *err)
{
	if (r != -EUCLEAN)
		return err_set_sys(err, r,
				   "cannot map what its clusters are used for");
	if (agrees(c->a, c->b))
		return err_set(
			err, r,
			"the cluster at host offset %#" PRIx64
			", %s, has more references than its refcount says; it "
			"can be mounted with -o ro; run 'rawcow check' on it",
			c->hidx << m->geom->cluster_bits, rolemap_text(c->a));
	return err_set(err, r,
		       "the cluster at host offset %#" PRIx64
		       " is %s and %s at once; it can be mounted with -o ro; "
		       "run 'rawcow check' on it",
		       c->hidx << m->geom->cluster_bits, rolemap_text(c->a),
		       rolemap_text(c->b));
}

int rolescan_claim(struct meta *m, uint64_t hoff, uint64_t len, enum role role,
		   struct err *err)
{
	const struct geom *g = m->geom;
	struct clash c;
	int r;

	if (!len)
		return 0;
	if (!num_range_inside(hoff, len, QCOW2_HOST_OFFSET_MAX))
		return err_set(err, -EUCLEAN,
			       "%s lies at host offset %#" PRIx64
			       ", where no image has clusters; it can be mounted with -o ro; run 'rawcow check' on it",
			       rolemap_text(role), hoff);
	lock_take(&m->lock);
	r = claim(m, hoff >> g->cluster_bits,
		  geom_clusters(g, geom_in_cluster(g, hoff) + len), role, &c);
	lock_drop(&m->lock);
	return r < 0 ? refuse(m, r, &c, err) : 0;
}

void rolescan_fini(struct rolescan *rs)
{
	rolemap_fini(&rs->map);
	rolemap_fini(&rs->lowered);
}

/* --- what tables map ------------------------------------------------------- */

/* Clusters that one or more entries of a table refer to. */
struct run {
	uint64_t hidx, n;
	enum role role;
};

/* What entry RAW refers to; run.n is 0 for nothing, or for what is refused
 * when it is met. -EUCLEAN: it would be right once the file is longer. */
static int entry_run(struct meta *m, struct l2entry_raw raw, bool shared,
		     struct run *run, struct clash *c)
{
	uint64_t end = atomic_load(&m->end_hidx);
	struct l2entry e;

	run->n = 0;
	if (l2entry_decode(m->geom, raw, &e) < 0)
		return 0;
	run->n = l2entry_clusters(m->geom, &e, &run->hidx);
	run->role = e.kind == L2ENTRY_COMPRESSED ? ROLE_COMPRESSED
		    : e.copied && !shared	 ? ROLE_DATA
						 : ROLE_DATA_SHARED;
	/* the last sectors of a stream may lie behind the end */
	if (!run->n ||
	    (run->hidx < end &&
	     run->hidx + run->n <= end + (e.kind == L2ENTRY_COMPRESSED)))
		return 0;
	*c = (struct clash){run->hidx, ROLE_NONE, run->role};
	return -EUCLEAN;
}

static int claim_run(struct meta *m, const struct run *run, struct clash *c)
	LOCK_REQUIRES(&m->lock)
{
	return run->n ? claim(m, run->hidx, run->n, run->role, c) : 0;
}

static int claim_entries(struct meta *m, const void *t, bool shared,
			 struct clash *c) LOCK_REQUIRES(&m->lock)
{
	struct run have = {0};
	struct run run;
	int r = 0;

	for (uint64_t i = 0; r == 0 && i < m->geom->l2_entries; i++) {
		struct l2entry_raw raw = l2entry_load(m->geom, t, i);

		if (!raw.word)
			continue;
		r = entry_run(m, raw, shared, &run, c);
		if (r < 0 || !run.n)
			continue;
		if (have.n && have.role == run.role &&
		    have.hidx + have.n == run.hidx) {
			have.n += run.n;
			continue;
		}
		r = claim_run(m, &have, c);
		have = run;
	}
	return r < 0 ? r : claim_run(m, &have, c);
}

static void note_seen(struct rolescan *rs)
{
	if (--rs->unseen || rs->partial)
		return;
	atomic_store(&rs->complete, true);
	rolemap_fini(&rs->lowered);
}

/* T is the table in cluster HIDX, which is unseen. -EUCLEAN. */
static int scan(struct meta *m, uint64_t hidx, const void *t, struct clash *c)
	LOCK_REQUIRES(&m->lock)
{
	struct rolescan *rs = &m->roles;
	bool shared = rolemap_get(&rs->map, hidx) == ROLE_L2_SHARED_UNSEEN;
	int r = claim_entries(m, t, shared, c);

	if (r == -ENOMEM && !rs->partial) {
		rs->partial = true;
		log_line(LOG_LEVEL_WARN,
			 "%s: its clusters lie so far apart that only tables "
			 "are protected against data in the wrong place",
			 m->file->name);
	}
	if (r == -EUCLEAN)
		return r;
	(void)!rolemap_set(&rs->map, hidx, 1,
			   shared ? ROLE_L2_SHARED : ROLE_L2);
	note_seen(rs);
	return 0;
}

static int clash_met(struct meta *m, const struct clash *c)
{
	char what[96];

	snprintf(what, sizeof(what), "a cluster that is %s and %s at once",
		 rolemap_text(c->a), rolemap_text(c->b));
	return meta_corrupt(m, what, c->hidx << m->geom->cluster_bits);
}

/* Read and scan the next unseen table from *CURSOR on, which is guarded by
 * meta.lock. 1, 0; -EUCLEAN with *C; -ENOMEM. */
static int step(struct meta *m, uint64_t *cursor, struct clash *c)
	LOCK_EXCLUDES(&m->lock)
{
	const struct geom *g = m->geom;
	struct rolemap *map = &m->roles.map;
	autofree void *t = mem_aligned(g->cluster_size);
	uint64_t hidx;
	int r;

	if (!t)
		return -ENOMEM;
	lock_take(&m->lock);
	hidx = m->roles.unseen
		       ? rolemap_find(map, *cursor, ROLE_L2_UNSEEN,
				      ROLE_L2_SHARED_UNSEEN)
		       : UINT64_MAX;
	*cursor = hidx == UINT64_MAX ? hidx : hidx + 1;
	lock_drop(&m->lock);
	if (hidx == UINT64_MAX)
		return 0;
	/* one that cannot be read stays unseen */
	if (meta_read_table(m, t, hidx << g->cluster_bits) < 0)
		return 1;
	lock_take(&m->lock);
	/* still as it was when it was read? */
	r = is_unseen(rolemap_get(map, hidx)) ? scan(m, hidx, t, c) : 0;
	lock_drop(&m->lock);
	return r < 0 ? r : 1;
}

int rolescan_start(struct meta *m, struct err *err)
{
	struct rolescan *rs = &m->roles;
	struct clash c;
	int r = 1;

	if (!rs->unseen)
		atomic_store(&rs->complete, true);
	if (rs->unseen << m->geom->cluster_bits > AT_ONCE)
		return 0;
	while (r > 0)
		r = step(m, &rs->cursor, &c);
	if (r == -EUCLEAN && c.a == ROLE_NONE)
		return err_set(err, r,
			       "an entry refers to host offset %#" PRIx64
			       " outside the file; it can be mounted with -o "
			       "ro; run 'rawcow check' on it",
			       c.hidx << m->geom->cluster_bits);
	return r < 0 ? refuse(m, r, &c, err) : 0;
}

int rolescan_step(struct meta *m)
{
	struct clash c;
	int r = step(m, &m->roles.cursor, &c);

	return r == -EUCLEAN ? clash_met(m, &c) : r;
}

/* With a cursor of its own: what another thread has just taken is still unseen,
 * and who comes second finds it seen. */
int rolescan_finish(struct meta *m)
{
	uint64_t cursor = 0;
	struct clash c;
	int r;

	do
		r = step(m, &cursor, &c);
	while (r > 0);
	return r == -EUCLEAN ? clash_met(m, &c) : r;
}

int rolescan_table_locked(struct meta *m, uint64_t hoff)
{
	const struct geom *g = m->geom;
	uint64_t hidx = hoff >> g->cluster_bits;
	autofree void *t = NULL;
	struct clash c;
	int r;

	if (!is_unseen(rolemap_get(&m->roles.map, hidx)))
		return 0;
	t = mem_aligned(g->cluster_size);
	if (!t)
		return -ENOMEM;
	r = meta_read_table(m, t, hoff);
	if (r < 0)
		return r;
	r = scan(m, hidx, t, &c);
	return r == -EUCLEAN ? clash_met(m, &c) : r;
}
