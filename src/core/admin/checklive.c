#include "core/admin/checklive.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "core/admin/checkwalk.h"
#include "core/image/open.h"

#define TRIES 2		 /* before the image is had alone */
#define FOUND_MAX 100000 /* problems kept until they are settled */

struct live_problem {
	enum problem_code code;
	uint64_t hoff;
	char *text;
};

struct live {
	struct image *img;
	struct refwatch watch;
	struct live_problem *found;
	size_t n, cap;
	bool lost;   /* there was no room for all that was found */
	bool closed; /* the gate, by us */
};

static bool is_moving(const struct live *l, const struct live_problem *f)
{
	return refwatch_has(&l->watch,
			    f->hoff >> l->img->meta.geom->cluster_bits);
}

/* Make room: what is of no account already goes. Not for a few, or the next
 * ones would ask for it again and again. */
static bool drop_moving(struct live *l)
{
	struct meta *m = &l->img->meta;
	size_t to = 0;

	lock_take(&m->lock);
	refwatch_sort(&l->watch);
	for (size_t i = 0; i < l->n; i++) {
		if (is_moving(l, &l->found[i]))
			free(l->found[i].text);
		else
			l->found[to++] = l->found[i];
	}
	lock_drop(&m->lock);
	l->n = to;
	return l->n <= FOUND_MAX / 2;
}

static void on_problem(void *arg, const struct problem *p)
{
	struct live *l = arg;

	if (l->lost)
		return;
	if ((l->n >= FOUND_MAX && !drop_moving(l)) ||
	    mem_grow(&l->found, &l->cap, l->n + 1, sizeof(*l->found)) < 0) {
		l->lost = true;
		return;
	}
	l->found[l->n++] = (struct live_problem){ .code = p->code,
						  .hoff = p->hoff,
						  .text = strdup(p->text) };
}

static void drop_found(struct live *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->found[i].text);
	l->n = 0;
}

static void let_go(void *arg)
{
	struct live *l = arg;

	if (l->closed)
		gate_open(l->img);
	l->closed = false;
}

/* Have the image alone, with all of it on disk and nothing to be freed. */
static int stop(struct live *l, struct err *err)
{
	int r;

	gate_close(l->img);
	l->closed = true;
	r = writeback_all(&l->img->meta);
	if (r == 0)
		return 0;
	let_go(l);
	return err_set_sys(err, r, "cannot commit");
}

static void watch(struct live *l, bool on)
{
	struct meta *m = &l->img->meta;

	lock_take(&m->lock);
	if (on)
		refwatch_begin(&m->refcount.watch, &l->watch);
	else
		refwatch_end(&m->refcount.watch, &l->watch);
	lock_drop(&m->lock);
}

static bool is_table(enum checkrole role)
{
	return role != CHECKROLE_NONE && role != CHECKROLE_DATA &&
	       role != CHECKROLE_COMPRESSED && role != CHECKROLE_BITMAP_DATA &&
	       role != CHECKROLE_REFBLOCK && role != CHECKROLE_OUTSIDE;
}

/* Was a table read that went away meanwhile? */
static bool tables_moved(const struct live *l, const struct checkwalk *w)
{
	for (size_t i = 0; i < l->watch.n; i++)
		for (uint64_t k = 0; k < l->watch.r[i].n; k++)
			if (is_table(checkmap_role(&w->map,
						   l->watch.r[i].hidx + k)))
				return true;
	return l->watch.lost;
}

/* Count and report what was found about clusters at rest. */
static void settle(struct live *l, const struct check_opts *opts,
		   struct checklive_result *out)
{
	struct check_result *res = &out->res;

	res->corruptions = res->leaks = res->check_errors = res->harmless = 0;
	for (size_t i = 0; i < l->n; i++) {
		const struct live_problem *f = &l->found[i];
		const struct problem p = { .code = f->code,
					   .cls = problem_class_of(f->code),
					   .hoff = f->hoff,
					   .text = f->text ? f->text : "" };

		if (is_moving(l, f))
			continue;
		res->corruptions += p.cls == PROBLEM_CORRUPTION;
		res->leaks += p.cls == PROBLEM_LEAK;
		res->check_errors += p.cls == PROBLEM_CHECK_ERROR;
		res->harmless += problem_harmless(p.code);
		if (opts->report)
			opts->report(opts->report_arg, &p);
	}
	out->moving = 0;
	for (size_t i = 0; i < l->watch.n; i++)
		out->moving += l->watch.r[i].n;
}

/* The walk, and the stop at its end. 0; -EAGAIN: it is not to be trusted. */
static int attempt(struct live *l, struct checkwalk *w)
{
	int r = stop(l, w->err);

	if (r < 0)
		return r;
	watch(l, true);
	r = check_run(w);
	if (!l->closed && stop(l, w->err) < 0)
		r = -EIO;
	watch(l, false);
	let_go(l);
	refwatch_sort(&l->watch);
	return r == 0 && (l->lost || tables_moved(l, w)) ? -EAGAIN : r;
}

/* Requests go on. */
static int beside(struct live *l, const struct check_opts *opts,
		  struct checklive_result *out, struct err *err)
{
	const struct check_opts own = {
		.report = on_problem,
		.report_arg = l,
		.progress = opts->progress,
		.progress_arg = opts->progress_arg,
		.roots_read = let_go,
		.roots_arg = l,
	};
	struct checkwalk w = { .file = l->img->file, .opts = &own,
			       .res = &out->res, .err = err };
	int r = attempt(l, &w);

	if (r == 0)
		settle(l, opts, out);
	checkwalk_fini(&w);
	drop_found(l);
	refwatch_fini(&l->watch);
	return r;
}

/* Nothing moves, so all that is found counts, however much it is. */
static int alone(struct live *l, const struct check_opts *opts,
		 struct checklive_result *out, struct err *err)
{
	int r = stop(l, err);

	if (r < 0)
		return r;
	out->alone = true;
	r = check_image(l->img->file, opts, &out->res, err);
	let_go(l);
	return r;
}

int checklive_run(struct image *img, const struct check_opts *opts,
		  struct checklive_result *out, struct err *err)
{
	struct live l = { .img = img };
	int r = -EAGAIN;

	*out = (struct checklive_result){ 0 };
	if (image_readonly(img))
		return check_image(img->file, opts, &out->res, err);
	for (unsigned i = 0; r == -EAGAIN && i < TRIES && !l.lost; i++)
		r = beside(&l, opts, out, err);
	if (r == -EAGAIN)
		r = alone(&l, opts, out, err);
	free(l.found);
	return r;
}
