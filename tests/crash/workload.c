#include "workload.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bitmapops.h"
#include "core/admin/resize.h"
#include "core/admin/snapshot.h"
#include "running.h"

/* --- operations ----------------------------------------------------------- */

static int flush(struct running *k, bool all)
{
	int rc;

	hostrecord_mark(k->rec, ENUMERATE_FLUSH_BEGIN, 0, 0);
	rc = all ? image_commit_all(k->img) : image_flush(k->img);
	hostrecord_mark(k->rec, ENUMERATE_FLUSH_ACK, 0, (uint64_t)(rc != 0));
	return rc;
}

static int close_image(struct running *k)
{
	int rc;

	hostrecord_mark(k->rec, ENUMERATE_FLUSH_BEGIN, 0, 0);
	rc = image_close(k->img);
	k->img = NULL;
	hostrecord_mark(k->rec, ENUMERATE_FLUSH_ACK, 0, (uint64_t)(rc != 0));
	return rc;
}

/* What the oracle O has to know when a snapshot operation begins; the id that
 * it is about, 0: the operation does nothing. */
static uint32_t snapshot_begins(struct oracle *o, const struct workload_op *op)
{
	struct oracle_snapshot *s;

	if (op->type == WORKLOAD_SNAP_CREATE)
		return oracle_snapshot_begin(o);
	s = oracle_snapshot_get(o, op->sec);
	if (!s)
		return 0;
	if (op->type == WORKLOAD_SNAP_APPLY)
		oracle_apply(o, s);
	else
		s->must = false;
	return s->id;
}

/* All that was written before is durable, and the disk has its new size. */
static void resize_done(struct oracle *o, uint64_t sectors)
{
	oracle_ack(o, 0, o->sectors);
	oracle_flush_begin(o);
	oracle_flush_ack(o);
	oracle_resized(o, sectors);
}

/* The operation has returned: it is durable. */
static void snapshot_done(struct oracle *o, enum workload_type type,
			  uint32_t id)
{
	uint64_t size = o->now;

	for (unsigned i = 0; i < ORACLE_SNAPSHOTS; i++) {
		if (o->snap[i].id != id)
			continue;
		if (type == WORKLOAD_SNAP_APPLY)
			size = o->snap[i].sectors;
		if (type == WORKLOAD_SNAP_CREATE)
			o->snap[i].must = true;
		if (type == WORKLOAD_SNAP_DELETE)
			oracle_snapshot_drop(&o->snap[i]);
	}
	oracle_ack(o, 0, o->sectors);
	oracle_flush_begin(o);
	oracle_flush_ack(o);
	if (size < o->now)
		oracle_resized(o, size);
	o->now = size;
}

static int snapshot_op(struct running *k, unsigned i)
{
	const struct workload_op *op = &k->w->op[i];
	struct err err = { "" };
	char name[16];
	uint32_t id;
	int rc;

	/* counts of one or two bits may be full; none with a data file */
	if (workload_config(k->w->config)->refcount_order < 2 || k->data)
		return 0;
	id = snapshot_begins(&k->model, op);
	if (!id)
		return 0;
	snprintf(name, sizeof(name), "%u", id);
	hostrecord_mark(k->rec, ENUMERATE_OP_BEGIN, i, id);
	if (op->type == WORKLOAD_SNAP_CREATE)
		rc = snapshot_create(k->img, "name", &err);
	else if (op->type == WORKLOAD_SNAP_APPLY)
		rc = snapshot_apply(k->img, name, &err);
	else
		rc = snapshot_delete(k->img, name, &err);
	if (rc)
		return running_say(k->r, "%s", err.text), rc;
	hostrecord_mark(k->rec, ENUMERATE_OP_ACK, i, id);
	snapshot_done(&k->model, op->type, id);
	return 0;
}

