#include "core/meta/rolescan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/be.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "core/format/l2entry.h"
#include "core/format/qcow2.h"
#include "core/meta/meta.h"

/* Tables of so many bytes in all are scanned while opening: a millisecond. */
#define AT_ONCE (4ULL << 20)
/* L1 tables are read in pieces. */
#define PIECE 8192U

/* A cluster with two uses. */
struct clash {
	uint64_t hidx;
	enum role a, b;
};

/* --- claims ------------------------------------------------------------------
 */

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

/* Can HIDX have a second reference? What its count says; one that cannot be
 * read is met later. */
static bool is_counted_twice(struct meta *m, uint64_t hidx)
	LOCK_REQUIRES(&m->lock)
{
	uint64_t v;

	return refcount_get_locked(m, hidx, &v) < 0 || v >= 2;
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
		    !(agrees(old, role) && is_counted_twice(m, hidx))) {
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
	lock_take(&m->lock);
	r = claim(m, hoff >> g->cluster_bits,
		  geom_clusters(g, geom_in_cluster(g, hoff) + len), role, &c);
	lock_drop(&m->lock);
	return r < 0 ? refuse(m, r, &c, err) : 0;
}

/* The table of L1 entry RAW. What cannot be decoded is refused when it is
 * met. */
static int claim_table(struct meta *m, uint64_t raw, bool snapshot,
		       struct err *err)
{
	const struct geom *g = m->geom;
	uint64_t hoff;
	bool copied;

	if (!raw || l2entry_decode_l1(g, raw, &hoff, &copied) < 0 || !hoff)
		return 0;
	if (hoff >> g->cluster_bits >= atomic_load(&m->end_hidx))
		return err_set(err, -EUCLEAN,
			       "an L2 table at host offset %#" PRIx64
			       " lies outside the file; it can be mounted with "
			       "-o ro; run 'rawcow check' on it",
			       hoff);
	return rolescan_claim(m, hoff, g->cluster_size,
			      copied && !snapshot ? ROLE_L2_UNSEEN
						  : ROLE_L2_SHARED_UNSEEN,
			      err);
}

/* A large table may be a hole of a small file. */
static bool is_hole(struct meta *m, uint64_t hoff, uint64_t len)
{
	uint64_t end;
	bool data;

	return hostfile_next_extent(m->file, hoff, &data, &end) == 0 && !data &&
	       end - hoff >= len;
}

int rolescan_claim_snapshot(struct meta *m, uint64_t hoff, uint32_t n,
			    struct err *err)
{
	autofree uint64_t *e = mem_array(PIECE, sizeof(*e));
	int r = e ? rolescan_claim(m, hoff, (uint64_t)n * 8, ROLE_SNAP_L1, err)
		  : err_set_sys(err, -ENOMEM, "cannot open");

	for (uint32_t done = 0; r == 0 && done < n; done += PIECE) {
		uint32_t k = NUM_MIN(n - done, PIECE);

		if (is_hole(m, hoff + done * 8ULL, k * sizeof(*e)))
			continue;
		r = hostfile_pread_full(m->file, e, k * sizeof(*e),
					hoff + done * 8ULL);
		if (r < 0)
			return err_set_sys(
				err, r,
				"cannot read the L1 table of a snapshot");
		for (uint32_t i = 0; r == 0 && i < k; i++)
			r = claim_table(m, be64_load(&e[i]), true, err);
	}
	return r;
}

static int claim_roots(struct meta *m, struct err *err)
{
	const struct geom *g = m->geom;
	int r = rolescan_claim(m, 0, 1, ROLE_HEADER, err);

	if (r == 0)
		r = rolescan_claim(m, m->refcount.hoff,
				   m->refcount.clusters << g->cluster_bits,
				   ROLE_REFTABLE, err);
	if (r == 0)
		r = rolescan_claim(m, m->l1.hoff, m->l1.n * 8ULL, ROLE_L1, err);
	return r;
}

static int claim_blocks(struct meta *m, struct err *err)
{
	const struct geom *g = m->geom;
	int r = 0;

	for (uint64_t i = 0; r == 0 && i < m->refcount.n; i++) {
		uint64_t hoff = m->refcount.table[i];

		if (hoff && num_is_aligned(hoff, g->cluster_size) &&
		    hoff >> g->cluster_bits < atomic_load(&m->end_hidx))
			r = rolescan_claim(m, hoff, 1, ROLE_REFBLOCK, err);
	}
	return r;
}

int rolescan_open(struct meta *m, struct err *err)
{
	struct rolescan *rs = &m->roles;
	struct host_stat st;
	int r = hostfile_stat(m->file, &st);

	if (r < 0)
		return err_set_sys(err, r, "cannot stat");
	/* an entry has eight bytes in the file, and half a byte here */
	r = rolemap_init(&rs->map, (32ULL << 20) + st.blocks * 512 / 16);
	if (r < 0)
		return err_set_sys(err, r, "cannot open");
	rs->floor = st.block_device ? 0 : atomic_load(&m->end_hidx);
	r = claim_roots(m, err);
	if (r == 0)
		r = claim_blocks(m, err);
	for (uint32_t i = 0; r == 0 && i < m->l1.n; i++)
		r = claim_table(m, l1table_get(&m->l1, i), false, err);
	return r;
}

void rolescan_fini(struct rolescan *rs)
{
	rolemap_fini(&rs->map);
}

