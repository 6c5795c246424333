#include "bitmodel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "imgmake.h"
#include "oracle.h"

static void new_map(struct bitmodel_map *m, uint64_t n, const uint32_t *init)
{
	m->base = calloc(n + 1, sizeof(*m->base));
	m->must = calloc(n + 1, sizeof(*m->must));
	m->may = calloc(n + 1, sizeof(*m->may));
	if (!m->base || !m->must || !m->may)
		abort();
	memcpy(m->base, init, n * sizeof(*init));
}

static void free_map(struct bitmodel_map *m)
{
	free(m->base);
	free(m->must);
	free(m->may);
}

static void copy_maps(const struct bitmodel *b, struct bitmodel_map *to,
		      const struct bitmodel_map *from)
{
	for (unsigned i = 0; i < CHECKER_BITMAPS; i++) {
		to[i].there = from[i].there;
		to[i].notes = from[i].notes;
		memcpy(to[i].base, from[i].base, b->sectors * sizeof(uint32_t));
		memcpy(to[i].must, from[i].must, b->sectors);
		memcpy(to[i].may, from[i].may, b->sectors);
	}
}

void bitmodel_init(struct bitmodel *b, uint64_t sectors, const uint32_t *init,
		   unsigned start, unsigned added)
{
	memset(b, 0, sizeof(*b));
	b->sectors = sectors;
	for (unsigned i = 0; i < CHECKER_BITMAPS; i++) {
		new_map(&b->first[i], sectors, init);
		new_map(&b->now[i], sectors, init);
		new_map(&b->next[i], sectors, init);
		b->granularity[i] = i < 2 ? start : added;
		b->first[i].there = i < 2 && start;
	}
	b->first[0].notes = true;
	for (uint64_t s = 0; s < sectors && start; s++) {
		uint64_t bit = s * 512 >> start;

		b->first[1].must[s] = bit < 8 && IMGMAKE_BITS >> bit & 1;
		b->first[1].may[s] = b->first[1].must[s];
	}
	bitmodel_reset(b);
}

void bitmodel_fini(struct bitmodel *b)
{
	for (unsigned i = 0; i < CHECKER_BITMAPS; i++) {
		free_map(&b->first[i]);
		free_map(&b->now[i]);
		free_map(&b->next[i]);
	}
}

void bitmodel_reset(struct bitmodel *b)
{
	copy_maps(b, b->now, b->first);
	b->pending = false;
}

/* --- what happens --------------------------------------------------------- */

static void touch_map(const struct bitmodel *b, struct bitmodel_map *m,
		      uint64_t sec, uint64_t n)
{
	for (uint64_t s = sec; m->notes && s < b->sectors && s - sec < n; s++)
		m->may[s] = true;
}

void bitmodel_touch(struct bitmodel *b, uint64_t sec, uint64_t n)
{
	for (unsigned i = 0; i < CHECKER_BITMAPS; i++) {
		touch_map(b, &b->now[i], sec, n);
		touch_map(b, &b->next[i], sec, n);
	}
}

void bitmodel_resized(struct bitmodel *b, uint64_t sectors)
{
	for (unsigned i = 0; i < CHECKER_BITMAPS; i++)
		for (uint64_t s = sectors; s < b->sectors; s++)
			b->now[i].must[s] = b->next[i].must[s] = false;
	bitmodel_touch(b, sectors, b->sectors);
}

bool bitmodel_applies(const struct bitmodel *b, const struct bitmodel_op *op)
{
	if (op->what == BITMODEL_ADD)
		return !b->now[op->map].there;
	if (op->what == BITMODEL_MERGE && !b->now[op->from].there)
		return false;
	return b->now[op->map].there;
}

static void begin_notes(const struct bitmodel *b, struct bitmodel_map *m,
			const struct oracle *o)
{
	m->notes = true;
	for (uint64_t s = 0; s < b->sectors; s++)
		m->base[s] = oracle_newest(o, s);
}

static void clear_map(const struct bitmodel *b, struct bitmodel_map *m,
		      const struct oracle *o)
{
	bool notes = m->notes;

	begin_notes(b, m, o);
	m->notes = notes;
	memset(m->must, 0, b->sectors);
	memset(m->may, 0, b->sectors);
}

/* Has the sector changed, as far as M is concerned? */
static bool is_dirty(const struct bitmodel_map *m, const struct oracle *o,
		     uint64_t s)
{
	return m->must[s] || (m->notes && s < o->now &&
			      !oracle_same(o, s, oracle_newest(o, s),
					   m->base[s]));
}

static void disable_map(const struct bitmodel *b, struct bitmodel_map *m,
			const struct oracle *o)
{
	for (uint64_t s = 0; s < b->sectors; s++)
		m->must[s] = is_dirty(m, o, s);
	m->notes = false;
}

