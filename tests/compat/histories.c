/*
 * histories: images that rawcow and QEMU change in turn.
 *
 * Each history is an image of a random kind (version, cluster size, refcount
 * width, extended L2 entries, compression, backing file, data file,
 * encryption, bitmap), made by one of the two programs, and some steps: writes,
 * zeroes, discards, compressed writes, snapshots made, applied and deleted,
 * other sizes. After each step both checks must find neither errors nor leaks,
 * rawcow must read what plain memory has, and a bitmap must mark what was
 * written; after rawcow's steps and at the end QEMU must read the same; at the
 * end the snapshots are compared as well.
 *
 * usage: histories [--first I] [--count N] [--steps N] [--verbose]
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/num.h"
#include "core/admin/resize.h"
#include "core/admin/snapshot.h"
#include "tests/compat/combo.h"
#include "tests/compat/history.h"

#define OPS 3 /* of one step at most */
#define WORKERS 2 /* or one is left at work when all other tests have ended */

enum op { OP_WRITE, OP_ZERO, OP_UNMAP, OP_COMPRESSED };

struct io {
	enum op op;
	uint64_t off, len;
	int byte; /* QEMU writes one byte's value */
};

static uint64_t cluster(const struct history *h)
{
	return UINT64_C(1) << h->kind.cluster_bits;
}

static void draw_range(struct history *h, struct io *io, uint64_t align)
{
	uint64_t cs = cluster(h);
	uint64_t max = NUM_MIN(h->size, 3 * cs + 8192);

	io->off = history_random(h, h->size);
	io->len = 1 + history_random(h, max);
	switch (history_random(h, 4)) {
	case 0: /* whole clusters */
		io->off = num_round_down(io->off, cs);
		io->len = num_round_up(io->len, cs);
		break;
	case 1: /* across a border, or within a subcluster */
		io->off = num_round_down(io->off, cs);
		io->off -= NUM_MIN(io->off, io->len % 4096);
		io->len = 1 + io->len % 6000;
		break;
	case 2: /* up to the end */
		io->len = NUM_MIN(io->len, h->size);
		io->off = h->size - io->len;
		break;
	default:
		break;
	}
	io->off = num_round_down(io->off, align);
	io->len = NUM_MIN(num_round_up(io->len, align), h->size - io->off);
}

static bool may_compress(const struct history *h)
{
	return !h->kind.data_file && !h->kind.crypt &&
	       h->kind.refcount_bits >= 16 &&
	       (h->kind.version > 2 || !h->kind.backing);
}

static void draw_io(struct history *h, struct io *io, bool qemu)
{
	uint64_t cs = cluster(h);

	draw_range(h, io, qemu ? 512 : 1);
	io->byte = (int)(1 + history_random(h, 255));
	switch (history_random(h, 10)) {
	case 0:
	case 1:
		io->op = OP_ZERO;
		break;
	case 2:
	case 3:
		io->op = OP_UNMAP;
		break;
	case 4:
		io->op = OP_COMPRESSED;
		io->off = num_round_down(io->off, cs);
		io->len = NUM_MIN(num_round_up(io->len, cs),
				  num_round_down(h->size - io->off, cs));
		if (qemu && may_compress(h) && io->len)
			break;
		draw_range(h, io, qemu ? 512 : 1);
		io->op = OP_WRITE;
		break;
	default:
		io->op = OP_WRITE;
	}
}

static void note(struct history *h, const struct io *io, const void *data)
{
	if (h->verbose)
		fprintf(stderr, "    op %d [%#" PRIx64 ", +%#" PRIx64 "]\n",
			io->op, io->off, io->len);
	if (data)
		memcpy(h->disk + io->off, data, io->len);
	else if (io->op == OP_ZERO || io->op == OP_UNMAP)
		memset(h->disk + io->off, 0, io->len);
	else
		memset(h->disk + io->off, io->byte, io->len);
	history_touched(h, io->off, io->len);
}