/* --- what tables map
 * ----------------------------------------------------------- */

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
	struct l2entry e;

	run->n = 0;
	if (l2entry_decode(m->geom, raw, &e) < 0)
		return 0;
	run->n = l2entry_clusters(m->geom, &e, &run->hidx);
	run->role = e.kind == L2ENTRY_COMPRESSED ? ROLE_COMPRESSED
		    : e.copied && !shared	 ? ROLE_DATA
						 : ROLE_DATA_SHARED;
	if (!run->n || run->hidx + run->n <= atomic_load(&m->end_hidx))
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
	if (--rs->unseen == 0 && !rs->partial)
		atomic_store(&rs->complete, true);
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

/* Read and scan the next unseen table. 1, 0, errors of scan() with *C. */
static int step(struct meta *m, struct clash *c) LOCK_EXCLUDES(&m->lock)
{
	const struct geom *g = m->geom;
	struct rolemap *map = &m->roles.map;
	autofree void *t = mem_aligned(g->cluster_size);
	uint64_t hidx;
	int r;

	if (!t)
		return 0;
	lock_take(&m->lock);
	hidx = m->roles.unseen
		       ? rolemap_find(map, m->roles.cursor, ROLE_L2_UNSEEN,
				      ROLE_L2_SHARED_UNSEEN)
		       : UINT64_MAX;
	m->roles.cursor = hidx == UINT64_MAX ? hidx : hidx + 1;
	lock_drop(&m->lock);
	if (hidx == UINT64_MAX)
		return 0;
	/* one that cannot be read stays unseen */
	if (hostfile_pread_full(m->file, t, g->cluster_size,
				hidx << g->cluster_bits) < 0)
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
		r = step(m, &c);
	if (r < 0 && c.a == ROLE_NONE)
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
	int r = step(m, &c);

	return r == -EUCLEAN ? clash_met(m, &c) : r;
}

int rolescan_finish(struct meta *m)
{
	int r;

	do
		r = rolescan_step(m);
	while (r > 0);
	return r;
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
	r = hostfile_pread_full(m->file, t, g->cluster_size, hoff);
	if (r < 0)
		return r;
	r = scan(m, hidx, t, &c);
	return r == -EUCLEAN ? clash_met(m, &c) : r;
}

/* --- from then on
 * ---------------------------------------------------------------- */

int rolescan_take_locked(struct meta *m, uint64_t hidx, uint64_t n,
			 enum role role)
{
	struct rolemap *map = &m->roles.map;

	for (uint64_t i = hidx; i < hidx + n; i++)
		if (rolemap_get(map, i) != ROLE_NONE)
			return meta_corrupt(m, "free cluster in use",
					    i << m->geom->cluster_bits);
	if (rolemap_reserve(map, hidx, n) < 0)
		return -ENOMEM;
	return rolemap_set(map, hidx, n, role);
}

void rolescan_drop_locked(struct meta *m, uint64_t hidx, uint64_t n)
{
	(void)!rolemap_set(&m->roles.map, hidx, n, ROLE_NONE);
}

uint64_t rolescan_floor_locked(struct meta *m)
{
	struct rolescan *rs = &m->roles;

	return atomic_load(&rs->complete) || rs->partial ? 0 : rs->floor;
}

/* What lies in [HIDX, HIDX + N) where ROLE should be. */
static enum role intruder(struct meta *m, uint64_t hidx, uint64_t n,
			  enum role role, bool complete, uint64_t *at)
{
	for (*at = hidx; *at < hidx + n; ++*at) {
		enum role old = rolemap_get(&m->roles.map, *at);

		if (old != role && (complete || old != ROLE_NONE))
			return old;
	}
	return role;
}

int rolescan_check(struct meta *m, uint64_t hoff, uint64_t len, enum role role)
{
	const struct geom *g = m->geom;
	/* first: all roles are there before it is set */
	bool complete = role < ROLE_DATA || atomic_load(&m->roles.complete);
	uint64_t hidx = hoff >> g->cluster_bits;
	uint64_t n = ((hoff + len - 1) >> g->cluster_bits) - hidx + 1;
	char what[96];
	uint64_t at;
	enum role old;

	if (rolemap_all(&m->roles.map, hidx, n, role))
		return 0;
	old = intruder(m, hidx, n, role, complete, &at);
	if (old == role)
		return 0;
	snprintf(what, sizeof(what), "%s in the place of %s, not written",
		 rolemap_text(role), rolemap_text(old));
	return meta_corrupt(m, what, at << g->cluster_bits);
}

bool rolescan_is_table(struct meta *m, uint64_t hoff, bool copied)
{
	enum role role =
		rolemap_get(&m->roles.map, hoff >> m->geom->cluster_bits);

	if (!m->writable)
		return true;
	return copied ? role == ROLE_L2 || role == ROLE_L2_UNSEEN
		      : role == ROLE_L2_SHARED || role == ROLE_L2_SHARED_UNSEEN;
}

bool rolescan_is_data(struct meta *m, uint64_t hidx, bool compressed,
		      bool *shared)
{
	bool complete = atomic_load(&m->roles.complete);
	enum role role = rolemap_get(&m->roles.map, hidx);

	*shared = role == ROLE_DATA_SHARED;
	if (!m->writable)
		return true;
	if (role == ROLE_NONE)
		return !complete;
	return compressed ? role == ROLE_COMPRESSED
			  : role == ROLE_DATA || role == ROLE_DATA_SHARED;
}
