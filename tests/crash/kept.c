#include "kept.h"

#include <stdlib.h>

uint64_t kept_throw(uint64_t *s)
{
	uint64_t z = *s += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	return z ^ z >> 29;
}

static void apply(struct hostmem *m, const struct hostrecord_entry *e,
		  enum kept_what what, uint64_t *s)
{
	struct hostrecord_entry part = *e;

	if (e->op != HOSTRECORD_WRITE || what == KEPT_ALL) {
		if ((what == KEPT_ALL || kept_throw(s) % 2) &&
		    hostrecord_apply(e, m))
			abort();
		return;
	}
	for (uint64_t at = 0; at < e->len; at += 512) {
		part.off = e->off + at;
		part.len = e->len - at < 512 ? e->len - at : 512;
		part.data = e->data + at;
		if (kept_throw(s) % 2 && hostrecord_apply(&part, m))
			abort();
	}
}

struct hostmem *kept_state(const struct kept *k, unsigned file,
			   enum kept_what what, uint64_t at, uint64_t *s)
{
	struct hostmem *m = hostmem_clone(k->stable[file]);

	if (!m)
		abort();
	for (uint64_t i = k->synced[file]; i < at && what != KEPT_NONE; i++) {
		struct hostrecord_entry e;

		hostrecord_get(k->rec, i, &e);
		if (e.file == file && e.op <= HOSTRECORD_TRUNCATE)
			apply(m, &e, what, s);
	}
	return m;
}

void kept_advance(struct kept *k, const struct hostrecord_entry *e)
{
	uint64_t s = 0;
	struct hostmem *m;

	if (e->op != HOSTRECORD_SYNC_END || e->result)
		return;
	m = kept_state(k, e->file, KEPT_ALL, e->pair, &s);
	hostmem_free(k->stable[e->file]);
	k->stable[e->file] = m;
	k->synced[e->file] = e->pair;
}
