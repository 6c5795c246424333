#include "enumerate.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bitmodel.h"
#include "choice.h"
#include "content.h"
#include "dice.h"
#include "order.h"
#include "unsynced.h"

#define COMBINATIONS_MAX 4096
#define PASSES_MAX 8

struct engine {
	struct enumerate *e;
	struct unsynced un;
	struct content content;
	struct order order;
	struct checker chk;
	struct choice choice;
	struct hashset tried; /* since the last sync */
	uint64_t point, dice;
	bool late; /* a table was met where no variable was */
};

/* --- faults ---------------------------------------------------------------- */

/* The state as a file, for who looks into the fault. */
static void dump(struct engine *g, uint64_t sec, const uint8_t *data)
{
	FILE *out = fopen(g->e->dump, "wb");
	uint8_t *buf = malloc(g->un.cap);

	if (out && buf) {
		choice_dump(&g->choice, sec, data, buf);
		fwrite(buf, 1, choice_len(&g->choice), out);
	}
	free(buf);
	if (out)
		fclose(out);
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
	choice_text(&g->choice, sel, sizeof(sel));
	snprintf(e->text, sizeof(e->text), "entry %" PRIu64 ": %s; new:%s",
		 g->point, what, sel);
	if (e->dump)
		dump(g, sec, data);
}

static void content_bad(void *arg, bool lost, uint64_t host_sec,
			const uint8_t *data, const char *text)
{
	bad(arg, lost ? ENUMERATE_LOST : ENUMERATE_FOREIGN, host_sec, data,
	    "%s", text);
}

static void order_bad(void *arg, const char *text)
{
	bad(arg, ENUMERATE_ORDER, 0, NULL, "%s", text);
}

/* --- one state ------------------------------------------------------------- */

