#include "enumerate.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bitmodel.h"

#define SECTOR 512
#define LEN_CLASS CHECKER_ROLES /* the file's length as a class of its own */
#define CLASSES (CHECKER_ROLES + 1)

/* A sector that was written since the last sync. */
struct var {
	uint64_t sec;
	uint32_t nver, cap, first; /* versions; first version of this record */
	uint32_t applied;	   /* version that cur holds (metadata) */
	const uint8_t **ver;
	uint64_t *hash;
	bool meta;
	uint8_t class;
};

/* A guest unit (checker.h) as some state of this epoch maps it. */
struct pair {
	uint64_t gidx, raw;
	uint32_t tree; /* 0: the active one, else the id of a snapshot */
	uint32_t sectors; /* inside the file */
	uint64_t end; /* sectors of the disk, in that state */
	unsigned missed; /* bit I: bitmap I, which notes changes, has none */
};

struct engine {
	struct enumerate *e;
	uint64_t cap, sectors; /* bytes and sectors the log can reach */
	uint8_t *newest, *stable, *cur;
	uint64_t newest_len, stable_len;
	uint8_t *meta, *class; /* by sector */
	int32_t *vix;	       /* by sector: its variable or -1 */
	struct var *var;
	uint32_t nvar, var_cap;
	uint64_t *lens; /* lengths since the last sync; [0] is the old one */
	uint32_t nlen, len_cap, len_first;
	uint64_t base; /* hash of the stable metadata */
	/* the variables that are enumerated: metadata and then the length */
	uint32_t *active, nactive, active_cap;
	uint32_t *pick; /* version of each active one */
	struct enumerate_set epoch;
	struct pair *pairs;
	uint64_t npair, pair_cap;
	struct enumerate_set pair_set;
	struct checker chk;
	uint8_t **blocks; /* memory of versions, by block */
	uint32_t nblock, block_cap, block_used, in_block;
	uint64_t sync_from[2]; /* log index that the next sync of a file covers */
	uint64_t point, rnd;
	bool late; /* a table was met where no variable was */
	bool first_change_seen, sync_failed;
	uint64_t crypto_off, crypto_end; /* the LUKS header, 0: none */
	uint8_t *unpacked;
};

#define BLOCK_SECTORS 256

static void *grow_array(void *p, uint32_t *cap, uint32_t need, size_t size)
{
	if (need <= *cap)
		return p;
	*cap = need * 2 + 16;
	p = realloc(p, *cap * size);
	if (!p)
		abort();
	return p;
}

static uint64_t mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ULL;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

static uint64_t rnd(struct engine *g)
{
	return mix(g->rnd += 0x9e3779b97f4a7c15ULL);
}

static uint64_t hash_sector(uint64_t sec, const uint8_t *p)
{
	uint64_t w[SECTOR / 8], h = mix(sec + 1);

	memcpy(w, p, SECTOR);
	for (unsigned i = 0; i < SECTOR / 8; i++)
		h = (h ^ w[i]) * 0x9fb21c651e98df25ULL + (h >> 29);
	return mix(h);
}

bool enumerate_set_add(struct enumerate_set *s, uint64_t h)
{
	uint64_t i;

	if (!h)
		h = 1;
	if ((s->n + 1) * 2 > s->cap) {
		struct enumerate_set old = *s;

		s->cap = s->cap ? s->cap * 2 : 1024;
		s->slot = calloc(s->cap, sizeof(*s->slot));
		if (!s->slot)
			abort();
		s->n = 0;
		for (i = 0; i < old.cap; i++)
			if (old.slot[i])
				enumerate_set_add(s, old.slot[i]);
		free(old.slot);
	}
	for (i = h & (s->cap - 1); s->slot[i]; i = (i + 1) & (s->cap - 1))
		if (s->slot[i] == h)
			return false;
	s->slot[i] = h;
	s->n++;
	return true;
}

void enumerate_set_clear(struct enumerate_set *s)
{
	if (s->cap > 16384)
		enumerate_set_fini(s);
	else if (s->n)
		memset(s->slot, 0, s->cap * sizeof(*s->slot));
	s->n = 0;
}

void enumerate_set_fini(struct enumerate_set *s)
{
	free(s->slot);
	memset(s, 0, sizeof(*s));
}

/* --- faults ---------------------------------------------------------------- */

static void dump_state(struct engine *g, uint64_t len, uint64_t sec,
		       const uint8_t *data, uint8_t *out)
{
	memcpy(out, g->cur, g->cap);
	for (uint32_t i = 0; i < g->nvar; i++)
		if (!g->var[i].meta)
			memcpy(out + g->var[i].sec * SECTOR,
			       g->newest + g->var[i].sec * SECTOR, SECTOR);
	if (data)
		memcpy(out + sec * SECTOR, data, SECTOR);
	if (g->e->data)
		memset(out + len, 0, g->e->data_base - len);
	else if (len < g->cap)
		memset(out + len, 0, g->cap - len);
}