static void qemu_command(const struct io *io, char *cmd, size_t size)
{
	static const char *const words[] = {"-P", "-z", "-z -u", "-c -P"};
	char byte[8] = "";

	if (io->op == OP_WRITE || io->op == OP_COMPRESSED)
		snprintf(byte, sizeof(byte), "%d", io->byte);
	snprintf(cmd, size, "write %s %s %" PRIu64 " %" PRIu64, words[io->op],
		 byte, io->off, io->len);
}

static int qemu_io(struct history *h)
{
	char cmd[OPS][80], unmap[OPS][80];
	const char *args[4 * OPS + 1];
	unsigned n = 1 + (unsigned)history_random(h, OPS), k = 0;

	for (unsigned i = 0; i < n; i++) {
		struct io io;

		draw_io(h, &io, true);
		qemu_command(&io, cmd[i], sizeof(cmd[i]));
		/* QEMU compresses only what is not allocated */
		if (io.op == OP_COMPRESSED) {
			snprintf(unmap[i], sizeof(unmap[i]),
				 "write -z -u %" PRIu64 " %" PRIu64, io.off,
				 io.len);
			args[k++] = "-c";
			args[k++] = unmap[i];
		}
		args[k++] = "-c";
		args[k++] = cmd[i];
		note(h, &io, NULL);
	}
	args[k] = NULL;
	return history_qemu(h, "qemu-io", args, NULL);
}

static int own_op(struct history *h)
{
	struct io io;
	int r;

	draw_io(h, &io, false);
	if (io.op == OP_WRITE) {
		combo_fill(h->buf, io.len, history_random(h, UINT64_MAX));
		if (history_random(h, 8) == 0)
			memset(h->buf, 0, io.len);
		r = image_write(h->img, h->buf, io.len, io.off);
	} else {
		r = image_zero(h->img, io.off, io.len, io.op == OP_UNMAP);
	}
	note(h, &io, io.op == OP_WRITE ? h->buf : NULL);
	if (r == 0 && history_random(h, 4) == 0)
		r = image_flush(h->img);
	if (r)
		fprintf(stderr, "rawcow: op %d: %s\n", io.op, strerror(-r));
	return r;
}

static int own_io(struct history *h)
{
	unsigned n = 1 + (unsigned)history_random(h, 2 * OPS);

	while (n--)
		if (own_op(h))
			return -1;
	return 0;
}

static int step_io(struct history *h, bool qemu)
{
	return qemu ? qemu_io(h) : own_io(h);
}

/* --- snapshots -------------------------------------------------------------
 */

typedef int snapshot_fn(struct image *img, const char *name, struct err *err);

static int snapshot(struct history *h, bool qemu, const char *letter,
		    snapshot_fn *fn, const char *name)
{
	const char *args[] = {"snapshot", letter, name, NULL};
	struct err err = {""};

	if (h->verbose)
		fprintf(stderr, "    snapshot %s %s\n", letter, name);
	if (qemu)
		return history_qemu(h, "qemu-img", args, NULL);
	if (fn(h->img, name, &err) == 0)
		return 0;
	fprintf(stderr, "rawcow: snapshot %s: %s\n", letter, err.text);
	return -1;
}

static int snap_create(struct history *h, bool qemu, struct history_snap *s)
{
	snprintf(s->name, sizeof(s->name), "s%u", h->names++ % 1000);
	s->size = h->size;
	s->content = malloc(h->size);
	if (!s->content)
		return -1;
	memcpy(s->content, h->disk, h->size);
	return snapshot(h, qemu, "-c", snapshot_create, s->name);
}

static int snap_delete(struct history *h, bool qemu, struct history_snap *s)
{
	int r = snapshot(h, qemu, "-d", snapshot_delete, s->name);

	free(s->content);
	memset(s, 0, sizeof(*s));
	return r;
}

