/*
 * matrix: random operations on images of every kind, against plain memory.
 *
 * For each combination of version, cluster size, L2 entries, refcount width,
 * backing file, compression and snapshot an image is made by qemu-img, opened through
 * core/image (no FUSE), and written, zeroed, discarded, flushed, reopened and
 * read back. At the end QEMU must find it without errors and leaks and equal to
 * the oracle, rawcow's own check must agree, the snapshot must hold what it
 * held and the backing file must be untouched.
 *
 * usage: matrix [--seed N] [--combo K] [--ops N] [--verbose]
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/num.h"
#include "core/admin/check.h"
#include "core/image/image.h"
#include "tests/compat/combo.h"

struct run {
	struct combo c;
	struct image *img;
	unsigned char *oracle, *buf;
	uint64_t rnd;
	unsigned op;
	bool verbose;
};

static int complain(struct run *r, const char *what, uint64_t off, uint64_t len,
		    int err)
{
	fprintf(stderr, "op %u: %s [%#" PRIx64 ", +%#" PRIx64 "]: %s\n", r->op,
		what, off, len, err ? strerror(-err) : "differs");
	return -1;
}

static int run_open(struct run *r)
{
	struct image_opts opts = { 0 };
	struct err err = { "" };
	int e;

	/* Small caches make tables come and go. */
	if (combo_random(&r->rnd) % 2) {
		opts.l2_cache_size = 1;
		opts.refcount_cache_size = 1;
		opts.cluster_cache_size = 1;
	}
	opts.discard_ignore = combo_random(&r->rnd) % 8 == 0;
	e = image_open(&r->img, "img", &opts, &err);
	if (e) {
		fprintf(stderr, "op %u: open: %s\n", r->op, err.text);
		return -1;
	}
	if (image_size(r->img) != r->c.size)
		return complain(r, "size", image_size(r->img), 0, -EINVAL);
	return 0;
}

/* A range of one of several shapes, seldom empty of interest. */
static void pick_range(struct run *r, uint64_t *off, uint64_t *len)
{
	uint64_t cs = UINT64_C(1) << r->c.cluster_bits;
	bool parts = r->c.extended && combo_random(&r->rnd) % 2;
	uint64_t sub = parts ? cs / 32 : cs;
	uint64_t max = NUM_MIN(r->c.size, NUM_MAX(3 * cs, UINT64_C(1) << 17));

	*off = combo_random(&r->rnd) % r->c.size;
	*len = 1 + combo_random(&r->rnd) % max;
	switch (combo_random(&r->rnd) % 6) {
	case 0: /* whole clusters or subclusters */
		*off = num_round_down(*off, sub);
		*len = num_round_up(parts ? *len % (40 * sub) + 1 : *len, sub);
		break;
	case 1: /* sectors */
		*off = num_round_down(*off, 512);
		*len = num_round_up(*len % (16 << 10) + 1, 512);
		break;
	case 2: /* a few bytes */
		*len = 1 + *len % 700;
		break;
	case 3: /* across a cluster border */
		*off = num_round_down(*off, cs);
		*off -= NUM_MIN(*off, *len % 5000);
		*len = 1 + *len % 10000;
		break;
	case 4: /* at the end */
		*len = NUM_MIN(*len % 9000 + 1, r->c.size);
		*off = r->c.size - *len;
		break;
	default:
		break;
	}
	*len = NUM_MIN(*len, r->c.size - *off);
}

static int op_write(struct run *r, uint64_t off, uint64_t len)
{
	int e;

	combo_fill(r->buf, len, combo_random(&r->rnd));
	if (combo_random(&r->rnd) % 16 == 0)
		memset(r->buf, 0, len);
	e = image_write(r->img, r->buf, len, off);
	if (e)
		return complain(r, "write", off, len, e);
	memcpy(r->oracle + off, r->buf, len);
	return 0;
}

static int op_zero(struct run *r, uint64_t off, uint64_t len, bool unmap)
{
	int e = image_zero(r->img, off, len, unmap);

	if (e)
		return complain(r, "zero", off, len, e);
	memset(r->oracle + off, 0, len);
	return 0;
}

static int op_read(struct run *r, uint64_t off, uint64_t len)
{
	int e;

	memset(r->buf, 0xa5, len);
	e = image_read(r->img, r->buf, len, off);
	if (e || memcmp(r->buf, r->oracle + off, len))
		return complain(r, "read", off, len, e);
	return 0;
}

/* What the map calls zero is zero. */
static int op_map(struct run *r, uint64_t off, uint64_t len)
{
	while (len) {
		struct image_extent x;
		int e = image_map(r->img, off, len, &x);

		if (e || !x.len || x.len > len)
			return complain(r, "map", off, len, e);
		if (x.kind == IMAGE_EXTENT_ZERO || x.kind == IMAGE_EXTENT_HOLE)
			for (uint64_t i = 0; i < x.len; i++)
				if (r->oracle[off + i])
					return complain(r, "map hides data",
							off + i, 1, 0);
		off += x.len;
		len -= x.len;
	}
	return 0;
}

static int op_reopen(struct run *r)
{
	int e = image_close(r->img);

	r->img = NULL;
	if (e)
		return complain(r, "close", 0, 0, e);
	return run_open(r);
}

static int one_op(struct run *r)
{
	unsigned what = (unsigned)(combo_random(&r->rnd) % 100);
	uint64_t off, len;
	int e;

	pick_range(r, &off, &len);
	if (r->verbose)
		fprintf(stderr, "op %u: %u %#" PRIx64 " +%#" PRIx64 "\n", r->op,
			what, off, len);
	if (what < 45)
		return op_write(r, off, len);
	if (what < 70)
		return op_read(r, off, len);
	if (what < 80)
		return op_zero(r, off, len, true);
	if (what < 86)
		return op_zero(r, off, len, false);
	if (what < 91)
		return op_map(r, off, len);
	if (what >= 98)
		return op_reopen(r);
	e = what < 96 ? image_flush(r->img) : image_commit_all(r->img);
	return e ? complain(r, "flush", 0, 0, e) : 0;
}

