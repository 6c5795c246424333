#include "workload.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/admin/resize.h"
#include "core/admin/snapshot.h"
#include "core/image/image.h"
#include "core/image/secret.h"
#include "bitmapops.h"
#include "hookfile.h"
#include "lib/hostfault.h"
#include "lib/hostmem.h"
#include "lib/hostrecord.h"

#define MAX_CONFIGS 32

/* Built once for each configuration. */
static struct imgmake_out start_image[MAX_CONFIGS];

struct running {
	struct workload_run *r;
	const struct workload *w;
	struct imgmake_out *start;
	struct oracle oracle; /* of the enumeration */
	struct oracle model;  /* of the live run */
	struct hostmem *mem;
	struct hostmem *data; /* the external data file, or NULL */
	uint64_t base; /* where it stands in what is enumerated */
	bool recording;
	struct hostrecord *rec;
	struct hostfault *fault;
	struct hookfile hook;
	struct image *img;
	/* flush inside a write */
	int armed; /* host writes until the flush; -1: none */
	pthread_t flusher, writer;
	bool flushing;
	int flush_rc;
};

static int say(struct workload_run *r, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static int say(struct workload_run *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->text, sizeof(r->text), fmt, ap);
	va_end(ap);
	return -1;
}

/* A pipe brings the passphrase in, as a mount's key_fd does. */
static int take_key(struct workload_run *r)
{
	int fd[2];

	if (pipe(fd))
		return say(r, "cannot make a pipe");
	if (write(fd[1], GUESTCRYPT_PASS, strlen(GUESTCRYPT_PASS)) < 0)
		return say(r, "cannot write to a pipe");
	close(fd[1]);
	return secret_from_fd(&r->key, fd[0], NULL) < 0 ?
		       say(r, "no passphrase") : 0;
}

/* The file NAME of the scratch folder, with so many sectors. */
static int make_backing(struct workload_run *r, const char *base,
			uint64_t sectors)
{
	struct oracle o;
	char name[96];
	uint8_t sec[512];
	FILE *f;

	snprintf(name, sizeof(name), "%s/%s", r->dir, base);
	f = fopen(name, "wb");
	if (!f)
		return say(r, "cannot make %s", name);
	oracle_init(&o, 0, 0, sectors, NULL);
	for (uint64_t i = 0; i < sectors; i++) {
		oracle_fill(&o, i, ORACLE_BACKING, sec);
		fwrite(sec, 512, 1, f);
	}
	oracle_fini(&o);
	fclose(f);
	return 0;
}

int workload_start(struct workload_run *r)
{
	snprintf(r->dir, sizeof(r->dir), "/tmp/rawcow-crash-XXXXXX");
	if (!mkdtemp(r->dir))
		return say(r, "cannot make %s", r->dir);
	if (make_backing(r, IMGMAKE_BACKING_NAME, 200) ||
	    make_backing(r, "short.raw", 100) ||
	    make_backing(r, IMGMAKE_DATA_NAME, 0))
		return -1;
	return take_key(r);
}

void workload_end(struct workload_run *r)
{
	static const char *const files[] = { IMGMAKE_BACKING_NAME, "short.raw",
					     IMGMAKE_DATA_NAME,
					     "state.qcow2", "out" };
	char name[96];

	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		snprintf(name, sizeof(name), "%s/%s", r->dir, files[i]);
		unlink(name);
	}
	rmdir(r->dir);
	secret_free(r->key);
	r->key = NULL;
	enumerate_set_fini(&r->seen);
	for (unsigned i = 0; i < MAX_CONFIGS; i++)
		imgmake_free(&start_image[i]);
}

static struct imgmake_out *get_start(unsigned config)
{
	if (!start_image[config].img)
		imgmake_build(workload_config(config), &start_image[config]);
	return &start_image[config];
}

/* --- the library under test ------------------------------------------------- */

