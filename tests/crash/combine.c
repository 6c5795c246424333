#include "combine.h"

#include "dice.h"

#define CHANCES 256

static void set_all(const struct combine *c, bool new)
{
	for (uint32_t i = 0; i < c->n; i++)
		c->pick[i] = new ? c->part[i].versions - 1 : 0;
}

static void product(const struct combine *c)
{
	uint32_t i;

	set_all(c, false);
	for (;;) {
		c->try(c->arg);
		for (i = 0; i < c->n; i++) {
			if (++c->pick[i] < c->part[i].versions)
				break;
			c->pick[i] = 0;
		}
		if (i == c->n)
			return;
	}
}

static void class_extremes(const struct combine *c)
{
	unsigned n = 0, bit[COMBINE_CLASSES];
	bool has[COMBINE_CLASSES] = { false };

	for (uint32_t i = 0; i < c->n; i++)
		has[c->part[i].class] = true;
	for (unsigned k = 0; k < COMBINE_CLASSES; k++) {
		bit[k] = n;
		n += has[k];
	}
	for (uint32_t m = 0; m < 1U << n; m++) {
		for (uint32_t i = 0; i < c->n; i++)
			c->pick[i] = m >> bit[c->part[i].class] & 1 ?
					     c->part[i].versions - 1 : 0;
		c->try(c->arg);
	}
}

static void deviations(const struct combine *c, bool new)
{
	set_all(c, new);
	for (uint32_t i = 0; i < c->n; i++) {
		uint32_t keep = c->pick[i];

		for (uint32_t v = 0; v < c->part[i].versions; v++) {
			c->pick[i] = v;
			c->try(c->arg);
		}
		c->pick[i] = keep;
	}
}

/* Two deviations; only those with a part that changed now are new ones. */
static void pairs_of(const struct combine *c, bool new)
{
	set_all(c, new);
	for (uint32_t i = 0; i < c->n; i++) {
		uint32_t keep_i = c->pick[i];

		if (!c->part[i].changed)
			continue;
		c->pick[i] = new ? 0 : c->part[i].versions - 1;
		for (uint32_t k = 0; k < c->n; k++) {
			uint32_t keep = c->pick[k];

			if (k == i)
				continue;
			c->pick[k] = new ? 0 : c->part[k].versions - 1;
			c->try(c->arg);
			c->pick[k] = keep;
		}
		c->pick[i] = keep_i;
	}
}

static void by_chance(const struct combine *c, unsigned n)
{
	for (unsigned k = 0; k < n; k++) {
		for (uint32_t i = 0; i < c->n; i++)
			c->pick[i] = (uint32_t)(dice_throw(c->dice) %
						c->part[i].versions);
		c->try(c->arg);
	}
}

void combine_run(const struct combine *c)
{
	uint64_t total = 1;

	for (uint32_t i = 0; i < c->n && total <= c->max; i++)
		total *= c->part[i].versions;
	if (total <= c->max) {
		product(c);
		return;
	}
	class_extremes(c);
	deviations(c, false);
	deviations(c, true);
	pairs_of(c, false);
	pairs_of(c, true);
	by_chance(c, CHANCES);
}
