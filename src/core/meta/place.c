#include "core/meta/place.h"

#include "base/num.h"

int place_put(struct meta *m, const void *buf, size_t len, enum role role,
	      struct place *p)
{
	const struct geom *g = m->geom;
	uint64_t hidx;
	int r;

	*p = (struct place){ 0, geom_clusters(g, len) };
	if (!p->n)
		return 0;
	lock_take(&m->lock);
	r = alloc_exact_locked(m, p->n, role, &hidx);
	lock_drop(&m->lock);
	if (r < 0) {
		p->n = 0;
		return r;
	}
	p->hoff = hidx << g->cluster_bits;
	tablecache_forget(m->l2, p->hoff, p->n << g->cluster_bits);
	r = meta_zero(m, p->hoff, p->n << g->cluster_bits, role);
	if (r == 0)
		r = meta_write(m, buf, len, p->hoff, role);
	/* [R1] not before: a commit that begins meanwhile does not cover it */
	atomic_store(&m->new_unsynced, true);
	return r;
}

void place_give_back(struct meta *m, struct place *p)
{
	if (!p->n)
		return;
	lock_take(&m->lock);
	alloc_give_back_locked(m, p->hoff >> m->geom->cluster_bits, p->n);
	lock_drop(&m->lock);
	p->n = 0;
}

void place_free(struct meta *m, uint64_t hoff, uint64_t len)
{
	const struct geom *g = m->geom;

	if (hoff && len && !atomic_load(&m->failed))
		alloc_free_stable(m, hoff >> g->cluster_bits,
				  geom_clusters(g, len));
}