/* A hostfile on MEM, recorded as number FILE. */
static int open_layers(struct running *k, struct hostfile **out,
		       struct hostmem *mem, unsigned file)
{
	struct hostfile *f = NULL, *g = NULL;
	int rc = hostmem_open(out, mem, true);

	if (rc || !k->recording)
		return rc;
	f = *out;
	rc = hostfault_wrap(k->fault, &g, f);
	if (!rc)
		rc = hostrecord_wrap_as(k->rec, &f, g, file);
	if (!rc)
		rc = hookfile_wrap(&k->hook, &g, f);
	*out = g;
	return rc;
}

/* In the place of the data file, which is an empty one: the one in memory. */
static int wrap_data(void *arg, struct hostfile **file)
{
	struct running *k = arg;

	if (!strstr((*file)->name, IMGMAKE_DATA_NAME))
		return 0;
	hostfile_close(*file);
	if (open_layers(k, file, k->data, 1))
		abort();
	return 0;
}

static int open_stack(struct running *k, struct hostmem *mem, bool record)
{
	const struct imgmake *m = workload_config(k->w->config);
	struct image_opts opts = { .no_lock = true,
				   .backing = IMAGE_BACKING_ANY };
	char name[96], data[96];
	struct hostfile *f = NULL;
	struct err err = { "" };
	int rc;

	opts.key = m->crypt ? k->r->key : NULL;
	opts.compress = m->compress ? IMAGE_COMPRESS_ON : IMAGE_COMPRESS_OFF;
	snprintf(name, sizeof(name), "%s/%s", k->r->dir,
		 m->backing_sectors == 100 ? "short.raw" : IMGMAKE_BACKING_NAME);
	if (m->backing_sectors) {
		opts.backing_file = name;
		opts.backing_format = "raw";
	}
	snprintf(data, sizeof(data), "%s/" IMGMAKE_DATA_NAME, k->r->dir);
	if (m->data_file) {
		opts.data_file = data;
		opts.wrap = wrap_data;
		opts.wrap_arg = k;
	}
	k->recording = record;
	rc = open_layers(k, &f, mem, 0);
	if (!rc)
		rc = image_open_file(&k->img, f, &opts, &err);
	if (rc) {
		k->img = NULL;
		hostfile_close(f);
		return say(k->r, "open: %s (%s)", err.text, strerror(-rc));
	}
	if (image_readonly(k->img))
		return say(k->r, "opened read-only: %s",
			   image_readonly_reason(k->img));
	return 0;
}

static void *flush_thread(void *arg)
{
	struct running *k = arg;

	hostrecord_mark(k->rec, ENUMERATE_FLUSH_BEGIN, 0, 0);
	k->flush_rc = image_flush(k->img);
	hostrecord_mark(k->rec, ENUMERATE_FLUSH_ACK, 0,
			(uint64_t)(k->flush_rc != 0));
	return NULL;
}

/* Let another thread commit before the write under way reaches the host. */
static void hook_write(void *arg, size_t len, uint64_t off)
{
	struct running *k = arg;
	struct timespec end;

	(void)len;
	(void)off;
	/* only the writer's own thread may look at `armed` */
	if (!pthread_equal(pthread_self(), k->writer) || k->armed < 0 ||
	    k->armed-- > 0)
		return;
	if (pthread_create(&k->flusher, NULL, flush_thread, k))
		abort();
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_nsec += 20000000;
	end.tv_sec += end.tv_nsec / 1000000000;
	end.tv_nsec %= 1000000000;
	/* a commit may wait for the write: then it goes on without it */
	k->flushing = pthread_timedjoin_np(k->flusher, NULL, &end) != 0;
}

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

