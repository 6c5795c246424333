#include "check/crashes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check/found.h"
#include "check/reader.h"
#include "core/admin/repair.h"
#include "core/admin/undo.h"
#include "lib/hostrecord.h"

#define MANY 40	   /* entries of a log */
#define UNSYNCED 3 /* changes at the end that are taken or not on their own */

struct run {
	struct hostmem *broken;
	struct hostrecord *log;
	struct found before, last;
	char *text;
	unsigned long size;
};

static bool bad(struct run *r, const char *what, uint64_t k, const char *detail)
{
	snprintf(r->text, r->size, "%s, before change %llu: %s", what,
		 (unsigned long long)k, detail);
	return false;
}

static void repair(struct hostmem *m, struct hostrecord *log)
{
	struct repair_result res;
	struct err err = { "" };
	struct hostfile *f;
	struct hostfile *g;

	if (hostmem_open(&f, m, true) < 0)
		abort();
	if (log) {
		if (hostrecord_wrap(log, &g, f) < 0)
			abort();
		f = g;
	}
	if (repair_image(f, REPAIR_ALL, NULL, &res, &err) < 0)
		printf("the repair failed: %s\n", err.text);
	hostfile_close(f);
}

/* A place outside the file may come to lie inside, and be one that lacks a count:
 * that is the same defect in another coat. */
static unsigned lacking(const struct found *f)
{
	return f->n[PROBLEM_REFCOUNT_LOW] + f->n[PROBLEM_REFTABLE_RANGE] +
	       f->n[PROBLEM_L1_RANGE] + f->n[PROBLEM_L2_RANGE] +
	       f->n[PROBLEM_COMPRESSED_RANGE];
}

/* Of each defect no more than there was. What a raised count leaves to be lowered
 * later, and flags, which are judged by the counts of the moment, may come. */
static bool no_worse(struct run *r, struct hostmem *m, uint64_t k)
{
	struct found now;

	found_check(m, &now);
	for (unsigned c = 0; c < PROBLEM_N; c++) {
		if (c == PROBLEM_REFCOUNT_HIGH || c == PROBLEM_REFCOUNT_LOW || c == PROBLEM_COPIED_L1 ||
		    c == PROBLEM_COPIED_L2)
			continue;
		/* the copy of a table that was something else as well names
		 * what that names */
		if (c == PROBLEM_ROLE_CLASH && now.n[c] <= 2 * r->before.n[c])
			continue;
		if (now.n[c] > r->before.n[c] && now.n[c] > r->last.n[c])
			return bad(r, "it is worse than before", k,
				   problem_name((enum problem_code)c));
	}
	if (lacking(&now) > lacking(&r->before))
		return bad(r, "it is worse than before", k, "refcount-low");
	return true;
}

/* Was something broken besides counts and flags? */
static bool tables_broken(const struct found *f)
{
	for (unsigned c = 0; c < PROBLEM_N; c++)
		if (f->n[c] && problem_fix_of((enum problem_code)c) !=
				       PROBLEM_FIX_NONE &&
		    c != PROBLEM_REFCOUNT_LOW && c != PROBLEM_REFCOUNT_HIGH &&
		    c != PROBLEM_COPIED_L1 && c != PROBLEM_COPIED_L2 &&
		    c != PROBLEM_AUTOCLEAR)
			return true;
	return false;
}

/* Between the broken image and the repaired one nobody may write to it. */
static bool guarded(struct run *r, struct hostmem *m, uint64_t k)
{
	unsigned char head[80];
	struct found now;

	hostmem_read(m, head, sizeof(head), 0);
	if (head[7] < 3 || head[79] & 2 || !tables_broken(&r->before) ||
	    hostmem_equal(m, r->broken))
		return true;
	found_check(m, &now);
	return !memcmp(&now, &r->last, sizeof(now)) ||
	       bad(r, "it is half repaired", k, "and not marked corrupt");
}

static bool judge(struct run *r, struct hostmem *m, uint64_t k)
{
	struct found now;
	char text[FOUND_TEXT];

	if (!no_worse(r, m, k) || !guarded(r, m, k))
		return false;
	if (!reader_same(r->broken, m, false, text, sizeof(text)))
		return bad(r, "content", k, text);
	repair(m, NULL);
	found_check(m, &now);
	if (memcmp(&now, &r->last, sizeof(now)))
		return bad(r, "a second repair leaves", k, found_text(m, text));
	if (!reader_same(r->broken, m, false, text, sizeof(text)))
		return bad(r, "content after a second repair", k, text);
	return true;
}

/* What was synced before change K. */
static uint64_t synced(struct run *r, uint64_t k)
{
	struct hostrecord_entry e;
	uint64_t n = 0;

	for (uint64_t i = 0; i < k; i++) {
		hostrecord_get(r->log, i, &e);
		if (e.op == HOSTRECORD_SYNC_END)
			n = e.pair;
	}
	return n;
}

