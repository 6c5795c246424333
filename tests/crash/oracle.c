#include "oracle.h"

#include <stdlib.h>
#include <string.h>

#include "bitmodel.h"

#define TAG_MAGIC 0x7261776372617368ULL
#define WORDS 64

struct tag {
	uint64_t magic, run, sec, gen;
};

void oracle_init(struct oracle *o, uint64_t run, uint64_t sectors,
		 uint64_t backing_sectors, const uint32_t *init)
{
	memset(o, 0, sizeof(*o));
	o->run = run;
	o->sectors = o->now = sectors;
	o->backing_sectors = backing_sectors;
	o->s = calloc(sectors ? sectors : 1, sizeof(*o->s));
	if (!o->s)
		abort();
	for (uint64_t i = 0; i < sectors; i++) {
		struct oracle_sector *s = &o->s[i];

		s->cap = 4;
		s->gen = malloc(s->cap * sizeof(*s->gen));
		if (!s->gen)
			abort();
		s->n = 1;
		s->gen[0] = init ? init[i] : ORACLE_ZERO;
	}
}

void oracle_fini(struct oracle *o)
{
	for (uint64_t i = 0; o->s && i < o->sectors; i++)
		free(o->s[i].gen);
	free(o->s);
	for (unsigned i = 0; i < ORACLE_SNAPSHOTS; i++)
		oracle_snapshot_drop(&o->snap[i]);
	memset(o, 0, sizeof(*o));
}

void oracle_reset(struct oracle *o)
{
	for (uint64_t i = 0; i < o->sectors; i++) {
		struct oracle_sector *s = &o->s[i];

		s->n = 1;
		s->acked = s->pending = s->durable = 0;
	}
	for (unsigned i = 0; i < ORACLE_SNAPSHOTS; i++)
		oracle_snapshot_drop(&o->snap[i]);
	o->now = o->sectors;
	if (o->preset)
		oracle_preset(o);
	if (o->bits)
		bitmodel_reset(o->bits);
}

void oracle_fill(const struct oracle *o, uint64_t sec, uint32_t gen,
		 uint8_t out[512])
{
	uint64_t w[WORDS];

	if (gen == ORACLE_ZERO ||
	    (gen == ORACLE_BACKING && sec >= o->backing_sectors)) {
		memset(out, 0, 512);
		return;
	}
	for (unsigned i = 0; i < WORDS; i += 4) {
		w[i] = TAG_MAGIC;
		/* preset and backing data are the same in every run */
		w[i + 1] = gen == ORACLE_INIT || gen == ORACLE_BACKING ? 0 :
									 o->run;
		w[i + 2] = sec;
		w[i + 3] = gen;
	}
	memcpy(out, w, 512);
}

void oracle_begin(struct oracle *o, uint64_t sec, uint64_t n, uint32_t gen)
{
	if (o->bits)
		bitmodel_touch(o->bits, sec, n);
	for (uint64_t i = sec; i < sec + n && i < o->sectors; i++) {
		struct oracle_sector *s = &o->s[i];

		if (s->n == s->cap) {
			s->cap *= 2;
			s->gen = realloc(s->gen, s->cap * sizeof(*s->gen));
			if (!s->gen)
				abort();
		}
		s->gen[s->n++] = gen;
	}
}

void oracle_ack(struct oracle *o, uint64_t sec, uint64_t n)
{
	for (uint64_t i = sec; i < sec + n && i < o->sectors; i++)
		o->s[i].acked = o->s[i].n - 1;
}

void oracle_flush_begin(struct oracle *o)
{
	for (uint64_t i = 0; i < o->sectors; i++)
		o->s[i].pending = o->s[i].acked;
}

void oracle_flush_ack(struct oracle *o)
{
	for (uint64_t i = 0; i < o->sectors; i++)
		o->s[i].durable = o->s[i].pending;
}

static bool is_zero(const uint8_t *p)
{
	uint64_t w[WORDS], any = 0;

	memcpy(w, p, 512);
	for (unsigned i = 0; i < WORDS; i++)
		any |= w[i];
	return !any;
}

/* The generation that DATA carries; false if it is none of this sector's. */
static bool identify(const struct oracle *o, uint64_t sec, const uint8_t *data,
		     uint32_t *gen)
{
	struct tag t;

	if (!data && sec >= o->backing_sectors)
		*gen = ORACLE_ZERO;
	else if (!data)
		*gen = ORACLE_BACKING;
	else if (is_zero(data))
		*gen = ORACLE_ZERO;
	else {
		memcpy(&t, data, sizeof(t));
		if (t.magic != TAG_MAGIC || t.sec != sec ||
		    memcmp(data, data + 32, 480))
			return false;
		*gen = (uint32_t)t.gen;
		if (*gen != ORACLE_INIT && *gen != ORACLE_BACKING &&
		    t.run != o->run)
			return false;
	}
	return true;
}

bool oracle_same(const struct oracle *o, uint64_t sec, uint32_t a, uint32_t b)
{
	if (sec >= o->backing_sectors) {
		if (a == ORACLE_BACKING)
			a = ORACLE_ZERO;
		if (b == ORACLE_BACKING)
			b = ORACLE_ZERO;
	}
	return a == b;
}