static int write_op(struct running *k, const struct workload_op *op,
		    uint32_t gen)
{
	uint8_t *buf = malloc(op->n * 512 + 1);
	int rc;

	if (!buf)
		abort();
	for (uint64_t i = 0; i < op->n; i++)
		oracle_fill(&k->oracle, op->sec + i, gen, buf + i * 512);
	if (op->type != WORKLOAD_WRITE) {
		k->writer = pthread_self();
		k->armed = op->type == WORKLOAD_WRITE_FLUSH_2;
	}
	rc = image_write(k->img, buf, op->n * 512, op->sec * 512);
	k->armed = -1;
	if (k->flushing)
		pthread_join(k->flusher, NULL);
	k->flushing = false;
	free(buf);
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
		return say(k->r, "%s", err.text), rc;
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
		return say(k->r, "%s", err.text), rc;
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
		return say(k->r, "%s", err.text), rc;
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
		return rc ? rc : open_stack(k, k->mem, true);
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
		rc = write_op(k, op, i + 1);
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
		return say(k->r, "the disk has a wrong size");
	rc = image_read(k->img, buf, k->model.now * 512, 0);
	if (rc)
		rc = say(k->r, "read: %s", strerror(-rc));
	for (uint64_t i = 0; i < k->model.now && !rc; i++)
		if (oracle_check(&k->model, i, buf + i * 512))
			rc = say(k->r, "live read of sector %" PRIu64
				       " is wrong", i);
	free(buf);
	return rc;
}

