#include "content.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bitmodel.h"
#include "dice.h"

#define SECTOR UNSYNCED_SECTOR
#define CLUSTER_MAX (2 << 20)

/* A guest unit as some state since the last sync maps it. */
struct content_unit {
	uint64_t gidx, raw;
	uint32_t tree; /* 0: the active one, else the id of a snapshot */
	uint32_t sectors; /* inside the file */
	uint64_t end; /* sectors of the disk, in that state */
	unsigned missed; /* bit I: bitmap I, which notes changes, has none */
};

static void fault(struct content *c, bool lost, uint64_t host_sec,
		  const uint8_t *data, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

static void fault(struct content *c, bool lost, uint64_t host_sec,
		  const uint8_t *data, const char *fmt, ...)
{
	char text[240];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->bad(c->arg, lost, host_sec, data, text);
}

void content_init(struct content *c)
{
	c->unpacked = malloc(3 * CLUSTER_MAX);
	if (!c->unpacked)
		abort();
}

void content_fini(struct content *c)
{
	free(c->unit);
	free(c->unpacked);
	hashset_fini(&c->seen);
}

void content_forget(struct content *c)
{
	hashset_clear(&c->seen);
	c->n = 0;
}

static uint64_t first_word(const uint8_t *data)
{
	uint64_t w = 0;

	if (data)
		memcpy(&w, data, sizeof(w));
	return w;
}

static uint64_t unit_sectors(const struct content *c)
{
	return 1ULL << (c->chk->h.unit_bits - 9);
}

/* The bitmaps that do not have guest sector SEC, which reads as DATA. */
static void judge_missed(struct content *c, const struct content_unit *p,
			 uint64_t sec, uint64_t host_sec,
			 const uint8_t *stored, const uint8_t *data)
{
	const struct oracle *o = c->oracle;

	for (unsigned i = 0; i < CHECKER_BITMAPS && o->bits; i++)
		if (p->missed >> i & 1 &&
		    !bitmodel_may_miss(o->bits, o, i, sec, data))
			fault(c, true, host_sec, stored,
			      "guest sector %" PRIu64 " has changed, and "
			      "bitmap '%c' does not say so", sec,
			      CHECKER_BITMAP_NAMES[i]);
}

/* Guest sector SEC is STORED at HOST_SEC, encrypted if the image is; or, with
 * HOST_SEC 0, it reads as STORED (NULL: the backing file answers). */
static void judge(struct content *c, const struct content_unit *p, uint64_t sec,
		  uint64_t host_sec, const uint8_t *stored)
{
	uint8_t buf[SECTOR];
	const uint8_t *data =
		host_sec ? checker_plain(&c->chk->h, stored, host_sec * SECTOR,
					 sec, buf) :
			   stored;
	enum oracle_verdict v =
		sec >= p->end ? ORACLE_OK :
		p->tree ? oracle_check_snapshot(c->oracle, p->tree, sec,
						data) :
			  oracle_check(c->oracle, sec, data);

	if (p->missed && sec < p->end)
		judge_missed(c, p, sec, host_sec, host_sec ? stored : NULL,
			     data);
	if (v == ORACLE_OK)
		return;
	fault(c, v == ORACLE_LOST, host_sec, host_sec ? stored : NULL,
	      "guest sector %" PRIu64 " tree %u entry %#" PRIx64 " host %#"
	      PRIx64 " reads %s data %#" PRIx64, sec, p->tree, p->raw,
	      host_sec * SECTOR, v == ORACLE_LOST ? "lost" : "foreign",
	      first_word(data));
}

static void check_stream(struct content *c, const struct content_unit *p,
			 const struct checker_ref *ref, uint64_t vary,
			 const uint8_t *with)
{
	uint64_t cs = 1ULL << c->chk->h.cluster_bits, len = ref->len;
	uint64_t first = ref->hoff / SECTOR;
	uint64_t last = (ref->hoff + ref->len - 1) / SECTOR;
	uint8_t *in = c->unpacked + cs;

	for (uint64_t s = first; s <= last; s++)
		memcpy(in + (s - first) * SECTOR,
		       s == vary ? with : c->un->stable + s * SECTOR, SECTOR);
	if (ref->hoff + len > c->un->cap)
		len = c->un->cap - ref->hoff;
	if (checker_inflate(c->chk->h.compression, c->unpacked, cs,
			    in + ref->hoff % SECTOR, len)) {
		fault(c, true, vary, with, "guest unit %" PRIu64
		      ": compressed data at %#" PRIx64 " broken", p->gidx,
		      ref->hoff);
		return;
	}
	for (uint64_t i = 0; i < cs / SECTOR; i++)
		judge(c, p, p->gidx * unit_sectors(c) + i, 0,
		      c->unpacked + i * SECTOR);
}

/* As it is stable, and with each version of one of its sectors. */
static void check_streams(struct content *c, const struct content_unit *p,
			  const struct checker_ref *ref)
{
	uint64_t last = (ref->hoff + ref->len - 1) / SECTOR;

	check_stream(c, p, ref, UINT64_MAX, NULL);
	for (uint64_t s = ref->hoff / SECTOR; s <= last; s++) {
		const struct unsynced_var *v = unsynced_var(c->un, s);

		for (uint32_t k = 1; v && k < v->nver; k++)
			check_stream(c, p, ref, s, v->ver[k]);
	}
}

static void check_plain(struct content *c, const struct content_unit *p,
			const struct checker_ref *ref)
{
	static const uint8_t zero[SECTOR];
	uint64_t per = unit_sectors(c);
	uint8_t buf[SECTOR];

	for (uint64_t i = 0; i < per; i++) {
		uint64_t host = ref->hoff / SECTOR + i;
		uint64_t sec = p->gidx * per + i;
		const struct unsynced_var *v;

		if (i >= p->sectors) {
			judge(c, p, sec, 0,
			      checker_plain(&c->chk->h, zero, host * SECTOR,
					    sec, buf));
			continue;
		}
		v = unsynced_var(c->un, host);
		if (!v)
			judge(c, p, sec, host, c->un->stable + host * SECTOR);
		else
			for (uint32_t k = 0; k < v->nver; k++)
				judge(c, p, sec, host, v->ver[k]);
	}
}

static void check_unit(struct content *c, const struct content_unit *p)
{
	static const uint8_t zero[SECTOR];
	uint64_t per = unit_sectors(c);
	struct checker_ref ref;

	c->judged++;
	checker_decode(&c->chk->h, p->raw, &ref);
	switch (ref.kind) {
	case CHECKER_PLAIN:
		check_plain(c, p, &ref);
		break;
	case CHECKER_STREAM:
		check_streams(c, p, &ref);
		break;
	case CHECKER_STREAM_PART:
		break;
	case CHECKER_ZERO:
	case CHECKER_UNALLOCATED:
		for (uint64_t i = 0; i < per; i++)
			judge(c, p, p->gidx * per + i, 0,
			      ref.kind == CHECKER_ZERO ? zero : NULL);
		break;
	}
}

void content_changed(struct content *c, const struct unsynced_var *v)
{
	uint64_t per = unit_sectors(c);

	for (uint64_t i = 0; i < c->n; i++) {
		const struct content_unit *p = &c->unit[i];
		struct checker_ref ref;
		uint64_t first;

		checker_decode(&c->chk->h, p->raw, &ref);
		first = ref.hoff / SECTOR;
		if (ref.kind == CHECKER_PLAIN && v->sec >= first &&
		    v->sec < first + p->sectors)
			for (uint32_t k = v->first; k < v->nver; k++)
				judge(c, p, p->gidx * per + v->sec - first,
				      v->sec, v->ver[k]);
		if (ref.kind == CHECKER_STREAM && v->sec >= first &&
		    v->sec <= (ref.hoff + ref.len - 1) / SECTOR)
			for (uint32_t k = v->first; k < v->nver; k++)
				check_stream(c, p, &ref, v->sec, v->ver[k]);
	}
}

/* The bitmaps that would miss a change of guest unit GIDX. A granule is a unit
 * or more. */
static unsigned missing_in(const struct content *c, uint64_t gidx)
{
	unsigned missed = 0;

	for (unsigned i = 0; i < CHECKER_BITMAPS && c->chk->bitmaps; i++)
		if (checker_misses(c->chk, i, gidx * unit_sectors(c)))
			missed |= 1U << i;
	return missed;
}

static void add_unit(struct content *c, const struct content_unit *p)
{
	uint64_t where = p->gidx * 64 + p->tree + p->end * 0x10001;

	if (!hashset_add(&c->seen, dice_mix(dice_mix(p->raw) + where) +
					   p->sectors * 8 + p->missed))
		return;
	if (c->n == c->cap) {
		c->cap = c->cap * 2 + 256;
		c->unit = realloc(c->unit, c->cap * sizeof(*c->unit));
		if (!c->unit)
			abort();
	}
	c->unit[c->n++] = *p;
	check_unit(c, p);
}

/* A raw data file is the disk without any table: cluster I as it is there. */
static void add_raw_unit(struct content *c, struct content_unit p)
{
	p.missed = 0;
	p.raw = p.gidx << c->chk->h.cluster_bits | 1ULL << 63;
	if (c->chk->h.autoclear & 2)
		add_unit(c, &p);
}

/* Guest unit I as tree T of a state of LEN bytes has it. */
static struct content_unit unit_of(const struct content *c, unsigned t,
				   uint64_t i, uint64_t len)
{
	struct content_unit p = { .gidx = i,
				  .raw = c->chk->map[t][i],
				  .tree = c->chk->tree_id[t],
				  .sectors = (uint32_t)unit_sectors(c),
				  .end = c->chk->tree_size[t] / SECTOR,
				  .missed = t ? 0 : missing_in(c, i) };
	uint64_t off = p.raw & 0x00fffffffffffe00ULL;

	if (!c->chk->h.data_file && !(p.raw >> 62) &&
	    off + unit_sectors(c) * SECTOR > len)
		p.sectors = off < len ? (uint32_t)((len - off) / SECTOR) : 0;
	return p;
}

void content_collect(struct content *c, uint64_t len)
{
	for (unsigned t = 0; t < c->chk->trees; t++) {
		for (uint64_t i = 0; i < c->chk->map_n; i++) {
			struct content_unit p = unit_of(c, t, i, len);

			add_unit(c, &p);
			if (c->chk->h.data_file)
				add_raw_unit(c, p);
		}
	}
}