/* A bit of FROM makes all of its granule dirty. */
static void merge_maps(const struct bitmodel *b, struct bitmodel_map *to,
		       const struct bitmodel_map *from, unsigned granularity,
		       const struct oracle *o)
{
	uint64_t per = 1ULL << (granularity - 9);

	for (uint64_t s = 0; s < b->sectors; s++) {
		to->must[s] |= is_dirty(from, o, s);
		for (uint64_t i = s / per * per;
		     i < s / per * per + per && i < b->sectors && !to->may[s];
		     i++)
			to->may[s] = from->may[i];
	}
}

void bitmodel_begin(struct bitmodel *b, const struct oracle *o,
		    const struct bitmodel_op *op)
{
	struct bitmodel_map *m = &b->next[op->map];

	if (b->pending)
		return; /* one failed: nothing is written any more */
	b->pending = true;
	copy_maps(b, b->next, b->now);
	switch (op->what) {
	case BITMODEL_ADD:
		m->there = true;
		clear_map(b, m, o);
		m->notes = true;
		break;
	case BITMODEL_REMOVE:
		m->there = m->notes = false;
		break;
	case BITMODEL_CLEAR:
		clear_map(b, m, o);
		break;
	case BITMODEL_ENABLE:
		if (!m->notes)
			begin_notes(b, m, o);
		break;
	case BITMODEL_DISABLE:
		disable_map(b, m, o);
		break;
	case BITMODEL_MERGE:
		merge_maps(b, m, &b->now[op->from], b->granularity[op->from],
			   o);
		break;
	}
}

void bitmodel_ack(struct bitmodel *b)
{
	copy_maps(b, b->now, b->next);
	b->pending = false;
}

/* --- what is judged ------------------------------------------------------- */

static bool any(const bool *v, uint64_t from, uint64_t end)
{
	while (from < end && !v[from])
		from++;
	return from < end;
}

/* The bits of F against MUST and MAY, as far as the disk goes. */
static const char *check_bits(const struct bitmodel *b,
			      const struct bitmodel_map *m,
			      const struct checker_bitmap *f, uint64_t sectors)
{
	uint64_t per = 1ULL << (f->granularity - 9);

	if (sectors > b->sectors)
		sectors = b->sectors;
	for (uint64_t s = 0; s < sectors; s += per) {
		uint64_t bit = s / per;
		uint64_t end = s + per < sectors ? s + per : sectors;
		bool set = f->bits[bit / 8] >> bit % 8 & 1;

		if (!set && any(m->must, s, end))
			return "has lost a bit";
		/* also what lies behind the end of the disk */
		end = s + per < b->sectors ? s + per : b->sectors;
		if (set && !any(m->may, s, end))
			return "has a bit where nothing changed";
	}
	return NULL;
}

static const char *check_map(const struct bitmodel *b,
			     const struct bitmodel_map *m,
			     const struct checker_bitmap *f, uint64_t sectors)
{
	if (f->there != m->there)
		return f->there ? "is there again" : "is gone";
	if (!f->there)
		return NULL;
	if (f->notes != m->notes)
		return f->notes ? "is enabled" : "is disabled";
	return f->clean ? check_bits(b, m, f, sectors) : NULL;
}

static const char *check_one(const struct bitmodel *b, const struct checker *c,
			     unsigned i, bool closed)
{
	const struct checker_bitmap *f = &c->bitmap[i];
	const char *why = NULL;

	/* while the bitmaps' extension moves none of them counts */
	if (!c->bitmaps)
		return closed && b->now[i].there ? "does not count" : NULL;
	why = check_map(b, &b->now[i], f, c->h.size / 512);
	if (why && b->pending)
		why = check_map(b, &b->next[i], f, c->h.size / 512);
	return !why && closed && f->there && !f->clean ? "is in use" : why;
}

int bitmodel_check(const struct bitmodel *b, const struct checker *c,
		   bool closed, char *text, size_t size)
{
	for (unsigned i = 0; i < CHECKER_BITMAPS; i++) {
		const char *why = check_one(b, c, i, closed);

		if (!why)
			continue;
		snprintf(text, size, "bitmap '%c' %s", CHECKER_BITMAP_NAMES[i],
			 why);
		return -1;
	}
	return 0;
}

bool bitmodel_may_miss(const struct bitmodel *b, const struct oracle *o,
		       unsigned map, uint64_t sec, const uint8_t *data)
{
	const struct bitmodel_map *now = &b->now[map], *next = &b->next[map];

	if (sec >= b->sectors)
		return true;
	return (now->notes && oracle_is(o, sec, now->base[sec], data)) ||
	       (b->pending && next->notes &&
		oracle_is(o, sec, next->base[sec], data));
}