/* Where a snapshot does not record its size the disk cannot have another. */
static int resize_op(struct running *k, unsigned i)
{
	const struct workload_op *op = &k->w->op[i];
	struct err err = { "" };
	int rc;

	if (workload_config(k->w->config)->version < 3 &&
	    oracle_snapshot_get(&k->model, 0))
		return 0;
	hostrecord_mark(k->rec, ENUMERATE_OP_BEGIN, i, 0);
	rc = resize_image(k->img, op->sec * 512, true, &err);
	if (rc)
		return running_say(k->r, "%s", err.text), rc;
	hostrecord_mark(k->rec, ENUMERATE_OP_ACK, i, 0);
	resize_done(&k->model, op->sec);
	return 0;
}

/* The part of OP that lies inside the disk as O knows it. */
static struct workload_op inside(const struct workload_op *op,
				 const struct oracle *o)
{
	struct workload_op in = *op;

	if (in.sec >= o->now)
		in.n = 0;
	else if (in.n > o->now - in.sec)
		in.n = o->now - in.sec;
	return in;
}

static int bitmap_op(struct running *k, unsigned i)
{
	const struct bitmodel_op op = bitmapops_decode(&k->w->op[i]);
	struct bitmodel *b = k->model.bits;
	struct err err = { "" };
	int rc;

	if (!b || !bitmodel_applies(b, &op))
		return 0;
	hostrecord_mark(k->rec, ENUMERATE_BITMAP_BEGIN, i, 0);
	bitmodel_begin(b, &k->model, &op);
	rc = bitmapops_run(k->img, &op, &err);
	if (rc)
		return running_say(k->r, "%s", err.text), rc;
	hostrecord_mark(k->rec, ENUMERATE_BITMAP_ACK, i, 0);
	bitmodel_ack(b);
	return 0;
}

static int do_op(struct running *k, unsigned i)
{
	const struct workload_op whole = inside(&k->w->op[i], &k->model);
	const struct workload_op *op = &whole;
	int rc = 0;

	switch (op->type) {
	case WORKLOAD_FLUSH:
		return flush(k, false);
	case WORKLOAD_COMMIT_ALL:
		return flush(k, true);
	case WORKLOAD_REOPEN:
		rc = close_image(k);
		return rc ? rc : running_open(k, k->mem, true);
	case WORKLOAD_SNAP_CREATE:
	case WORKLOAD_SNAP_APPLY:
	case WORKLOAD_SNAP_DELETE:
		return snapshot_op(k, i);
	case WORKLOAD_RESIZE:
		return resize_op(k, i);
	case WORKLOAD_BITMAP_ADD:
	case WORKLOAD_BITMAP_REMOVE:
	case WORKLOAD_BITMAP_CLEAR:
	case WORKLOAD_BITMAP_ENABLE:
	case WORKLOAD_BITMAP_DISABLE:
	case WORKLOAD_BITMAP_MERGE:
		return bitmap_op(k, i);
	case WORKLOAD_WRITE:
	case WORKLOAD_ZERO:
	case WORKLOAD_DISCARD:
	case WORKLOAD_WRITE_FLUSH_1:
	case WORKLOAD_WRITE_FLUSH_2:
	case WORKLOAD_TYPES:
		break;
	}
	if (!op->n)
		return 0;
	hostrecord_mark(k->rec, ENUMERATE_OP_BEGIN, i, 0);
	if (op->type == WORKLOAD_ZERO || op->type == WORKLOAD_DISCARD) {
		rc = image_zero(k->img, op->sec * 512, op->n * 512,
				op->type == WORKLOAD_DISCARD);
		oracle_begin(&k->model, op->sec, op->n, ORACLE_ZERO);
	} else {
		rc = running_write(k, op, i + 1);
		oracle_begin(&k->model, op->sec, op->n, i + 1);
	}
	if (!rc)
		hostrecord_mark(k->rec, ENUMERATE_OP_ACK, i, 0);
	oracle_ack(&k->model, op->sec, op->n);
	oracle_flush_begin(&k->model);
	oracle_flush_ack(&k->model);
	return rc;
}