/* Changes K - UNSYNCED to K each made or not; of those before, that are not
 * synced either, all or none. */
static bool crash_at(struct run *r, uint64_t k)
{
	struct hostrecord_entry e;
	uint64_t stable = synced(r, k);
	uint64_t free_from = k > stable + UNSYNCED ? k - UNSYNCED : stable;
	unsigned choices = 1U << (k - free_from + (free_from > stable));
	bool ok = true;

	for (unsigned c = 0; c < choices && ok; c++) {
		struct hostmem *m = hostmem_clone(r->broken);

		for (uint64_t i = 0; i < k; i++) {
			unsigned bit = i < free_from ? (unsigned)(k - free_from)
						     : (unsigned)(i - free_from);

			hostrecord_get(r->log, i, &e);
			if (i < stable || c >> bit & 1)
				if (hostrecord_apply(&e, m) < 0)
					abort();
		}
		ok = judge(r, m, k);
		hostmem_free(m);
	}
	return ok;
}

/* After a write; of many between two syncs, the first, the last, and some. */
static bool worth_it(struct run *r, uint64_t k)
{
	uint64_t n = hostrecord_len(r->log);
	struct hostrecord_entry e;
	struct hostrecord_entry next;

	hostrecord_get(r->log, k - 1, &e);
	if (e.op != HOSTRECORD_WRITE)
		return false;
	hostrecord_get(r->log, k < n ? k : n - 1, &next);
	return n < MANY || next.op != HOSTRECORD_WRITE || k % (n / 8) == 0;
}

bool crashes_run(struct hostmem *broken, char *text, unsigned long size)
{
	struct run r = { .broken = broken, .log = hostrecord_new(),
			 .text = text, .size = size };
	struct hostmem *m = hostmem_clone(broken);
	bool ok = true;

	found_check(broken, &r.before);
	repair(m, r.log);
	found_check(m, &r.last);
	for (uint64_t k = 1; k <= hostrecord_len(r.log) && ok; k++)
		if (worth_it(&r, k))
			ok = crash_at(&r, k);
	hostrecord_free(r.log);
	hostmem_free(m);
	return ok;
}

/* --- order of an undo file and its image ----------------------------------------- */

struct order {
	bool unsaved; /* something was written to the undo file since its sync */
	bool wrong;
};

/* One of the two files. */
struct side {
	struct hostfile *under;
	struct order *order;
	bool is_log;
};

static ssize_t side_pread(void *ctx, void *buf, size_t len, uint64_t off)
{
	struct side *s = ctx;

	return s->under->ops->pread(s->under->ctx, buf, len, off);
}

static ssize_t side_pwrite(void *ctx, const void *buf, size_t len, uint64_t off)
{
	struct side *s = ctx;

	if (s->is_log)
		s->order->unsaved = true;
	else
		s->order->wrong |= s->order->unsaved;
	return s->under->ops->pwrite(s->under->ctx, buf, len, off);
}

static int side_sync(void *ctx)
{
	struct side *s = ctx;

	if (s->is_log)
		s->order->unsaved = false;
	return s->under->ops->sync(s->under->ctx);
}

static int side_stat(void *ctx, struct host_stat *st)
{
	struct side *s = ctx;

	return s->under->ops->stat(s->under->ctx, st);
}

static int64_t side_seek(void *ctx, uint64_t off, enum host_seek what)
{
	struct side *s = ctx;

	return s->under->ops->seek(s->under->ctx, off, what);
}

static void side_close(void *ctx)
{
	struct side *s = ctx;

	hostfile_close(s->under);
}

static struct hostfile *open_side(struct side *s, struct hostmem *m)
{
	static const struct host_ops ops = {
		.pread = side_pread,
		.pwrite = side_pwrite,
		.sync = side_sync,
		.stat = side_stat,
		.seek = side_seek,
		.close = side_close,
	};
	struct hostfile *f;

	if (hostmem_open(&s->under, m, true) < 0 ||
	    hostfile_wrap(&f, &ops, s, "side", true) < 0)
		abort();
	return f;
}

bool crashes_undo_order(struct hostmem *broken)
{
	struct order order = { false, false };
	struct side image = { .order = &order };
	struct side log = { .order = &order, .is_log = true };
	struct hostmem *m = hostmem_clone(broken);
	struct hostmem *l = hostmem_new();
	struct hostfile *f = open_side(&image, m);
	struct hostfile *g = open_side(&log, l);
	struct repair_result res;
	struct err err = { "" };
	struct undo *u;

	if (undo_begin(&u, f, g, &err) < 0)
		abort();
	if (repair_image(undo_file(u), REPAIR_ALL, NULL, &res, &err) < 0 ||
	    undo_end(u, &err) < 0)
		order.wrong = true;
	hostfile_close(f);
	hostfile_close(g);
	hostmem_free(m);
	hostmem_free(l);
	return !order.wrong;
}