static enum oracle_verdict check_views(const struct oracle *o, uint64_t sec,
				       const uint8_t *data)
{
	static const uint8_t zero[512];

	for (unsigned i = 0; i < o->n_views; i++)
		if (!memcmp(o->views[i] + sec * 512, data ? data : zero, 512))
			return ORACLE_OK;
	return ORACLE_FOREIGN;
}

enum oracle_verdict oracle_check(const struct oracle *o, uint64_t sec,
				 const uint8_t *data)
{
	const struct oracle_sector *s;
	uint32_t gen, i;

	if (sec >= o->sectors)
		return ORACLE_OK;
	if (o->views)
		return check_views(o, sec, data);
	s = &o->s[sec];
	if (!identify(o, sec, data, &gen))
		return ORACLE_FOREIGN;
	for (i = s->n; i-- > s->durable;)
		if (oracle_same(o, sec, s->gen[i], gen))
			return ORACLE_OK;
	for (i = s->durable; i-- > 0;)
		if (oracle_same(o, sec, s->gen[i], gen))
			return ORACLE_LOST;
	return gen == ORACLE_ZERO ? ORACLE_LOST : ORACLE_FOREIGN;
}

bool oracle_is(const struct oracle *o, uint64_t sec, uint32_t gen,
	       const uint8_t *data)
{
	uint32_t have;

	return identify(o, sec, data, &have) && oracle_same(o, sec, gen, have);
}

uint32_t oracle_newest(const struct oracle *o, uint64_t sec)
{
	return o->s[sec].gen[o->s[sec].n - 1];
}

/* Of the snapshots, the one with ID. */
static const struct oracle_snapshot *by_id(const struct oracle *o, uint32_t id)
{
	for (unsigned i = 0; i < ORACLE_SNAPSHOTS; i++)
		if (id && o->snap[i].id == id)
			return &o->snap[i];
	return NULL;
}

enum oracle_verdict oracle_check_snapshot(const struct oracle *o, uint32_t id,
					  uint64_t sec, const uint8_t *data)
{
	const struct oracle_snapshot *s = by_id(o, id);
	uint32_t gen;

	if (sec >= o->sectors || o->views)
		return ORACLE_OK;
	if (!s || !identify(o, sec, data, &gen))
		return ORACLE_FOREIGN;
	return oracle_same(o, sec, s->gen[sec], gen) ? ORACLE_OK : ORACLE_LOST;
}

static void add_snapshot(struct oracle *o, struct oracle_snapshot *s,
			 uint32_t id)
{
	s->id = id;
	s->sectors = o->now;
	s->gen = malloc((o->sectors + 1) * sizeof(*s->gen));
	if (!s->gen)
		abort();
	for (uint64_t i = 0; i < o->sectors; i++)
		s->gen[i] = o->s[i].gen[o->s[i].n - 1];
}

void oracle_preset(struct oracle *o)
{
	add_snapshot(o, &o->snap[0], 1);
	o->snap[0].must = true;
	o->preset = true;
}

uint32_t oracle_snapshot_begin(struct oracle *o)
{
	struct oracle_snapshot *free_one = NULL;
	uint32_t max = 0;

	for (unsigned i = 0; i < ORACLE_SNAPSHOTS; i++) {
		if (o->snap[i].id > max)
			max = o->snap[i].id;
		if (!o->snap[i].id)
			free_one = &o->snap[i];
	}
	if (!free_one)
		return 0;
	add_snapshot(o, free_one, max + 1);
	return max + 1;
}

struct oracle_snapshot *oracle_snapshot_get(struct oracle *o, uint64_t which)
{
	unsigned n = 0;

	for (unsigned i = 0; i < ORACLE_SNAPSHOTS; i++)
		n += o->snap[i].id != 0;
	if (!n)
		return NULL;
	which %= n;
	for (unsigned i = 0;; i++)
		if (o->snap[i].id && !which--)
			return &o->snap[i];
}

void oracle_apply(struct oracle *o, const struct oracle_snapshot *s)
{
	for (uint64_t i = 0; i < s->sectors; i++)
		oracle_begin(o, i, 1, s->gen[i]);
}

void oracle_resizing(struct oracle *o, uint64_t sectors)
{
	uint64_t from = sectors < o->now ? sectors : o->now;

	if (o->bits)
		bitmodel_touch(o->bits, from, o->sectors);
}

void oracle_resized(struct oracle *o, uint64_t sectors)
{
	uint64_t from = sectors < o->now ? sectors : o->now;

	for (uint64_t i = from; i < o->sectors; i++) {
		struct oracle_sector *s = &o->s[i];

		oracle_begin(o, i, 1, ORACLE_ZERO);
		s->acked = s->pending = s->durable = s->n - 1;
	}
	if (o->bits)
		bitmodel_resized(o->bits, from);
	o->now = sectors;
}

void oracle_snapshot_drop(struct oracle_snapshot *s)
{
	free(s->gen);
	memset(s, 0, sizeof(*s));
}