static void sample_state(struct engine *g, uint64_t len)
{
	struct enumerate *e = g->e;
	char text[160] = "";
	uint8_t *buf;

	if (!e->sample || !e->sample_every ||
	    dice_throw(&g->dice) % e->sample_every)
		return;
	buf = malloc(g->un.cap);
	if (!buf)
		abort();
	choice_dump(&g->choice, 0, NULL, buf);
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

static void try_state(void *arg)
{
	struct engine *g = arg;
	struct enumerate *e = g->e;
	uint64_t len = choice_len(&g->choice);
	uint64_t h = choice_hash(&g->choice);
	bool fresh;

	if ((e->failed && !e->keep_going) || !hashset_add(&g->tried, h))
		return;
	fresh = hashset_add(e->seen, h);
	choice_apply(&g->choice);
	e->stats->states += fresh;
	e->stats->checked++;
	if (checker_run(&g->chk, g->choice.image, len)) {
		bad(g, ENUMERATE_CORRUPT, 0, NULL, "%s", g->chk.text);
		return;
	}
	if (g->chk.leaks > e->leaks + e->stats->leaks_max)
		e->stats->leaks_max = g->chk.leaks - e->leaks;
	missing_snapshot(g);
	check_bitmaps(g);
	content_collect(&g->content, len);
	if (fresh)
		sample_state(g, len);
}

/* --- all states at a point ------------------------------------------------- */

static void combinations(struct engine *g)
{
	struct combine c = {
		.max = g->e->product_max ? g->e->product_max : COMBINATIONS_MAX,
		.dice = &g->dice,
		.try = try_state,
		.arg = g,
	};

	choice_list(&g->choice);
	c.part = g->choice.part;
	c.n = g->choice.n;
	c.pick = g->choice.pick;
	combine_run(&c);
}

/* --- replay ---------------------------------------------------------------- */

/* Other states are possible now, or less is allowed in them. */
static void start_again(struct engine *g)
{
	hashset_clear(&g->tried);
	content_forget(&g->content);
}

static void change(struct engine *g, const struct hostrecord_entry *r)
{
	order_change(&g->order, &g->un, r);
	g->e->stats->points++;
	if (unsynced_change(&g->un, r))
		combinations(g);
	for (uint32_t i = 0; i < g->un.nvar; i++)
		if (g->un.var[i].first < g->un.var[i].nver)
			content_changed(&g->content, &g->un.var[i]);
}

static void sync_end(struct engine *g, const struct hostrecord_entry *r)
{
	if (r->result < 0) {
		order_sync_failed(&g->order);
		return;
	}
	/* what was complete when the sync began is the old version now */
	unsynced_settle(&g->un, r->pair, r->file);
	choice_settle(&g->choice);
	unsynced_forget(&g->un);
	unsynced_again(&g->un, g->point);
	start_again(g);
	combinations(g);
}

static void handle_mark(struct engine *g, const struct hostrecord_entry *r)
{
	if (g->e->mark)
		g->e->mark(g->e->arg, r);
	/* less is allowed now */
	if ((r->kind == ENUMERATE_FLUSH_ACK && !r->b) ||
	    r->kind == ENUMERATE_BITMAP_ACK) {
		start_again(g);
		combinations(g);
	}
}

static void step(struct engine *g, uint64_t i)
{
	const struct hostrecord_entry *r = &g->e->log[i];

	g->point = i;
	if (unsynced_is_change(r))
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
	uint64_t s = off / UNSYNCED_SECTOR;

	for (; s * UNSYNCED_SECTOR < off + len; s++) {
		if (g->un.meta[s])
			continue;
		g->un.meta[s] = 1;
		g->un.class[s] = (uint8_t)role;
		g->late = true;
	}
}

/* Walk the image as it is after every change. */
static void find_tables(struct engine *g)
{
	uint8_t *image = g->choice.image; /* until it is rewound */
	uint64_t len = g->e->len, from, to;

	checker_run(&g->chk, image, len);
	g->order.crypto_off = g->chk.h.crypto_off;
	g->order.crypto_end = g->order.crypto_off + g->chk.h.crypto_len;
	for (uint64_t i = 0; i < g->e->n; i++) {
		if (!unsynced_is_change(&g->e->log[i]))
			continue;
		unsynced_apply(&g->un, &g->e->log[i], image, &len, &from,
			       &to);
		checker_run(&g->chk, image, len);
	}
}

/* --- set-up ---------------------------------------------------------------- */

static void setup(struct engine *g, struct enumerate *e)
{
	*g = (struct engine){
		.e = e,
		.un = { .log = e->log, .n = e->n, .image = e->image,
			.len = e->len, .data = e->data,
			.data_base = e->data_base, .data_len = e->data_len },
		.content = { .chk = &g->chk, .un = &g->un,
			     .oracle = e->oracle, .bad = content_bad,
			     .arg = g },
		.choice = { .un = &g->un },
		.order = { .stale_autoclear = e->stale_autoclear,
			   .bad = order_bad, .arg = g },
	};
	unsynced_init(&g->un);
	choice_init(&g->choice);
	content_init(&g->content);
	checker_init(&g->chk);
	g->chk.data_base = e->data ? e->data_base : 0;
	g->chk.table = table_met;
	g->chk.table_arg = g;
	g->chk.backing_name = e->backing_name;
}

static void rewind_log(struct engine *g)
{
	struct enumerate *e = g->e;

	unsynced_rewind(&g->un);
	choice_rewind(&g->choice);
	order_rewind(&g->order);
	g->late = false;
	g->dice = e->seed;
	start_again(g);
	if (e->oracle && e->oracle->s)
		oracle_reset(e->oracle);
}

static void teardown(struct engine *g)
{
	g->e->stats->pairs += g->content.judged;
	unsynced_fini(&g->un);
	choice_fini(&g->choice);
	content_fini(&g->content);
	checker_fini(&g->chk);
	hashset_fini(&g->tried);
}

/* All of the log, or as far as no table is met that was not known. */
static void replay(struct engine *g)
{
	struct enumerate *e = g->e;

	e->failed = false;
	rewind_log(g);
	combinations(g);
	for (uint64_t i = 0; i < e->n && !g->late; i++)
		if (!e->failed || e->keep_going)
			step(g, i);
}

int enumerate_run(struct enumerate *e)
{
	struct engine g;

	setup(&g, e);
	find_tables(&g);
	/* a table met in a state only: start again, knowing it */
	for (unsigned pass = 0; pass < PASSES_MAX && (!pass || g.late); pass++)
		replay(&g);
	if (g.late) {
		g.late = false;
		bad(&g, ENUMERATE_CORRUPT, 0, NULL,
		    "each of %u passes met tables that were not known",
		    PASSES_MAX);
	}
	teardown(&g);
	return e->failed ? -1 : 0;
}