static int run_ops(struct running *k)
{
	bool faulty = k->w->fail_sync >= 0;
	int rc;

	rc = open_stack(k, k->mem, true);
	for (unsigned i = 0; i < k->w->n && !rc; i++) {
		rc = do_op(k, i);
		if (rc && faulty) {
			rc = 0;
			if (!k->img)
				return 0;
		} else if (rc) {
			char why[200];

			snprintf(why, sizeof(why), "%.180s", k->r->text);
			rc = say(k->r, "operation %u: %s %s", i + 1,
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
		rc = say(k->r, "close failed");
	return rc;
}

/* --- two files as one ------------------------------------------------------- */

/* Where the data file stands behind an image of LEN bytes; 0: there is none. */
static uint64_t data_base(const struct running *k, uint64_t len)
{
	return k->data ? (len + (512 << 10)) >> 16 << 16 : 0;
}

/* What MEM and k->data hold, as the checker wants it. *LEN: of the image. */
static uint8_t *flatten(const struct running *k, struct hostmem *mem,
			uint64_t *len, struct checker *c)
{
	uint64_t data = k->data ? k->start->sectors * 512 : 0;
	uint8_t *buf;

	*len = hostmem_size(mem);
	c->data_base = data_base(k, *len);
	buf = calloc(1, c->data_base ? c->data_base + data : *len);
	if (!buf)
		abort();
	hostmem_read(mem, buf, *len, 0);
	if (data)
		hostmem_read(k->data, buf + c->data_base, data, 0);
	return buf;
}

/* --- states as a whole ------------------------------------------------------ */

static bool benign_line(const char *line)
{
	return strncmp(line, "ERROR", 5) != 0 || strstr(line, "OFLAG_COPIED");
}

static int qemu_check(struct running *k, const uint8_t *img, uint64_t len,
		      char *text, size_t n)
{
	const char *how = workload_config(k->w->config)->crypt ?
				  "--object secret,id=key,data=" GUESTCRYPT_PASS
				  " --image-opts driver=qcow2,"
				  "file.filename=state.qcow2,"
				  "encrypt.key-secret=key" :
				  "-f qcow2 state.qcow2";
	char name[96], cmd[300], line[200];
	bool ok = true;
	FILE *f;
	int rc;

	snprintf(name, sizeof(name), "%s/state.qcow2", k->r->dir);
	f = fopen(name, "wb");
	if (!f || fwrite(img, 1, len, f) != len || fclose(f))
		abort();
	/* QEMU looks for a data file in the working folder */
	snprintf(cmd, sizeof(cmd),
		 "cd %s && qemu-img check %s >out 2>&1", k->r->dir, how);
	rc = system(cmd);
	rc = WIFEXITED(rc) ? WEXITSTATUS(rc) : 255;
	k->r->qemu_done++;
	if (rc == 0 || rc == 3)
		return 0;
	snprintf(name, sizeof(name), "%s/out", k->r->dir);
	f = fopen(name, "r");
	snprintf(text, n, "qemu-img check: exit %d", rc);
	while (f && fgets(line, sizeof(line), f)) {
		if (benign_line(line))
			continue;
		ok = false;
		snprintf(text, n, "qemu-img check: exit %d: %.100s", rc, line);
	}
	if (f)
		fclose(f);
	return rc == 2 && ok ? 0 : -1;
}

/* After the new operations: old data where they did not go, theirs else. */
static int verify_content(struct running *k, struct checker *c,
			  const uint8_t *img, uint64_t len,
			  const uint32_t *gen)
{
	uint8_t have[512], want[512];

	for (uint64_t s = 0; s < c->h.size / 512; s++) {
		bool here = checker_read(c, img, len, 0, s, have);

		if (!gen[s]) {
			if (oracle_check(&k->oracle, s, here ? have : NULL))
				return -1;
			continue;
		}
		oracle_fill(&k->oracle, s, gen[s], want);
		if (!here)
			oracle_fill(&k->oracle, s, ORACLE_BACKING, have);
		if (memcmp(have, want, 512))
			return -1;
	}
	return 0;
}

static uint64_t next(uint64_t *s)
{
	uint64_t z = *s += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	return z ^ z >> 29;
}

/* The first of them, if there is one. */
static int drop_snapshot(struct image *img)
{
	struct err err = { "" };
	int rc = snapshot_delete(img, "1", &err);

	return rc == -ENOENT || rc == -ENOTSUP ? 0 : rc;
}

static int work_on(struct running *k, uint64_t *s, uint32_t *gen)
{
	const struct imgmake *m = workload_config(k->w->config);
	uint64_t spc = 1ULL << (m->cluster_bits - 9);
	int rc = 0;

	for (unsigned i = 0; i < 10 && !rc; i++) {
		struct workload_op op = { .type = WORKLOAD_WRITE };
		uint32_t g = 1000000 + i;

		op.sec = next(s) % 16 * spc + next(s) % spc;
		op.n = 1 + next(s) % (2 * spc);
		op.sec %= image_size(k->img) / 512;
		if (op.n > image_size(k->img) / 512 - op.sec)
			op.n = image_size(k->img) / 512 - op.sec;
		if (next(s) % 4) {
			rc = write_op(k, &op, g);
		} else {
			g = ORACLE_ZERO;
			rc = image_zero(k->img, op.sec * 512, op.n * 512,
					next(s) % 2);
		}
		if (!rc && next(s) % 16 == 0)
			rc = drop_snapshot(k->img);
		for (uint64_t j = 0; j < op.n; j++)
			gen[op.sec + j] = g;
		if (!rc && next(s) % 3 == 0)
			rc = image_flush(k->img);
	}
	return rc;
}

/* Open the state as the next mount would, write, and check what comes of it:
 * finds wrong COPIED flags and leaks that are not free. */
static int compound(struct running *k, const uint8_t *img, uint64_t len,
		    char *text, size_t n)
{
	struct running k2 = { .r = k->r, .w = k->w, .start = k->start,
			      .oracle = k->oracle, .armed = -1 };
	uint32_t *gen = calloc(k->start->sectors, sizeof(*gen));
	uint64_t seed = k->w->seed + len, size;
	struct checker c;
	uint8_t *buf = NULL;
	int rc;

	k->r->compounds++;
	k2.mem = hostmem_new();
	if (!gen || !k2.mem || hostmem_write(k2.mem, img, len, 0) ||
	    hostmem_resize(k2.mem, len))
		abort();
	if (k->data) {
		k2.data = hostmem_new();
		if (!k2.data ||
		    hostmem_write(k2.data, img + k->base,
				  k->start->sectors * 512, 0))
			abort();
	}
	checker_init(&c);
	rc = open_stack(&k2, k2.mem, false);
	if (!rc)
		rc = work_on(&k2, &seed, gen);
	if (k2.img)
		rc |= image_close(k2.img);
	snprintf(text, n, "remount: %s", k->r->text);
	if (!rc) {
		buf = flatten(&k2, k2.mem, &size, &c);
		rc = checker_run_deep(&c, buf, size);
		snprintf(text, n, "after a remount: %s", c.text);
		if (!rc && (rc = verify_content(k, &c, buf, size, gen)))
			snprintf(text, n, "after a remount: wrong data");
	}
	checker_fini(&c);
	free(buf);
	free(gen);
	hostmem_free(k2.mem);
	hostmem_free(k2.data);
	return rc ? -1 : 0;
}

static int sample(void *arg, const uint8_t *img, uint64_t len, char *text,
		  size_t n)
{
	struct running *k = arg;

	if (k->r->qemu_left && k->r->stats.sampled % k->r->qemu_every == 0) {
		k->r->qemu_left--;
		if (qemu_check(k, img, len, text, n))
			return -1;
	}
	return compound(k, img, len, text, n);
}

/* --- enumeration ------------------------------------------------------------ */

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
	buf = flatten(k, k->mem, &size, &c);
	rc = checker_run_deep(&c, buf, size);
	if (rc)
		say(k->r, "after close: %s", c.text);
	else if (c.leaks > k->start->leaks)
		rc = say(k->r, "after close: %" PRIu64 " clusters leaked",
			 c.leaks - k->start->leaks);
	else if (k->model.bits &&
		 bitmodel_check(k->model.bits, &c, true, text, sizeof(text)))
		rc = say(k->r, "after close: %s", text);
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
	k->base = data_base(k, end);
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
		.sample = sample,
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
		say(k->r, "%s", e.text);
	}
	free(log);
	return rc;
}

static void begin_run(struct running *k, struct workload_run *r,
		      const struct workload *w)
{
	const struct imgmake *m = workload_config(w->config);

	memset(k, 0, sizeof(*k));
	k->r = r;
	k->w = w;
	k->armed = -1;
	k->start = get_start(w->config);
	oracle_init(&k->oracle, 1 + r->runs, k->start->sectors,
		    m->backing_sectors, k->start->init);
	oracle_init(&k->model, 1 + r->runs, k->start->sectors,
		    m->backing_sectors, k->start->init);
	k->oracle.bits = bitmapops_model(w->config, k->start->sectors,
					 k->start->init);
	k->model.bits = bitmapops_model(w->config, k->start->sectors,
					k->start->init);
	if (m->snapshot) {
		oracle_preset(&k->oracle);
		oracle_preset(&k->model);
	}
	k->mem = hostmem_new();
	k->rec = hostrecord_new();
	k->fault = hostfault_new();
	if (!k->mem || !k->rec || !k->fault ||
	    hostmem_write(k->mem, k->start->img, k->start->len, 0))
		abort();
	if (m->data_file) {
		k->data = hostmem_new();
		if (!k->data ||
		    hostmem_write(k->data, k->start->data,
				  k->start->sectors * 512, 0))
			abort();
	}
	k->hook.before_pwrite = hook_write;
	k->hook.arg = k;
	r->runs++;
	r->text[0] = '\0';
}

static void free_model(struct bitmodel *b)
{
	if (b)
		bitmodel_fini(b);
	free(b);
}

static void end_run(struct running *k)
{
	free_model(k->oracle.bits);
	free_model(k->model.bits);
	oracle_fini(&k->oracle);
	oracle_fini(&k->model);
	hostrecord_free(k->rec);
	hostfault_free(k->fault);
	hostmem_free(k->mem);
	hostmem_free(k->data);
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

	begin_run(&k, r, w);
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
	end_run(&k);
	return rc || live ? -1 : 0;
}

/* --- a reader held inside its request ---------------------------------------- */

struct reader {
	struct running *k;
	pthread_t thread;
	pthread_mutex_t m;
	pthread_cond_t c;
	uint64_t hoff, sec;
	bool armed, inside, go;
	uint8_t data[512];
	int rc;
};

static void hold(void *arg, size_t len, uint64_t off)
{
	struct reader *rd = arg;
	struct timespec end;
	int rc = 0;

	(void)len;
	pthread_mutex_lock(&rd->m);
	if (rd->armed && pthread_equal(pthread_self(), rd->thread) &&
	    off <= rd->hoff && rd->hoff < off + len) {
		rd->armed = false;
		rd->inside = true;
		pthread_cond_broadcast(&rd->c);
		clock_gettime(CLOCK_REALTIME, &end);
		end.tv_sec += 1;
		/* whoever waits for this reader may wait: then it goes on */
		while (!rd->go && rc != ETIMEDOUT)
			rc = pthread_cond_timedwait(&rd->c, &rd->m, &end);
	}
	pthread_mutex_unlock(&rd->m);
}

static void *reader_thread(void *arg)
{
	struct reader *rd = arg;

	pthread_mutex_lock(&rd->m);
	rd->thread = pthread_self();
	rd->armed = true;
	pthread_mutex_unlock(&rd->m);
	rd->rc = image_read(rd->k->img, rd->data, 512, rd->sec * 512);
	pthread_mutex_lock(&rd->m);
	rd->inside = true;
	pthread_cond_broadcast(&rd->c);
	pthread_mutex_unlock(&rd->m);
	return NULL;
}

/* Free the cluster and write until it is used again. */
static int churn(struct running *k, const struct reader *rd, uint64_t spc)
{
	struct workload_op op = { .type = WORKLOAD_WRITE, .n = spc };
	int rc = image_zero(k->img, rd->sec * 512, spc * 512, true);

	if (!rc)
		rc = image_flush(k->img);
	if (!rc)
		rc = image_commit_all(k->img);
	for (uint64_t c = 16; c < k->start->sectors / spc && !rc; c++) {
		op.sec = c * spc;
		rc = write_op(k, &op, (uint32_t)c);
		if (!rc && c % 8 == 0)
			rc = image_flush(k->img);
	}
	return rc ? rc : image_flush(k->img);
}

int workload_held_reader(struct workload_run *r, unsigned config)
{
	uint64_t spc = 1ULL << (workload_config(config)->cluster_bits - 9);
	struct workload w = { .config = config, .fail_sync = -1 };
	struct reader rd = { .sec = 0 };
	struct image_extent x;
	enum oracle_verdict v;
	struct running k;
	pthread_t t;
	int rc;

	begin_run(&k, r, &w);
	rd.k = &k;
	pthread_mutex_init(&rd.m, NULL);
	pthread_cond_init(&rd.c, NULL);
	k.hook.before_pread = hold;
	k.hook.before_pwrite = NULL;
	k.hook.arg = &rd;
	rc = open_stack(&k, k.mem, true);
	if (rc || image_map(k.img, 0, 512, &x) || !x.has_hoff)
		abort();
	rd.hoff = x.hoff;
	pthread_create(&t, NULL, reader_thread, &rd);
	pthread_mutex_lock(&rd.m);
	while (!rd.inside)
		pthread_cond_wait(&rd.c, &rd.m);
	pthread_mutex_unlock(&rd.m);
	rc = churn(&k, &rd, spc);
	pthread_mutex_lock(&rd.m);
	rd.go = true;
	pthread_cond_broadcast(&rd.c);
	pthread_mutex_unlock(&rd.m);
	pthread_join(t, NULL);
	oracle_begin(&k.oracle, rd.sec, 1, ORACLE_ZERO);
	v = oracle_check(&k.oracle, rd.sec, rd.data);
	if (rc || rd.rc)
		rc = say(r, "held reader: %s", strerror(-(rc ? rc : rd.rc)));
	else if (v)
		rc = say(r, "held reader got data of another place");
	r->fault = v == ORACLE_OK ? ENUMERATE_CORRUPT : ENUMERATE_FOREIGN;
	image_close(k.img);
	pthread_mutex_destroy(&rd.m);
	pthread_cond_destroy(&rd.c);
	end_run(&k);
	return rc ? -1 : 0;
}
