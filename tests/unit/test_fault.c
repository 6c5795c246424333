/*
 * test_fault: every host call of some workloads fails once, and from then on.
 *
 * A workload is a row of guest operations from a seed. It runs again and again
 * on a copy of one image, each time with the next host call failing, until a
 * run is left alone. In each run: no success that is none (what was read, and
 * what is there after a reopen, is what the oracle allows), the image has no
 * corruption afterwards, and once a sync has failed nothing is written.
 * Interrupted and short calls must not be seen at all.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/admin/check.h"
#include "core/admin/create.h"
#include "core/admin/snapshot.h"
#include "core/image/image.h"
#include "lib/hostfault.h"
#include "lib/hostmem.h"
#include "lib/imgbuild.h"

#define SECTOR	512u
#define SECTORS 1024u
#define DISK	(SECTOR * SECTORS)
#define OPS	24

/* Each sector is filled with one byte. */
struct guest {
	unsigned char now[SECTORS], synced[SECTORS];
	bool known[SECTORS];	 /* now[] is what a read must give */
	bool untouched[SECTORS]; /* synced[] is what a reopen must give */
	unsigned char snap[SECTORS]; /* a snapshot, and what is known of it */
	bool snap_known[SECTORS];
	bool have_snap;
	unsigned snapshots; /* operations on them */
};

struct fault_case {
	const char *name;
	struct hostfault_rule rule;
	bool hidden; /* nobody may notice it */
};

#define IO (HOSTFAULT_PREAD | HOSTFAULT_PWRITE)
static const struct fault_case cases[] = {
	{ "EIO once", { HOSTFAULT_ALL, HOSTFAULT_ERROR, -EIO, 0, 1 }, false },
	{ "EIO for good",
	  { HOSTFAULT_ALL, HOSTFAULT_ERROR, -EIO, 0, HOSTFAULT_FOREVER },
	  false },
	{ "EIO after a write",
	  { HOSTFAULT_CHANGES, HOSTFAULT_ERROR_LATE, -EIO, 0, 1 },
	  false },
	{ "EIO in a write",
	  { HOSTFAULT_PWRITE, HOSTFAULT_TORN, -EIO, 0, HOSTFAULT_FOREVER },
	  false },
	{ "sync EIO once", { HOSTFAULT_SYNC, HOSTFAULT_ERROR, -EIO, 0, 1 }, false },
	{ "ENOSPC once",
	  { HOSTFAULT_CHANGES, HOSTFAULT_ERROR, -ENOSPC, 0, 1 },
	  false },
	{ "ENOSPC for good",
	  { HOSTFAULT_CHANGES, HOSTFAULT_ERROR, -ENOSPC, 0, HOSTFAULT_FOREVER },
	  false },
	{ "EINTR once", { IO, HOSTFAULT_ERROR, -EINTR, 0, 1 }, true },
	{ "EINTR often", { IO, HOSTFAULT_ERROR, -EINTR, 0, 20 }, true },
	{ "one byte", { IO, HOSTFAULT_SHORT_ONE, 0, 0, 1 }, true },
	{ "half", { IO, HOSTFAULT_SHORT_HALF, 0, 0, HOSTFAULT_FOREVER }, true },
};

struct run {
	struct hostmem *mem;
	struct hostfault *fault;
	struct image *img;
	struct guest g;
	uint64_t rnd;
	unsigned errors;
	bool poisoned;
	uint64_t changes; /* when the image failed */
	char why[256];
};