/* What the guest reads now is what was written last. */
static int read_all(struct running *k)
{
	uint8_t *buf = malloc(k->start->sectors * 512);
	int rc = 0;

	if (!buf)
		abort();
	if (image_size(k->img) != k->model.now * 512)
		return running_say(k->r, "the disk has a wrong size");
	rc = image_read(k->img, buf, k->model.now * 512, 0);
	if (rc)
		rc = running_say(k->r, "read: %s", strerror(-rc));
	for (uint64_t i = 0; i < k->model.now && !rc; i++)
		if (oracle_check(&k->model, i, buf + i * 512))
			rc = running_say(k->r, "live read of sector %" PRIu64
					 " is wrong", i);
	free(buf);
	return rc;
}

static int run_ops(struct running *k)
{
	bool faulty = k->w->fail_sync >= 0;
	int rc;

	rc = running_open(k, k->mem, true);
	for (unsigned i = 0; i < k->w->n && !rc; i++) {
		rc = do_op(k, i);
		if (rc && faulty) {
			rc = 0;
			if (!k->img)
				return 0;
		} else if (rc) {
			char why[200];

			snprintf(why, sizeof(why), "%.180s", k->r->text);
			rc = running_say(k->r, "operation %u: %s %s", i + 1,
					 strerror(-rc), why);
		}
	}
	if (!rc && !faulty)
		rc = read_all(k);
	if (!k->img)
		return rc;
	if (rc)
		image_abandon(k->img);
	else if (close_image(k) && !faulty)
		rc = running_say(k->r, "close failed");
	return rc;
}

/* --- enumeration ---------------------------------------------------------- */

static bool is_snapshot(enum workload_type type)
{
	return type >= WORKLOAD_SNAP_CREATE && type <= WORKLOAD_SNAP_DELETE;
}

static void on_mark(void *arg, const struct hostrecord_entry *e)
{
	struct running *k = arg;
	struct workload_op in = { 0 };
	const struct workload_op *op = &in;
	struct bitmodel_op bits;

	if (e->kind == ENUMERATE_OP_BEGIN || e->kind == ENUMERATE_OP_ACK)
		in = inside(&k->w->op[e->a], &k->oracle);
	switch (e->kind) {
	case ENUMERATE_BITMAP_BEGIN:
		bits = bitmapops_decode(&k->w->op[e->a]);
		bitmodel_begin(k->oracle.bits, &k->oracle, &bits);
		break;
	case ENUMERATE_BITMAP_ACK:
		bitmodel_ack(k->oracle.bits);
		break;
	case ENUMERATE_OP_BEGIN:
		if (op->type == WORKLOAD_RESIZE) {
			oracle_resizing(&k->oracle, op->sec);
			break;
		}
		if (is_snapshot(op->type)) {
			snapshot_begins(&k->oracle, op);
			break;
		}
		oracle_begin(&k->oracle, op->sec, op->n,
			     op->type == WORKLOAD_ZERO ||
					     op->type == WORKLOAD_DISCARD ?
				     ORACLE_ZERO : (uint32_t)e->a + 1);
		break;
	case ENUMERATE_OP_ACK:
		if (op->type == WORKLOAD_RESIZE) {
			resize_done(&k->oracle, op->sec);
			break;
		}
		if (is_snapshot(op->type)) {
			snapshot_done(&k->oracle, op->type, (uint32_t)e->b);
			break;
		}
		oracle_ack(&k->oracle, op->sec, op->n);
		break;
	case ENUMERATE_FLUSH_BEGIN:
		oracle_flush_begin(&k->oracle);
		break;
	case ENUMERATE_FLUSH_ACK:
		if (!e->b)
			oracle_flush_ack(&k->oracle);
		break;
	default:
		break;
	}
}