static uint64_t state_len(struct engine *g)
{
	if (!g->nactive || g->active[g->nactive - 1] != UINT32_MAX)
		return g->lens[g->nlen - 1];
	return g->lens[g->pick[g->nactive - 1]];
}

static void choices_text(struct engine *g, char *out, size_t n)
{
	size_t at = 0;

	out[0] = '\0';
	for (uint32_t i = 0; i < g->nactive && at + 24 < n; i++) {
		if (g->active[i] == UINT32_MAX)
			at += (size_t)snprintf(out + at, n - at, " len=%#" PRIx64,
					       g->lens[g->pick[i]]);
		else if (g->pick[i])
			at += (size_t)snprintf(out + at, n - at,
					       " %#" PRIx64 ":v%u",
					       g->var[g->active[i]].sec * SECTOR,
					       g->pick[i]);
	}
}

static void bad(struct engine *g, enum enumerate_fault f, uint64_t sec,
		const uint8_t *data, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

static void bad(struct engine *g, enum enumerate_fault f, uint64_t sec,
		const uint8_t *data, const char *fmt, ...)
{
	struct enumerate *e = g->e;
	char what[240], sel[120];
	va_list ap;

	if (g->late)
		return;
	e->stats->bad[f]++;
	if (e->failed)
		return;
	e->failed = true;
	e->fault = f;
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	choices_text(g, sel, sizeof(sel));
	snprintf(e->text, sizeof(e->text), "entry %" PRIu64 ": %s; new:%s",
		 g->point, what, sel);
	if (e->dump) {
		FILE *out = fopen(e->dump, "wb");
		uint8_t *buf = malloc(g->cap);

		if (out && buf) {
			dump_state(g, state_len(g), sec, data, buf);
			fwrite(buf, 1, state_len(g), out);
		}
		free(buf);
		if (out)
			fclose(out);
	}
}

/* --- data ------------------------------------------------------------------ */

static uint64_t first_word(const uint8_t *data)
{
	uint64_t w = 0;

	if (data)
		memcpy(&w, data, sizeof(w));
	return w;
}

static uint64_t unit_sectors(const struct engine *g)
{
	return 1ULL << (g->chk.h.unit_bits - 9);
}

/* The bitmaps that do not have guest sector SEC, which reads as DATA. */
static void judge_missed(struct engine *g, const struct pair *p, uint64_t sec,
			 uint64_t host_sec, const uint8_t *stored,
			 const uint8_t *data)
{
	const struct oracle *o = g->e->oracle;

	for (unsigned i = 0; i < CHECKER_BITMAPS && o->bits; i++)
		if (p->missed >> i & 1 &&
		    !bitmodel_may_miss(o->bits, o, i, sec, data))
			bad(g, ENUMERATE_LOST, host_sec, stored,
			    "guest sector %" PRIu64 " has changed, and bitmap "
			    "'%c' does not say so", sec,
			    CHECKER_BITMAP_NAMES[i]);
}

/* Guest sector SEC is STORED at HOST_SEC, encrypted if the image is; or, with
 * HOST_SEC 0, it reads as STORED (NULL: the backing file answers). */
static void judge(struct engine *g, const struct pair *p, uint64_t sec,
		  uint64_t host_sec, const uint8_t *stored)
{
	uint8_t buf[SECTOR];
	const uint8_t *data =
		host_sec ? checker_plain(&g->chk.h, stored, host_sec * SECTOR,
					 sec, buf) :
			   stored;
	enum oracle_verdict v =
		sec >= p->end ? ORACLE_OK :
		p->tree ? oracle_check_snapshot(g->e->oracle, p->tree, sec,
						data) :
			  oracle_check(g->e->oracle, sec, data);

	if (p->missed && sec < p->end)
		judge_missed(g, p, sec, host_sec, host_sec ? stored : NULL,
			     data);
	if (v == ORACLE_OK)
		return;
	bad(g, v == ORACLE_LOST ? ENUMERATE_LOST : ENUMERATE_FOREIGN, host_sec,
	    host_sec ? stored : NULL,
	    "guest sector %" PRIu64 " tree %u entry %#" PRIx64 " host %#" PRIx64
	    " reads %s data %#" PRIx64, sec, p->tree, p->raw, host_sec * SECTOR,
	    v == ORACLE_LOST ? "lost" : "foreign",
	    first_word(data));
}

static void check_stream(struct engine *g, const struct pair *p,
			 const struct checker_ref *ref, uint64_t vary,
			 const uint8_t *with)
{
	uint64_t cs = 1ULL << g->chk.h.cluster_bits, len = ref->len;
	uint64_t first = ref->hoff / SECTOR;
	uint64_t last = (ref->hoff + ref->len - 1) / SECTOR;
	uint8_t *in = g->unpacked + cs;

	for (uint64_t s = first; s <= last; s++)
		memcpy(in + (s - first) * SECTOR,
		       s == vary ? with : g->stable + s * SECTOR, SECTOR);
	if (ref->hoff + len > g->cap)
		len = g->cap - ref->hoff;
	if (checker_inflate(g->chk.h.compression, g->unpacked, cs,
			    in + ref->hoff % SECTOR, len)) {
		bad(g, ENUMERATE_LOST, vary, with,
		    "guest unit %" PRIu64 ": compressed data at %#" PRIx64
		    " broken", p->gidx, ref->hoff);
		return;
	}
	for (uint64_t i = 0; i < cs / SECTOR; i++)
		judge(g, p, p->gidx * unit_sectors(g) + i, 0,
		      g->unpacked + i * SECTOR);
}

static void check_plain(struct engine *g, const struct pair *p,
			const struct checker_ref *ref)
{
	static const uint8_t zero[SECTOR];
	uint64_t per = unit_sectors(g);
	uint8_t buf[SECTOR];

	for (uint64_t i = 0; i < per; i++) {
		uint64_t host = ref->hoff / SECTOR + i;
		uint64_t sec = p->gidx * per + i;
		int32_t ix;

		if (i >= p->sectors) {
			judge(g, p, sec, 0,
			      checker_plain(&g->chk.h, zero, host * SECTOR, sec,
					    buf));
			continue;
		}
		ix = g->vix[host];
		if (ix < 0)
			judge(g, p, sec, host, g->stable + host * SECTOR);
		else
			for (uint32_t v = 0; v < g->var[ix].nver; v++)
				judge(g, p, sec, host, g->var[ix].ver[v]);
	}
}

static void check_pair(struct engine *g, const struct pair *p)
{
	static const uint8_t zero[SECTOR];
	uint64_t per = unit_sectors(g);
	struct checker_ref ref;

	g->e->stats->pairs++;
	checker_decode(&g->chk.h, p->raw, &ref);
	switch (ref.kind) {
	case CHECKER_PLAIN:
		check_plain(g, p, &ref);
		break;
	case CHECKER_STREAM:
		check_stream(g, p, &ref, UINT64_MAX, NULL);
		for (uint64_t s = ref.hoff / SECTOR;
		     s <= (ref.hoff + ref.len - 1) / SECTOR; s++)
			for (uint32_t v = 1; g->vix[s] >= 0 &&
					     v < g->var[g->vix[s]].nver; v++)
				check_stream(g, p, &ref, s,
					     g->var[g->vix[s]].ver[v]);
		break;
	case CHECKER_STREAM_PART:
		break;
	case CHECKER_ZERO:
	case CHECKER_UNALLOCATED:
		for (uint64_t i = 0; i < per; i++)
			judge(g, p, p->gidx * per + i, 0,
			      ref.kind == CHECKER_ZERO ? zero : NULL);
		break;
	}
}

/* A new version of a data sector: what maps to it? */
static void check_new_data(struct engine *g, const struct var *v)
{
	uint64_t per = unit_sectors(g);

	for (uint64_t i = 0; i < g->npair; i++) {
		const struct pair *p = &g->pairs[i];
		struct checker_ref ref;
		uint64_t first;

		checker_decode(&g->chk.h, p->raw, &ref);
		first = ref.hoff / SECTOR;
		if (ref.kind == CHECKER_PLAIN && v->sec >= first &&
		    v->sec < first + p->sectors)
			for (uint32_t k = v->first; k < v->nver; k++)
				judge(g, p, p->gidx * per + v->sec - first,
				      v->sec, v->ver[k]);
		if (ref.kind == CHECKER_STREAM && v->sec >= first &&
		    v->sec <= (ref.hoff + ref.len - 1) / SECTOR)
			for (uint32_t k = v->first; k < v->nver; k++)
				check_stream(g, p, &ref, v->sec, v->ver[k]);
	}
}

/* The bitmaps that would miss a change of guest unit GIDX. A granule is a unit
 * or more. */
static unsigned missing_in(const struct engine *g, uint64_t gidx)
{
	unsigned missed = 0;

	for (unsigned i = 0; i < CHECKER_BITMAPS && g->chk.bitmaps; i++)
		if (checker_misses(&g->chk, i, gidx * unit_sectors(g)))
			missed |= 1U << i;
	return missed;
}

static void add_pair(struct engine *g, const struct pair *p)
{
	if (!enumerate_set_add(&g->pair_set,
			       mix(mix(p->raw) + p->gidx * 64 + p->tree +
				   p->end * 0x10001) +
				       p->sectors * 8 + p->missed))
		return;
	if (g->npair == g->pair_cap) {
		g->pair_cap = g->pair_cap * 2 + 256;
		g->pairs = realloc(g->pairs, g->pair_cap * sizeof(*g->pairs));
		if (!g->pairs)
			abort();
	}
	g->pairs[g->npair++] = *p;
	check_pair(g, p);
}

/* A raw data file is the disk without any table: cluster I as it is there. */
static void add_raw_pair(struct engine *g, struct pair p)
{
	p.missed = 0;
	p.raw = p.gidx << g->chk.h.cluster_bits | 1ULL << 63;
	if (g->chk.h.autoclear & 2)
		add_pair(g, &p);
}

static void collect_pairs(struct engine *g, uint64_t len)
{
	uint64_t cs = unit_sectors(g) * SECTOR;

	for (unsigned t = 0; t < g->chk.trees; t++) {
		for (uint64_t i = 0; i < g->chk.map_n; i++) {
			struct pair p = { .gidx = i, .raw = g->chk.map[t][i],
					  .tree = g->chk.tree_id[t],
					  .end = g->chk.tree_size[t] / SECTOR };
			uint64_t off = p.raw & 0x00fffffffffffe00ULL, room;

			p.sectors = (uint32_t)(cs / SECTOR);
			p.missed = t ? 0 : missing_in(g, i);
			if (!g->chk.h.data_file && !(p.raw >> 62) &&
			    off + cs > len) {
				room = off < len ? len - off : 0;
				p.sectors = (uint32_t)(room / SECTOR);
			}
			add_pair(g, &p);
			if (g->chk.h.data_file)
				add_raw_pair(g, p);
		}
	}
}

/* --- one state ------------------------------------------------------------- */

static uint64_t pick_hash(struct engine *g)
{
	uint64_t h = g->base;

	for (uint32_t i = 0; i < g->nactive; i++) {
		const struct var *v;

		if (g->active[i] == UINT32_MAX || !g->pick[i])
			continue;
		v = &g->var[g->active[i]];
		h ^= v->hash[0] ^ v->hash[g->pick[i]];
	}
	return h ^ mix(state_len(g) + 77);
}

static void apply_picks(struct engine *g)
{
	for (uint32_t i = 0; i < g->nactive; i++) {
		struct var *v;

		if (g->active[i] == UINT32_MAX)
			continue;
		v = &g->var[g->active[i]];
		if (v->applied == g->pick[i])
			continue;
		v->applied = g->pick[i];
		memcpy(g->cur + v->sec * SECTOR, v->ver[v->applied], SECTOR);
	}
}

static void sample_state(struct engine *g, uint64_t len)
{
	struct enumerate *e = g->e;
	char text[160] = "";
	uint8_t *buf;

	if (!e->sample || !e->sample_every || rnd(g) % e->sample_every)
		return;
	buf = malloc(g->cap);
	if (!buf)
		abort();
	dump_state(g, len, 0, NULL, buf);
	e->stats->sampled++;
	if (e->sample(e->arg, buf, len, text, sizeof(text)))
		bad(g, ENUMERATE_CORRUPT, 0, NULL, "%s", text);
	free(buf);
}

/* A snapshot that was acknowledged is in every state. */
static void missing_snapshot(struct engine *g)
{
	const struct oracle *o = g->e->oracle;

	for (unsigned i = 0; i < ORACLE_SNAPSHOTS && !o->views; i++) {
		unsigned t = 1;

		if (!o->snap[i].must)
			continue;
		while (t < g->chk.trees && g->chk.tree_id[t] != o->snap[i].id)
			t++;
		if (t == g->chk.trees)
			bad(g, ENUMERATE_LOST, 0, NULL, "snapshot %u is gone",
			    o->snap[i].id);
	}
}

static void check_bitmaps(struct engine *g)
{
	const struct bitmodel *b = g->e->oracle->bits;
	char text[80];

	if (b && bitmodel_check(b, &g->chk, false, text, sizeof(text)))
		bad(g, ENUMERATE_LOST, 0, NULL, "%s", text);
}

static void try_state(struct engine *g)
{
	struct enumerate *e = g->e;
	uint64_t h = pick_hash(g), len = state_len(g);
	bool fresh;

	if ((e->failed && !e->keep_going) || !enumerate_set_add(&g->epoch, h))
		return;
	fresh = enumerate_set_add(e->seen, h);
	apply_picks(g);
	e->stats->states += fresh;
	e->stats->checked++;
	if (checker_run(&g->chk, g->cur, len)) {
		bad(g, ENUMERATE_CORRUPT, 0, NULL, "%s", g->chk.text);
		return;
	}
	if (g->chk.leaks > e->leaks + e->stats->leaks_max)
		e->stats->leaks_max = g->chk.leaks - e->leaks;
	missing_snapshot(g);
	check_bitmaps(g);
	collect_pairs(g, len);
	if (fresh)
		sample_state(g, len);
}

/* --- combinations ---------------------------------------------------------- */

static uint32_t versions_of(struct engine *g, uint32_t i)
{
	return g->active[i] == UINT32_MAX ? g->nlen : g->var[g->active[i]].nver;
}

static uint8_t class_of(struct engine *g, uint32_t i)
{
	return g->active[i] == UINT32_MAX ? LEN_CLASS :
					    g->var[g->active[i]].class;
}

static bool changed_now(struct engine *g, uint32_t i)
{
	if (g->active[i] == UINT32_MAX)
		return g->len_first < g->nlen;
	return g->var[g->active[i]].first < g->var[g->active[i]].nver;
}

static void set_all(struct engine *g, bool new)
{
	for (uint32_t i = 0; i < g->nactive; i++)
		g->pick[i] = new ? versions_of(g, i) - 1 : 0;
}

static void product(struct engine *g)
{
	uint32_t i;

	set_all(g, false);
	for (;;) {
		try_state(g);
		for (i = 0; i < g->nactive; i++) {
			if (++g->pick[i] < versions_of(g, i))
				break;
			g->pick[i] = 0;
		}
		if (i == g->nactive)
			return;
	}
}

static void class_extremes(struct engine *g)
{
	unsigned n = 0, bit[CLASSES];
	bool has[CLASSES] = { false };

	for (uint32_t i = 0; i < g->nactive; i++)
		has[class_of(g, i)] = true;
	for (unsigned c = 0; c < CLASSES; c++) {
		bit[c] = n;
		n += has[c];
	}
	for (uint32_t m = 0; m < 1U << n; m++) {
		for (uint32_t i = 0; i < g->nactive; i++)
			g->pick[i] = m >> bit[class_of(g, i)] & 1 ?
					     versions_of(g, i) - 1 : 0;
		try_state(g);
	}
}

static void deviations(struct engine *g, bool new)
{
	set_all(g, new);
	for (uint32_t i = 0; i < g->nactive; i++) {
		uint32_t keep = g->pick[i];

		for (uint32_t v = 0; v < versions_of(g, i); v++) {
			g->pick[i] = v;
			try_state(g);
		}
		g->pick[i] = keep;
	}
}

/* Two deviations; only those with a sector of this record are new ones. */
static void pairs_of(struct engine *g, bool new)
{
	set_all(g, new);
	for (uint32_t i = 0; i < g->nactive; i++) {
		uint32_t keep_i = g->pick[i];

		if (!changed_now(g, i))
			continue;
		g->pick[i] = new ? 0 : versions_of(g, i) - 1;
		for (uint32_t k = 0; k < g->nactive; k++) {
			uint32_t keep = g->pick[k];

			if (k == i)
				continue;
			g->pick[k] = new ? 0 : versions_of(g, k) - 1;
			try_state(g);
			g->pick[k] = keep;
		}
		g->pick[i] = keep_i;
	}
}

static void random_states(struct engine *g, unsigned n)
{
	for (unsigned k = 0; k < n; k++) {
		for (uint32_t i = 0; i < g->nactive; i++)
			g->pick[i] = (uint32_t)(rnd(g) % versions_of(g, i));
		try_state(g);
	}
}

static void list_active(struct engine *g)
{
	g->nactive = 0;
	for (uint32_t i = 0; i <= g->nvar; i++) {
		if (i < g->nvar ? !g->var[i].meta || g->var[i].nver < 2 :
				  g->nlen < 2)
			continue;
		if (g->nactive == g->active_cap) {
			g->active_cap = g->active_cap * 2 + 64;
			g->active = realloc(g->active, 4 * g->active_cap);
			g->pick = realloc(g->pick, 4 * g->active_cap);
			if (!g->active || !g->pick)
				abort();
		}
		g->active[g->nactive++] = i < g->nvar ? i : UINT32_MAX;
	}
}

static void combinations(struct engine *g)
{
	uint64_t max = g->e->product_max ? g->e->product_max : 4096, total = 1;

	list_active(g);
	for (uint32_t i = 0; i < g->nactive && total <= max; i++)
		total *= versions_of(g, i);
	if (total <= max) {
		product(g);
		return;
	}
	class_extremes(g);
	deviations(g, false);
	deviations(g, true);
	pairs_of(g, false);
	pairs_of(g, true);
	random_states(g, 256);
}

/* --- replay ---------------------------------------------------------------- */

static uint8_t *new_block(struct engine *g)
{
	if (!g->nblock || g->in_block == BLOCK_SECTORS) {
		if (g->block_used == g->nblock) {
			g->blocks = grow_array(g->blocks, &g->block_cap,
					       g->nblock + 1,
					       sizeof(*g->blocks));
			g->blocks[g->nblock] = malloc(BLOCK_SECTORS * SECTOR);
			if (!g->blocks[g->nblock++])
				abort();
		}
		g->block_used++;
		g->in_block = 0;
	}
	return g->blocks[g->block_used - 1] + g->in_block++ * SECTOR;
}

static void add_version(struct var *v, const uint8_t *copy, uint64_t h)
{
	if (v->nver == v->cap) {
		v->cap = v->cap * 2 + 4;
		v->ver = realloc(v->ver, v->cap * sizeof(*v->ver));
		v->hash = realloc(v->hash, v->cap * sizeof(*v->hash));
		if (!v->ver || !v->hash)
			abort();
	}
	v->ver[v->nver] = copy;
	v->hash[v->nver++] = h;
}

static uint8_t *copy_sector(struct engine *g, const uint8_t *p)
{
	return memcpy(new_block(g), p, SECTOR);
}

static struct var *get_var(struct engine *g, uint64_t sec)
{
	const uint8_t *old = g->stable + sec * SECTOR;
	struct var *v;
	uint32_t cap = g->var_cap;

	if (g->vix[sec] >= 0)
		return &g->var[g->vix[sec]];
	g->var = grow_array(g->var, &g->var_cap, g->nvar + 1, sizeof(*g->var));
	if (g->var_cap > cap)
		memset(g->var + cap, 0, (g->var_cap - cap) * sizeof(*g->var));
	v = &g->var[g->nvar];
	g->vix[sec] = (int32_t)g->nvar++;
	v->sec = sec;
	v->nver = 0;
	v->first = v->applied = 0;
	v->meta = g->meta[sec];
	v->class = g->class[sec];
	add_version(v, copy_sector(g, old), hash_sector(sec, old));
	v->first = 1;
	return v;
}

/* The newest content of SEC changed. */
static bool note_sector(struct engine *g, uint64_t sec)
{
	const uint8_t *p = g->newest + sec * SECTOR;
	uint64_t h = hash_sector(sec, p);
	struct var *v = get_var(g, sec);

	for (uint32_t i = 0; i < v->nver; i++)
		if (v->hash[i] == h)
			return false;
	add_version(v, copy_sector(g, p), h);
	return true;
}

static bool note_len(struct engine *g, uint64_t len)
{
	if (len == g->newest_len)
		return false;
	g->newest_len = len;
	for (uint32_t i = 0; i < g->nlen; i++)
		if (g->lens[i] == len)
			return false;
	g->lens = grow_array(g->lens, &g->len_cap, g->nlen + 1,
			     sizeof(*g->lens));
	g->lens[g->nlen++] = len;
	return true;
}

/* Change BUF and *LEN as the entry does; the range that changed. */
static void apply_entry(const struct enumerate *e,
			const struct hostrecord_entry *r, uint8_t *buf,
			uint64_t *image_len, uint64_t *from, uint64_t *to)
{
	uint64_t end = r->off + r->len, data_end = e->data_base + e->data_len;
	/* a data file reads zero where it is too short: its length is no matter */
	uint64_t *len = r->file ? &data_end : image_len;

	*from = r->off;
	*to = end;
	switch (r->op) {
	case HOSTRECORD_WRITE:
		memcpy(buf + r->off, r->data, r->len);
		break;
	case HOSTRECORD_PUNCH:
		*to = end > *len ? *len : end;
		if (*to > *from)
			memset(buf + *from, 0, *to - *from);
		else
			*to = *from;
		return;
	case HOSTRECORD_ZERO:
		memset(buf + r->off, 0, r->len);
		break;
	case HOSTRECORD_TRUNCATE:
		*from = r->len;
		*to = r->len < *len ? *len : r->len;
		memset(buf + *from, 0, *to - *from);
		*len = r->len;
		return;
	case HOSTRECORD_ALLOCATE:
	case HOSTRECORD_SYNC_BEGIN:
	case HOSTRECORD_SYNC_END:
	case HOSTRECORD_MARK:
		*to = *from;
		break;
	}
	if (r->op <= HOSTRECORD_ALLOCATE && end > *len)
		*len = end;
}

static bool is_change(const struct hostrecord_entry *r)
{
	return r->op <= HOSTRECORD_TRUNCATE && r->result >= 0;
}

static void start_epoch(struct engine *g)
{
	enumerate_set_clear(&g->epoch);
	enumerate_set_clear(&g->pair_set);
	g->npair = 0;
}

/* A change: true if the set of states grew by metadata. */
static bool add_change(struct engine *g, const struct hostrecord_entry *r)
{
	uint64_t len = g->newest_len, from, to;
	bool grew;

	for (uint32_t i = 0; i < g->nvar; i++)
		g->var[i].first = g->var[i].nver;
	g->len_first = g->nlen;
	apply_entry(g->e, r, g->newest, &len, &from, &to);
	grew = note_len(g, len);
	for (uint64_t s = from / SECTOR; s * SECTOR < to; s++)
		if (note_sector(g, s))
			grew |= g->meta[s];
	return grew;
}

static void check_autoclear(struct engine *g, const struct hostrecord_entry *r)
{
	uint64_t raw;
	const struct var *v = g->vix[0] >= 0 ? &g->var[g->vix[0]] : NULL;

	if (!g->e->stale_autoclear || g->first_change_seen || r->off < SECTOR)
		return;
	g->first_change_seen = true;
	for (uint32_t i = 0; i < (v ? v->nver : 1); i++) {
		memcpy(&raw, (v ? v->ver[i] : g->stable) + 88, 8);
		if (__builtin_bswap64(raw) & g->e->stale_autoclear)
			bad(g, ENUMERATE_ORDER, 0, NULL,
			    "write at %#" PRIx64 " while a stale autoclear bit "
			    "may be on disk", r->off);
	}
}

/* Nothing writes over the LUKS header and its key slots. */
static void check_crypto(struct engine *g, const struct hostrecord_entry *r)
{
	uint64_t from = r->op == HOSTRECORD_TRUNCATE ? r->len : r->off;
	uint64_t end = r->op == HOSTRECORD_TRUNCATE ? UINT64_MAX :
						      r->off + r->len;

	if (!r->file && from < g->crypto_end && end > g->crypto_off)
		bad(g, ENUMERATE_ORDER, 0, NULL,
		    "change at %#" PRIx64 " in the LUKS header", from);
}

static void change(struct engine *g, const struct hostrecord_entry *r)
{
	if (g->sync_failed && r->op != HOSTRECORD_TRUNCATE)
		bad(g, ENUMERATE_ORDER, 0, NULL,
		    "change at %#" PRIx64 " after a failed sync", r->off);
	check_autoclear(g, r);
	check_crypto(g, r);
	g->e->stats->points++;
	if (add_change(g, r))
		combinations(g);
	for (uint32_t i = 0; i < g->nvar; i++)
		if (g->var[i].first < g->var[i].nver)
			check_new_data(g, &g->var[i]);
}

/* What was complete when the sync began is now the old version. */
static void settle(struct engine *g, uint64_t begin, unsigned file)
{
	const struct hostrecord_entry *log = g->e->log;
	uint64_t from, to;

	for (uint64_t i = g->sync_from[file]; i < begin; i++)
		if (is_change(&log[i]) && log[i].file == file)
			apply_entry(g->e, &log[i], g->stable, &g->stable_len,
				    &from, &to);
	for (uint32_t i = 0; i < g->nvar; i++) {
		struct var *v = &g->var[i];
		const uint8_t *now = g->stable + v->sec * SECTOR;

		memcpy(g->cur + v->sec * SECTOR, now, SECTOR);
		if (v->meta)
			g->base ^= v->hash[0] ^ hash_sector(v->sec, now);
		g->vix[v->sec] = -1;
	}
	g->nvar = 0;
	g->block_used = 0;
	g->in_block = BLOCK_SECTORS;
	g->nlen = 1;
	g->lens[0] = g->stable_len;
	g->sync_from[file] = begin;
}

static bool is_unstable(const struct engine *g, uint64_t i)
{
	const struct hostrecord_entry *r = &g->e->log[i];

	return is_change(r) && i >= g->sync_from[r->file];
}

/* Entries that were made while the sync ran stay unstable, and so do those of
 * the other file. */
static void replay_rest(struct engine *g, uint64_t end)
{
	uint64_t from = g->sync_from[0];
	bool any = false;

	if (g->e->data && g->sync_from[1] < from)
		from = g->sync_from[1];
	for (uint64_t i = from; i < end && !any; i++)
		any = is_unstable(g, i);
	if (!any)
		return;
	memcpy(g->newest, g->stable, g->cap);
	g->newest_len = g->stable_len;
	for (uint64_t i = from; i < end; i++)
		if (is_unstable(g, i))
			add_change(g, &g->e->log[i]);
}

static void sync_end(struct engine *g, const struct hostrecord_entry *r)
{
	uint64_t begin = r->pair;

	if (r->result < 0) {
		g->sync_failed = true;
		return;
	}
	settle(g, begin, r->file);
	replay_rest(g, g->point);
	start_epoch(g);
	combinations(g);
}

static void handle_mark(struct engine *g, const struct hostrecord_entry *r)
{
	if (g->e->mark)
		g->e->mark(g->e->arg, r);
	/* less is allowed now */
	if ((r->kind == ENUMERATE_FLUSH_ACK && !r->b) ||
	    r->kind == ENUMERATE_BITMAP_ACK) {
		start_epoch(g);
		combinations(g);
	}
}

static void step(struct engine *g, uint64_t i)
{
	const struct hostrecord_entry *r = &g->e->log[i];

	g->point = i;
	if (is_change(r))
		change(g, r);
	else if (r->op == HOSTRECORD_SYNC_END)
		sync_end(g, r);
	else if (r->op == HOSTRECORD_MARK)
		handle_mark(g, r);
}

/* --- which sectors are tables ---------------------------------------------- */

static void table_met(void *arg, enum checker_role role, uint64_t off,
		      uint64_t len)
{
	struct engine *g = arg;

	for (uint64_t s = off / SECTOR; s * SECTOR < off + len; s++) {
		if (g->meta[s])
			continue;
		g->meta[s] = 1;
		g->class[s] = (uint8_t)role;
		g->late = true;
	}
}

/* Walk the image as it is after every change. */
static void find_tables(struct engine *g)
{
	uint64_t len = g->e->len, from, to;

	checker_run(&g->chk, g->cur, len);
	g->crypto_off = g->chk.h.crypto_off;
	g->crypto_end = g->crypto_off + g->chk.h.crypto_len;
	for (uint64_t i = 0; i < g->e->n; i++) {
		if (!is_change(&g->e->log[i]))
			continue;
		apply_entry(g->e, &g->e->log[i], g->cur, &len, &from, &to);
		checker_run(&g->chk, g->cur, len);
	}
}

/* --- set-up ---------------------------------------------------------------- */

static uint64_t reach(const struct enumerate *e)
{
	uint64_t max = e->data ? e->data_base + e->data_len : e->len;

	for (uint64_t i = 0; i < e->n; i++) {
		const struct hostrecord_entry *r = &e->log[i];
		uint64_t end = r->op == HOSTRECORD_TRUNCATE ? r->len :
							      r->off + r->len;

		if (r->op <= HOSTRECORD_TRUNCATE && end > max)
			max = end;
	}
	return (max + (2 << 20) / 16 + SECTOR - 1) / SECTOR * SECTOR;
}

static void copy_start(const struct enumerate *e, uint8_t *buf)
{
	memcpy(buf, e->image, e->len);
	if (e->data)
		memcpy(buf + e->data_base, e->data, e->data_len);
}

static void setup(struct engine *g, struct enumerate *e)
{
	memset(g, 0, sizeof(*g));
	g->e = e;
	g->cap = reach(e);
	g->sectors = g->cap / SECTOR;
	g->newest = calloc(1, g->cap);
	g->stable = calloc(1, g->cap);
	g->cur = calloc(1, g->cap);
	g->meta = calloc(1, g->sectors);
	g->class = calloc(1, g->sectors);
	g->vix = malloc(g->sectors * sizeof(*g->vix));
	g->lens = malloc(16 * sizeof(*g->lens));
	g->unpacked = malloc(3 * (2 << 20));
	if (!g->newest || !g->stable || !g->cur || !g->meta || !g->class ||
	    !g->vix || !g->lens || !g->unpacked)
		abort();
	g->len_cap = 16;
	copy_start(e, g->cur);
	checker_init(&g->chk);
	g->chk.data_base = e->data ? e->data_base : 0;
	g->chk.table = table_met;
	g->chk.table_arg = g;
	g->chk.backing_name = e->backing_name;
}

static void rewind_log(struct engine *g)
{
	struct enumerate *e = g->e;

	for (uint32_t i = 0; i < g->nvar; i++)
		g->vix[g->var[i].sec] = -1;
	memset(g->vix, 0xff, g->sectors * sizeof(*g->vix));
	memset(g->newest, 0, g->cap);
	copy_start(e, g->newest);
	memcpy(g->stable, g->newest, g->cap);
	memcpy(g->cur, g->newest, g->cap);
	g->newest_len = g->stable_len = g->lens[0] = e->len;
	g->nlen = 1;
	g->nvar = g->block_used = 0;
	g->in_block = BLOCK_SECTORS;
	g->sync_from[0] = g->sync_from[1] = 0;
	g->first_change_seen = g->sync_failed = g->late = false;
	g->rnd = e->seed;
	g->base = 0;
	for (uint64_t s = 0; s < g->sectors; s++)
		if (g->meta[s])
			g->base ^= hash_sector(s, g->stable + s * SECTOR);
	start_epoch(g);
	if (e->oracle && e->oracle->s)
		oracle_reset(e->oracle);
}

static void teardown(struct engine *g)
{
	for (uint32_t i = 0; i < g->var_cap; i++) {
		free(g->var[i].ver);
		free(g->var[i].hash);
	}
	for (uint32_t i = 0; i < g->nblock; i++)
		free(g->blocks[i]);
	free(g->blocks);
	free(g->var);
	free(g->newest);
	free(g->stable);
	free(g->cur);
	free(g->meta);
	free(g->class);
	free(g->vix);
	free(g->lens);
	free(g->active);
	free(g->pick);
	free(g->pairs);
	free(g->unpacked);
	enumerate_set_fini(&g->epoch);
	enumerate_set_fini(&g->pair_set);
	checker_fini(&g->chk);
}

int enumerate_run(struct enumerate *e)
{
	struct engine g;

	setup(&g, e);
	find_tables(&g);
	/* a table met in a state only: start again, knowing it */
	for (unsigned again = 0; again < 8; again++) {
		e->failed = false;
		rewind_log(&g);
		combinations(&g);
		for (uint64_t i = 0; i < e->n && !(e->failed && !e->keep_going) &&
				     !g.late; i++)
			step(&g, i);
		if (!g.late)
			break;
	}
	teardown(&g);
	return e->failed ? -1 : 0;
}