static int snap_apply(struct history *h, bool qemu, struct history_snap *s)
{
	int r = snapshot(h, qemu, "-a", snapshot_apply, s->name);

	memset(h->disk, 0, HISTORY_MAX);
	memcpy(h->disk, s->content, s->size);
	h->size = s->size;
	history_touched(h, 0, h->size);
	return r;
}

static int step_snapshot(struct history *h, bool qemu)
{
	struct history_snap *s = &h->snap[history_random(h, HISTORY_SNAPS)];
	uint64_t max = h->kind.refcount_bits > 8
			       ? UINT64_MAX
			       : (1u << h->kind.refcount_bits) - 1;
	unsigned have = 0;

	for (int i = 0; i < HISTORY_SNAPS; i++)
		have += h->snap[i].name[0] != 0;
	if (h->kind.data_file || (!s->name[0] && have + 2 > max))
		return step_io(h, qemu);
	if (!s->name[0])
		return snap_create(h, qemu, s);
	/* QEMU applies none to a disk that has a bitmap; and both count the new
	 * tree before they drop the old one, which narrow counts must bear */
	return history_random(h, 2) && !(qemu && h->bitmap.there) &&
			       have + 2 <= max
		       ? snap_apply(h, qemu, s)
		       : snap_delete(h, qemu, s);
}

/* --- other sizes
 * -------------------------------------------------------------- */

static uint64_t draw_new_size(struct history *h, bool qemu)
{
	uint64_t size = history_random(h, 4)
				? h->size + history_random(h, h->size)
				: h->size / 2 + history_random(h, h->size / 2);

	size = NUM_MIN(num_round_up(size + 1, 512), UINT64_C(11) << 20);
	/* QEMU 7.2 keeps what stands behind the end in the last cluster, and
	 * shows it again when the disk grows */
	if (qemu && size < h->size)
		size = NUM_MIN(num_round_up(size, cluster(h)), h->size);
	return size;
}

static bool may_resize(const struct history *h)
{
	bool snaps = false;

	for (int i = 0; i < HISTORY_SNAPS; i++)
		snaps |= h->snap[i].name[0] != 0;
	/* version 2: snapshots do not know their size, and QEMU has no way to
	 * hide what a longer backing file holds */
	return h->kind.version > 2 || (!snaps && !h->kind.backing);
}

static int step_resize(struct history *h, bool qemu)
{
	uint64_t old = h->size, size;
	struct err err = {""};
	char text[32];
	int r;

	if (!may_resize(h))
		return step_io(h, qemu);
	size = draw_new_size(h, qemu);
	if (h->verbose)
		fprintf(stderr, "    size %" PRIu64 " to %" PRIu64 "\n", old,
			size);
	snprintf(text, sizeof(text), "%" PRIu64, size);
	if (qemu) {
		const char *args[] = {"resize", "-q", "--shrink", NULL};

		r = history_qemu(h, "qemu-img", args, text);
	} else {
		r = resize_image(h->img, size, true, &err);
		if (r)
			fprintf(stderr, "rawcow: resize: %s\n", err.text);
	}
	if (size < old)
		memset(h->disk + size, 0, HISTORY_MAX - size);
	h->size = size;
	history_resized(h, old);
	return r;
}

/* --- one history
 * -------------------------------------------------------------- */

static int act(struct history *h, bool qemu)
{
	switch (history_random(h, 10)) {
	case 0:
	case 1:
	case 2:
		return step_snapshot(h, qemu);
	case 3:
		return step_resize(h, qemu);
	default:
		return step_io(h, qemu);
	}
}

static int step(struct history *h, bool qemu, bool last)
{
	int r;

	if (!qemu && history_open(h, true))
		return -1;
	r = act(h, qemu);
	if (!qemu && (history_close(h) || r))
		return -1;
	return r ? -1 : history_verify(h, qemu, last);
}

