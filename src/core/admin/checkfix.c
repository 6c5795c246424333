#include "core/admin/checkfix.h"

#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"

int checkfix_add(struct checkfix_list *l, struct checkmap *map,
		 const struct checkfix *fix)
{
	int r = checkmap_charge(map, sizeof(*fix));

	if (r == 0)
		r = mem_grow(&l->fix, &l->cap, l->n + 1, sizeof(*l->fix));
	if (r < 0)
		return r;
	l->fix[l->n++] = *fix;
	l->moves += fix->n != 0;
	return 0;
}

/* An L2 table may be a snapshot's, too. */
static enum checkrole plain(enum checkrole role)
{
	return role == CHECKROLE_SNAP_L2 ? CHECKROLE_L2 : role;
}

bool checkfix_allowed(const struct checkfix *fix, struct checkmap *map,
		      unsigned cluster_bits)
{
	return plain(checkmap_role(map, fix->at >> cluster_bits)) ==
	       plain(fix->role);
}

void checkfix_fini(struct checkfix_list *l)
{
	free(l->fix);
	*l = (struct checkfix_list){ 0 };
}
