/* rolescan_guard: what a cluster's role allows, asked before each write and at
 * each entry that is met; see rolescan.h. */
#include "core/meta/rolescan.h"

#include <errno.h>
#include <stdio.h>

#include "core/meta/meta.h"

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

void rolescan_lower_locked(struct meta *m, uint64_t hidx)
{
	struct rolescan *rs = &m->roles;

	if (!atomic_load(&rs->complete) &&
	    rolemap_set(&rs->lowered, hidx, 1, ROLE_DATA) < 0)
		rs->lowered_lost = true;
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
