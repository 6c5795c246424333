#include "hashset.h"

#include <stdlib.h>
#include <string.h>

bool hashset_add(struct hashset *s, uint64_t h)
{
	uint64_t i;

	if (!h)
		h = 1;
	if ((s->n + 1) * 2 > s->cap) {
		struct hashset old = *s;

		s->cap = s->cap ? s->cap * 2 : 1024;
		s->slot = calloc(s->cap, sizeof(*s->slot));
		if (!s->slot)
			abort();
		s->n = 0;
		for (i = 0; i < old.cap; i++)
			if (old.slot[i])
				hashset_add(s, old.slot[i]);
		free(old.slot);
	}
	for (i = h & (s->cap - 1); s->slot[i]; i = (i + 1) & (s->cap - 1))
		if (s->slot[i] == h)
			return false;
	s->slot[i] = h;
	s->n++;
	return true;
}

void hashset_clear(struct hashset *s)
{
	if (s->cap > 16384)
		hashset_fini(s);
	else if (s->n)
		memset(s->slot, 0, s->cap * sizeof(*s->slot));
	s->n = 0;
}

void hashset_fini(struct hashset *s)
{
	free(s->slot);
	memset(s, 0, sizeof(*s));
}