/* After a clean close nothing is leaked that was not before. */
static int check_end(struct running *k)
{
	struct checker c;
	char text[80];
	uint64_t size;
	uint8_t *buf;
	int rc;

	checker_init(&c);
	buf = running_flatten(k, k->mem, &size, &c);
	rc = checker_run_deep(&c, buf, size);
	if (rc)
		running_say(k->r, "after close: %s", c.text);
	else if (c.leaks > k->start->leaks)
		rc = running_say(k->r,
				 "after close: %" PRIu64 " clusters leaked",
				 c.leaks - k->start->leaks);
	else if (k->model.bits &&
		 bitmodel_check(k->model.bits, &c, true, text, sizeof(text)))
		rc = running_say(k->r, "after close: %s", text);
	checker_fini(&c);
	free(buf);
	return rc;
}

/* Give the data file a place behind all that the image ever had. */
static void join_files(struct running *k, struct enumerate *e,
		       struct hostrecord_entry *log)
{
	uint64_t end = e->len;

	for (uint64_t i = 0; i < e->n; i++) {
		uint64_t to = log[i].op == HOSTRECORD_TRUNCATE ?
				      log[i].len : log[i].off + log[i].len;

		if (!log[i].file && log[i].op <= HOSTRECORD_TRUNCATE && to > end)
			end = to;
	}
	k->base = running_data_base(k, end);
	e->data = k->start->data;
	e->data_base = k->base;
	e->data_len = k->start->sectors * 512;
	for (uint64_t i = 0; i < e->n; i++) {
		if (log[i].file && log[i].op == HOSTRECORD_TRUNCATE)
			log[i].len += k->base;
		else if (log[i].file)
			log[i].off += k->base;
	}
}

static int enumerate_log(struct running *k)
{
	const struct imgmake *m = workload_config(k->w->config);
	uint64_t n = hostrecord_len(k->rec);
	struct hostrecord_entry *log = calloc(n + 1, sizeof(*log));
	struct enumerate e = {
		.log = log,
		.n = n,
		.image = k->start->img,
		.len = k->start->len,
		.leaks = k->start->leaks,
		.oracle = &k->oracle,
		.backing_name = m->backing_sectors ? IMGMAKE_BACKING_NAME :
						     NULL,
		.mark = on_mark,
		.arg = k,
		.seed = k->w->seed,
		.stale_autoclear = m->version == 3 ? m->autoclear : 0,
		.stats = &k->r->stats,
		.seen = &k->r->seen,
		.sample = wholestate_sample,
		.sample_every = k->r->sample_every,
		.product_max = k->r->product_max,
		.dump = k->r->dump,
	};
	int rc;

	if (!log)
		abort();
	for (uint64_t i = 0; i < n; i++)
		hostrecord_get(k->rec, i, &log[i]);
	if (k->data)
		join_files(k, &e, log);
	rc = enumerate_run(&e);
	if (rc) {
		k->r->fault = e.fault;
		running_say(k->r, "%s", e.text);
	}
	free(log);
	return rc;
}

int workload_check(struct workload_run *r, const struct workload *w)
{
	struct hostfault_rule rule = { .ops = HOSTFAULT_SYNC,
				       .kind = HOSTFAULT_ERROR,
				       .error = -EIO,
				       .repeat = 1 };
	char text[sizeof(r->text)] = "";
	struct running k;
	int live, rc;

	running_begin(&k, r, w);
	if (w->fail_sync >= 0) {
		rule.skip = (uint64_t)w->fail_sync;
		hostfault_set(k.fault, &rule);
	}
	live = run_ops(&k);
	if (!live && w->fail_sync < 0)
		live = check_end(&k);
	r->fault = ENUMERATE_FAULTS;
	snprintf(text, sizeof(text), "%s", r->text);
	/* what the log shows says more than what the live run saw */
	rc = enumerate_log(&k);
	if (!rc && live) {
		r->stats.bad[ENUMERATE_CORRUPT]++;
		r->fault = ENUMERATE_CORRUPT;
		memcpy(r->text, text, sizeof(text));
	}
	running_end(&k);
	return rc || live ? -1 : 0;
}
