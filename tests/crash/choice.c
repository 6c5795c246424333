#include "choice.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checker.h"
#include "dice.h"

#define SECTOR UNSYNCED_SECTOR
#define LENGTH UINT32_MAX	   /* in what: the length of the file, */
#define LENGTH_CLASS CHECKER_ROLES /* a class of its own */

_Static_assert(LENGTH_CLASS < COMBINE_CLASSES, "classes");

void choice_init(struct choice *c)
{
	c->image = calloc(1, c->un->cap);
	if (!c->image)
		abort();
	unsynced_start(c->un, c->image);
}

void choice_fini(struct choice *c)
{
	free(c->image);
	free(c->what);
	free(c->part);
	free(c->pick);
}

void choice_rewind(struct choice *c)
{
	const struct unsynced *u = c->un;

	memcpy(c->image, u->stable, u->cap);
	c->base = 0;
	for (uint64_t s = 0; s < u->sectors; s++)
		if (u->meta[s])
			c->base ^= unsynced_hash(s, u->stable + s * SECTOR);
}

static void add(struct choice *c, uint32_t what, struct combine_part part)
{
	if (c->n == c->cap) {
		c->cap = c->cap * 2 + 64;
		c->what = realloc(c->what, c->cap * sizeof(*c->what));
		c->part = realloc(c->part, c->cap * sizeof(*c->part));
		c->pick = realloc(c->pick, c->cap * sizeof(*c->pick));
		if (!c->what || !c->part || !c->pick)
			abort();
	}
	c->what[c->n] = what;
	c->part[c->n++] = part;
}

void choice_list(struct choice *c)
{
	const struct unsynced *u = c->un;

	c->n = 0;
	for (uint32_t i = 0; i < u->nvar; i++) {
		const struct unsynced_var *v = &u->var[i];

		if (v->meta && v->nver > 1)
			add(c, i, (struct combine_part){
				v->nver, v->class, v->first < v->nver });
	}
	if (u->nlen > 1)
		add(c, LENGTH, (struct combine_part){
			u->nlen, LENGTH_CLASS, u->len_first < u->nlen });
}

void choice_settle(struct choice *c)
{
	const struct unsynced *u = c->un;

	for (uint32_t i = 0; i < u->nvar; i++) {
		const struct unsynced_var *v = &u->var[i];
		const uint8_t *now = u->stable + v->sec * SECTOR;

		memcpy(c->image + v->sec * SECTOR, now, SECTOR);
		if (v->meta)
			c->base ^= v->hash[0] ^ unsynced_hash(v->sec, now);
	}
}

uint64_t choice_len(const struct choice *c)
{
	const struct unsynced *u = c->un;

	if (!c->n || c->what[c->n - 1] != LENGTH)
		return u->lens[u->nlen - 1];
	return u->lens[c->pick[c->n - 1]];
}

uint64_t choice_hash(const struct choice *c)
{
	uint64_t h = c->base;

	for (uint32_t i = 0; i < c->n; i++) {
		const struct unsynced_var *v;

		if (c->what[i] == LENGTH || !c->pick[i])
			continue;
		v = &c->un->var[c->what[i]];
		h ^= v->hash[0] ^ v->hash[c->pick[i]];
	}
	return h ^ dice_mix(choice_len(c) + 77);
}

void choice_apply(struct choice *c)
{
	for (uint32_t i = 0; i < c->n; i++) {
		struct unsynced_var *v;

		if (c->what[i] == LENGTH)
			continue;
		v = &c->un->var[c->what[i]];
		if (v->applied == c->pick[i])
			continue;
		v->applied = c->pick[i];
		memcpy(c->image + v->sec * SECTOR, v->ver[v->applied], SECTOR);
	}
}

void choice_text(const struct choice *c, char *out, size_t n)
{
	const struct unsynced *u = c->un;
	size_t at = 0;

	out[0] = '\0';
	for (uint32_t i = 0; i < c->n && at + 24 < n; i++) {
		if (c->what[i] == LENGTH)
			at += (size_t)snprintf(out + at, n - at,
					       " len=%#" PRIx64,
					       u->lens[c->pick[i]]);
		else if (c->pick[i])
			at += (size_t)snprintf(out + at, n - at,
					       " %#" PRIx64 ":v%u",
					       u->var[c->what[i]].sec * SECTOR,
					       c->pick[i]);
	}
}

void choice_dump(const struct choice *c, uint64_t sec, const uint8_t *data,
		 uint8_t *out)
{
	const struct unsynced *u = c->un;
	uint64_t len = choice_len(c), end = u->data ? u->data_base : u->cap;

	memcpy(out, c->image, u->cap);
	for (uint32_t i = 0; i < u->nvar; i++)
		if (!u->var[i].meta)
			memcpy(out + u->var[i].sec * SECTOR,
			       u->newest + u->var[i].sec * SECTOR, SECTOR);
	if (data)
		memcpy(out + sec * SECTOR, data, SECTOR);
	if (len < end)
		memset(out + len, 0, end - len);
}