static uint64_t next_random(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static uint64_t count_changes(struct hostmem *m)
{
	return hostmem_count(m, HOSTMEM_PWRITE) +
	       hostmem_count(m, HOSTMEM_FALLOC) +
	       hostmem_count(m, HOSTMEM_TRUNCATE);
}

static void blame(struct run *r, const char *what, unsigned s, int e)
{
	if (!*r->why)
		snprintf(r->why, sizeof(r->why), "%s at sector %u: %s", what, s,
			 strerror(-e));
}

static bool is_filled(const unsigned char *p, unsigned char v)
{
	return *p == v && !memcmp(p, p + 1, SECTOR - 1);
}

static void do_read(struct run *r, unsigned s, unsigned n)
{
	static unsigned char buf[DISK];
	int e = image_read(r->img, buf, n * SECTOR, (uint64_t)s * SECTOR);

	if (e) {
		r->errors++;
		return;
	}
	for (unsigned i = 0; i < n; i++)
		if (r->g.known[s + i] &&
		    !is_filled(buf + i * SECTOR, r->g.now[s + i]))
			blame(r, "wrong data was read", s + i, 0);
}

/* A write (VALUE) or zeroing (VALUE 0) of N sectors came back with E. */
static void note_change(struct run *r, unsigned s, unsigned n,
			unsigned char value, int e)
{
	if (e)
		r->errors++;
	else if (r->poisoned)
		blame(r, "a write succeeds after a failed sync", s, 0);
	memset(r->g.untouched + s, false, n);
	for (unsigned i = s; i < s + n; i++) {
		r->g.now[i] = value;
		r->g.known[i] = !e;
	}
}

static void do_flush(struct run *r)
{
	int e = image_flush(r->img);

	if (e) {
		r->errors++;
		return;
	}
	if (r->poisoned)
		blame(r, "a flush succeeds after a failed sync", 0, 0);
	memcpy(r->g.synced, r->g.now, sizeof(r->g.now));
	memcpy(r->g.untouched, r->g.known, sizeof(r->g.known));
}

static void do_snapshot(struct run *r, bool apply)
{
	struct guest *g = &r->g;
	struct err err = { "" };
	int e;

	g->snapshots++;
	if (!g->have_snap)
		e = snapshot_create(r->img, "s", &err);
	else if (apply)
		e = snapshot_apply(r->img, "s", &err);
	else
		e = snapshot_delete(r->img, "s", &err);
	if (e == -ENOTSUP) /* refcounts of one bit */
		return;
	if (e) {
		r->errors++;
		if (apply) {
			memset(g->known, false, sizeof(g->known));
			memset(g->untouched, false, sizeof(g->untouched));
		}
		return;
	}
	if (r->poisoned)
		blame(r, "a snapshot changes after a failed sync", 0, 0);
	if (g->have_snap && apply) {
		memcpy(g->now, g->snap, sizeof(g->now));
		memcpy(g->known, g->snap_known, sizeof(g->known));
	}
	g->have_snap = !g->have_snap || apply;
	memcpy(g->snap, g->now, sizeof(g->now));
	memcpy(g->snap_known, g->known, sizeof(g->known));
	/* it has committed what was written before */
	memcpy(g->synced, g->now, sizeof(g->now));
	memcpy(g->untouched, g->known, sizeof(g->known));
}

static void do_op(struct run *r)
{
	static unsigned char buf[DISK];
	unsigned what = (unsigned)(next_random(&r->rnd) % 100);
	unsigned s = (unsigned)(next_random(&r->rnd) % SECTORS);
	unsigned n = 1 + (unsigned)(next_random(&r->rnd) % 40);
	unsigned char v = (unsigned char)(next_random(&r->rnd) % 255 + 1);
	uint64_t off = (uint64_t)s * SECTOR;

	n = n < SECTORS - s ? n : SECTORS - s;
	if (what < 50) {
		memset(buf, v, n * SECTOR);
		note_change(r, s, n, v,
			    image_write(r->img, buf, n * SECTOR, off));
	} else if (what < 70) {
		note_change(r, s, n, 0,
			    image_zero(r->img, off, n * SECTOR, what < 64));
	} else if (what < 79) {
		do_read(r, s, n);
	} else if (what < 85) {
		do_snapshot(r, what % 2);
	} else {
		do_flush(r);
	}
	if (!r->poisoned && image_failed(r->img)) {
		r->poisoned = true;
		r->changes = count_changes(r->mem);
	}
}

static int open_image(struct run *r, struct hostfault *fault)
{
	struct image_opts opts = { .no_lock = true,
				   .l2_cache_size = 1,
				   .refcount_cache_size = 1 };
	struct hostfile *f, *inner;
	struct err err = { "" };
	int e;

	if (hostmem_open(&inner, r->mem, true))
		abort();
	f = inner;
	if (fault && hostfault_wrap(fault, &f, inner))
		abort();
	e = image_open_file(&r->img, f, &opts, &err);
	if (e)
		hostfile_close(f);
	return e;
}

/* What a failed snapshot may leave: clusters that will be copied without need.
 * They harm nobody. */
static void count_harmless(void *arg, const struct problem *p)
{
	if ((p->code == PROBLEM_COPIED_L1 || p->code == PROBLEM_COPIED_L2) &&
	    strstr(p->text, "COPIED is clear"))
		++*(uint64_t *)arg;
}

/* HIT: a host call failed. */
static void check_structure(struct run *r, bool hit)
{
	uint64_t harmless = 0;
	struct check_opts opts = { .report = count_harmless,
				   .report_arg = &harmless };
	struct check_result res = { 0 };
	struct err err = { "" };
	struct hostfile *f;

	if (hostmem_open(&f, r->mem, false))
		abort();
	if (check_image(f, &opts, &res, &err))
		blame(r, err.text, 0, -EUCLEAN);
	if (!r->g.snapshots || !hit)
		harmless = 0;
	if (res.corruptions > harmless || res.check_errors)
		blame(r, "the image is corrupt", 0, -EUCLEAN);
	/* what a snapshot cannot free leaks, and is no error of the call */
	if (res.leaks && !r->errors && !(hit && r->g.snapshots))
		blame(r, "leaks without an error", 0, 0);
	hostfile_close(f);
}

/* What is there when the image is opened without faults. */
static void check_content(struct run *r)
{
	static unsigned char buf[DISK];
	int e = open_image(r, NULL);

	if (!e)
		e = image_read(r->img, buf, DISK, 0);
	if (e) {
		blame(r, "reopen and read", 0, e);
		return;
	}
	for (unsigned s = 0; s < SECTORS; s++)
		if (r->g.untouched[s] &&
		    !is_filled(buf + s * SECTOR, r->g.synced[s]))
			blame(r, "durable data is lost", s, 0);
	if (image_close(r->img))
		blame(r, "close after reopen", 0, -EIO);
}

/* One workload with one fault; true if the fault was met. */
static bool run_once(struct hostmem *base, const struct guest *g, uint64_t seed,
		     const struct fault_case *fc, uint64_t skip, char why[256])
{
	struct hostfault_rule rule = fc->rule;
	struct run r = { .mem = hostmem_clone(base),
			 .fault = hostfault_new(),
			 .g = *g,
			 .rnd = seed };
	bool hit;

	rule.skip = skip;
	hostfault_set(r.fault, &rule);
	if (open_image(&r, r.fault)) {
		r.errors++;
		if (!hostmem_equal(r.mem, base))
			blame(&r, "a failed open has changed the file", 0, 0);
	} else {
		for (int i = 0; i < OPS; i++)
			do_op(&r);
		if (image_close(r.img)) {
			r.errors++;
		} else if (!r.poisoned) {
			memcpy(r.g.synced, r.g.now, sizeof(r.g.now));
			memcpy(r.g.untouched, r.g.known, sizeof(r.g.known));
		}
		if (r.poisoned && r.changes != count_changes(r.mem))
			blame(&r, "written after a failed sync", 0, 0);
	}
	hit = hostfault_hits(r.fault) != 0;
	if (r.errors && (fc->hidden || !hit))
		blame(&r, "an error that nothing explains", 0, 0);
	check_structure(&r, hit);
	check_content(&r);
	hostfault_free(r.fault);
	hostmem_free(r.mem);
	memcpy(why, r.why, sizeof(r.why));
	return hit;
}

/* Images ------------------------------------------------------------------ */

static struct hostmem *make_created(unsigned cluster, unsigned bits)
{
	struct create_opts opts = { .size = DISK,
				    .cluster_size = cluster,
				    .refcount_bits = bits };
	struct hostmem *m = hostmem_new();
	struct err err = { "" };
	struct hostfile *f;

	if (hostmem_open(&f, m, true) || create_image(f, &opts, &err)) {
		fprintf(stderr, "create: %s\n", err.text);
		exit(1);
	}
	hostfile_close(f);
	return m;
}

/* Compressed, zero and shared clusters. */
static struct hostmem *make_mixed(struct guest *g)
{
	struct imgbuild_params p = { .cluster_bits = 12, .refcount_order = 4,
				     .size = DISK };
	struct hostmem *m = hostmem_new();
	unsigned char buf[4096];
	struct hostfile *f;
	struct imgbuild b;

	if (hostmem_open(&f, m, true))
		abort();
	imgbuild_init(&b, f, &p);
	for (unsigned c = 0; c < DISK / 4096; c += 2) {
		unsigned char v = (unsigned char)(c + 1);

		memset(buf, v, sizeof(buf));
		if (c % 3 == 0)
			imgbuild_compressed(&b, c * 4096, buf);
		else
			imgbuild_data(&b, c * 4096, buf, sizeof(buf));
		memset(g->now + c * 8, v, 8);
	}
	imgbuild_zero_plain(&b, 4096);
	imgbuild_zero_alloc(&b, 3 * 4096);
	imgbuild_snapshot(&b, "1", "first");
	imgbuild_finish(&b);
	imgbuild_fini(&b);
	hostfile_close(f);
	return m;
}

static unsigned long points, failures;

static void run_workload(const char *image, struct hostmem *base,
			 const struct guest *g, uint64_t seed, uint64_t step)
{
	for (size_t k = 0; k < sizeof(cases) / sizeof(*cases); k++) {
		bool hit = true;

		for (uint64_t skip = seed % step; hit; skip += step) {
			char why[256];

			hit = run_once(base, g, seed, &cases[k], skip, why);
			points++;
			if (!*why)
				continue;
			if (failures++ < 20)
				printf("%s, seed %" PRIu64 ", %s, call %" PRIu64
				       ": %s\n",
				       image, seed, cases[k].name, skip, why);
		}
	}
}

int main(void)
{
	const char *scale = getenv("RAWCOW_TEST_SCALE");
	bool small = scale && !strcmp(scale, "small");
	bool full = scale && !strcmp(scale, "full");
	uint64_t seeds = small ? 3 : full ? 60 : 10, step = small ? 7 : 1;
	struct {
		const char *name;
		struct hostmem *mem;
		struct guest g;
	} images[] = {
		{ .name = "cluster 512", .mem = make_created(512, 16) },
		{ .name = "cluster 4096, 64 bits", .mem = make_created(4096, 64) },
		{ .name = "cluster 65536, 1 bit", .mem = make_created(65536, 1) },
		{ .name = "mixed" },
	};

	images[3].mem = make_mixed(&images[3].g);
	for (size_t i = 0; i < 4; i++) {
		struct guest *g = &images[i].g;

		memcpy(g->synced, g->now, sizeof(g->now));
		memset(g->known, true, sizeof(g->known));
		memset(g->untouched, true, sizeof(g->untouched));
		for (uint64_t seed = 1; seed <= seeds; seed++)
			run_workload(images[i].name, images[i].mem, g, seed,
				     step);
		hostmem_free(images[i].mem);
	}
	printf("%lu faults, %lu bad\n", points, failures);
	return failures != 0;
}