static void print_problem(void *arg, const struct problem *p)
{
	(void)arg;
	fprintf(stderr, "  %s at %#" PRIx64 ": %s\n", problem_name(p->code),
		p->hoff, p->text);
}

/* rawcow's own check finds nothing at all. */
static int own_check(void)
{
	struct check_opts opts = { .report = print_problem };
	struct check_result res = { 0 };
	struct hostfile *f;
	struct err err = { "" };

	if (hostfile_open(&f, AT_FDCWD, "img", 0, &err) ||
	    check_image(f, &opts, &res, &err)) {
		fprintf(stderr, "check: %s\n", err.text);
		return -1;
	}
	hostfile_close(f);
	if (!res.corruptions && !res.leaks && !res.check_errors)
		return 0;
	fprintf(stderr,
		"own check: %" PRIu64 " corruptions, %" PRIu64
		" leaks, %" PRIu64 " errors\n",
		res.corruptions, res.leaks, res.check_errors);
	return -1;
}

static int qemu_verdict(struct run *r, const unsigned char *first)
{
	if (combo_run("qemu-img", "check", "img", NULL)) {
		combo_show();
		return -1;
	}
	combo_save("oracle.raw", r->oracle, r->c.size);
	if (combo_run("qemu-img", "compare", "-f", "qcow2", "-F", "raw", "img",
		      "oracle.raw", NULL)) {
		combo_show();
		return -1;
	}
	if (!r->c.snapshot)
		return 0;
	combo_save("first.raw", first, r->c.size);
	if (combo_run("qemu-img", "convert", "-f", "qcow2", "-l",
		      "snapshot.name=snap", "-O", "raw", "img", "snap.raw",
		      NULL) ||
	    combo_run("cmp", "snap.raw", "first.raw", NULL)) {
		fprintf(stderr, "the snapshot has changed\n");
		combo_show();
		return -1;
	}
	return 0;
}

static int run_ops(struct run *r, unsigned ops)
{
	int e;

	if (run_open(r) || op_read(r, 0, r->c.size))
		return -1;
	for (r->op = 1; r->op <= ops; r->op++)
		if (one_op(r))
			return -1;
	if (op_read(r, 0, r->c.size))
		return -1;
	e = image_close(r->img);
	r->img = NULL;
	return e ? complain(r, "close", 0, 0, e) : 0;
}

static int run_combo(size_t k, uint64_t seed, unsigned ops, bool verbose)
{
	struct run r = { .rnd = seed * 1000003 + k, .verbose = verbose };
	unsigned char *first = NULL;
	uint64_t back;
	char text[128];
	int e = -1;

	combo_get(k, &r.c);
	if (combo_make(&r.c, seed + k) ||
	    combo_run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", "img",
		      "first.raw", NULL))
		goto out;
	back = combo_hash("back");
	first = combo_load("first.raw", r.c.size);
	r.oracle = combo_load("first.raw", r.c.size);
	r.buf = malloc(r.c.size);
	if (!r.buf || run_ops(&r, ops) || qemu_verdict(&r, first) || own_check())
		goto out;
	if (back != combo_hash("back"))
		fprintf(stderr, "the backing file was written\n");
	else
		e = 0;
out:
	if (e)
		printf("FAILED: %s\n  replay: --seed %" PRIu64
		       " --combo %zu --ops %u\n",
		       combo_text(&r.c, text), seed, k, ops);
	if (r.img)
		image_abandon(r.img);
	free(first);
	free(r.oracle);
	free(r.buf);
	return e;
}

static const struct option options[] = {
	{ "seed", required_argument, NULL, 's' },
	{ "combo", required_argument, NULL, 'c' },
	{ "ops", required_argument, NULL, 'o' },
	{ "verbose", no_argument, NULL, 'v' },
	{ 0 },
};

int main(int argc, char **argv)
{
	const char *scale = getenv("RAWCOW_TEST_SCALE");
	char folder[64];
	uint64_t seed = (uint64_t)time(NULL);
	size_t first = 0, n = 200, bad = 0;
	unsigned ops = 500;
	bool verbose = false;

	if (scale && !strcmp(scale, "small")) {
		n = 16;
		ops = 200;
	} else if (scale && !strcmp(scale, "full")) {
		n = combo_count();
	}
	for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (o == '?')
			return 2;
		if (o == 's')
			seed = strtoull(optarg, NULL, 0);
		if (o == 'o')
			ops = (unsigned)strtoul(optarg, NULL, 0);
		if (o == 'v')
			verbose = true;
		if (o == 'c') {
			first = strtoull(optarg, NULL, 0);
			n = 1;
		}
	}
	combo_enter(folder);
	if (combo_run("qemu-img", "--version", NULL) ||
	    combo_run("qemu-io", "--version", NULL)) {
		printf("SKIPPED: qemu-img or qemu-io is not installed\n");
		combo_run("rm", "-rf", folder, NULL);
		return 77;
	}
	printf("seed %" PRIu64 "\n", seed);
	for (size_t k = first; k < first + n; k++)
		bad += run_combo(k, seed, ops, verbose) != 0;
	printf("%zu combinations of %u operations, %zu failed\n", n, ops, bad);
	if (bad && n == 1)
		printf("files are in %s\n", folder);
	else
		combo_run("rm", "-rf", folder, NULL);
	return bad != 0;
}