static int run(uint64_t i, unsigned steps, bool verbose)
{
	struct history h = {.verbose = verbose};
	char text[240];
	bool qemu;
	int r;

	history_draw(&h, i);
	if (verbose)
		fprintf(stderr, "%" PRIu64 ": %s\n", i,
			history_text(&h.kind, text));
	qemu = history_random(&h, 2);
	r = history_make(&h);
	for (unsigned k = 0; k < steps && r == 0; k++, qemu = !qemu) {
		if (verbose)
			fprintf(stderr, "  step %u by %s\n", k,
				qemu ? "QEMU" : "rawcow");
		r = step(&h, qemu, k == steps - 1);
		if (r)
			printf("FAILED in step %u, by %s\n", k,
			       qemu ? "QEMU" : "rawcow");
	}
	if (r)
		printf("FAILED: %s\n  replay: --first %" PRIu64
		       " --count 1 --steps %u --verbose\n",
		       history_text(&h.kind, text), i, steps);
	history_fini(&h);
	return r;
}

/* Which histories, and how. */
struct plan {
	uint64_t first, count;
	unsigned steps;
	bool verbose;
};

/* What has failed once, beyond those that are always run. */
static const struct {
	uint64_t i;
	unsigned steps;
} once[] = {
	{ 4196, 8 }, /* encrypted data file, disk made larger by QEMU */
};

/* Every WORKERS-th history from the ME-th on, in a folder of its own. */
static uint64_t work(const struct plan *p, unsigned me)
{
	char folder[64];
	uint64_t bad = 0;

	combo_enter(folder);
	for (size_t i = 0; !p->first && !me && i < sizeof(once) / sizeof(*once);
	     i++)
		bad += run(once[i].i, once[i].steps, p->verbose) != 0;
	for (uint64_t i = me; i < p->count && bad < 10; i += WORKERS)
		bad += run(p->first + i, p->steps, p->verbose) != 0;
	if (bad && p->count == 1)
		printf("files are in %s\n", folder);
	else
		combo_run("rm", "-rf", folder, NULL);
	return bad;
}

/* How many workers met a failure. */
static unsigned run_all(const struct plan *p)
{
	unsigned bad = 0;
	int status;

	fflush(NULL);
	for (unsigned me = 0; me < WORKERS; me++) {
		pid_t pid = fork();

		if (pid < 0)
			abort();
		if (!pid)
			exit(work(p, me) ? 1 : 0);
	}
	while (wait(&status) > 0)
		bad += status != 0;
	return bad;
}

static const struct option options[] = {
	{ "first", required_argument, NULL, 'f' },
	{ "count", required_argument, NULL, 'c' },
	{ "steps", required_argument, NULL, 's' },
	{ "verbose", no_argument, NULL, 'v' },
	{ 0 },
};

static int get_plan(struct plan *p, int argc, char **argv)
{
	const char *scale = getenv("RAWCOW_TEST_SCALE");

	*p = (struct plan){ .count = 2000, .steps = 4 };
	if (scale && !strcmp(scale, "small"))
		p->count = 24;
	if (scale && !strcmp(scale, "full"))
		p->count = 10000;
	for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (o == '?')
			return -1;
		if (o == 'f')
			p->first = strtoull(optarg, NULL, 0);
		if (o == 'c')
			p->count = strtoull(optarg, NULL, 0);
		if (o == 's')
			p->steps = (unsigned)strtoul(optarg, NULL, 0);
		if (o == 'v')
			p->verbose = true;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct plan p;
	unsigned bad;

	if (get_plan(&p, argc, argv) || !getenv("RAWCOW")) {
		fprintf(stderr, "usage: RAWCOW=PROGRAM histories [--first I] "
				"[--count N] [--steps N] [--verbose]\n");
		return 2;
	}
	if (system("{ qemu-img --version && qemu-io --version; } "
		   ">/dev/null 2>&1")) {
		printf("SKIPPED: qemu-img or qemu-io is not installed\n");
		return 77;
	}
	bad = run_all(&p);
	printf("%" PRIu64 " histories of %u steps: %s\n", p.count, p.steps,
	       bad ? "FAILED" : "good");
	return bad != 0;
}
