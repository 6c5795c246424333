#include "twofile.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checker.h"
#include "kept.h"
#include "core/admin/merge.h"
#include "core/image/image.h"
#include "lib/hostmem.h"
#include "lib/hostrecord.h"

enum { OVERLAY, BASE, FILES };
_Static_assert(FILES == KEPT_FILES, "two");

static const struct {
	struct imgmake overlay, base; /* base.clusters 0: a raw file */
	uint64_t raw_sectors;
} configs[TWOFILE_CONFIGS] = {
	{ { .version = 3, .cluster_bits = 9, .refcount_order = 4,
	    .clusters = 160, .preset = "dc.dzcd.ddccazd.ddd..zzz",
	    .backing_sectors = 100 }, { 0 }, 100 },
	{ { .version = 2, .cluster_bits = 12, .refcount_order = 4,
	    .clusters = 40, .preset = "dc.d.cd.ddcc", .backing_sectors = 500 },
	  { 0 }, 500 },
	{ { .version = 3, .cluster_bits = 9, .refcount_order = 4,
	    .clusters = 300, .preset = "dc.dzcd.ddccazd.ddd..zzz",
	    .backing_sectors = 1 },
	  { .version = 3, .cluster_bits = 9, .refcount_order = 4,
	    .clusters = 130, .preset = "ddc.zacdd.dd.ddd" }, 0 },
	{ { .version = 3, .cluster_bits = 9, .refcount_order = 4,
	    .clusters = 64, .preset = "dddcccccdddd.zzz", .backing_sectors = 1 },
	  { .version = 3, .cluster_bits = 12, .refcount_order = 4,
	    .clusters = 16, .preset = "dcza", .snapshot = true }, 0 },
};

struct two {
	struct workload_run *r;
	unsigned config;
	uint64_t seed, sectors;
	char path[96]; /* the base while the commit runs */
	struct kept kept;
	uint8_t *want;		       /* the disk */
	struct checker check[FILES];
};

static int say(struct two *t, const char *what, uint64_t at)
{
	snprintf(t->r->text, sizeof(t->r->text),
		 "commit of start image %u, seed %" PRIu64
		 ", log entry %" PRIu64 ": %.200s", t->config, t->seed, at,
		 what);
	t->r->fault = ENUMERATE_LOST;
	return -1;
}

/* --- what the two files show, by the specification alone ----------------------- */

static uint8_t *bytes_of(struct hostmem *m, uint64_t *len)
{
	uint8_t *p;

	*len = hostmem_size(m);
	p = malloc(*len + 1);
	if (!p)
		abort();
	hostmem_read(m, p, *len, 0);
	return p;
}

static void base_sector(struct two *t, const uint8_t *base, uint64_t len,
			uint64_t sec, uint8_t out[512])
{
	uint64_t off = sec * 512;

	memset(out, 0, 512);
	if (configs[t->config].base.clusters)
		(void)checker_read(&t->check[BASE], base, len, 0, sec, out);
	else if (off < len)
		memcpy(out, base + off, len - off < 512 ? len - off : 512);
}

/* Fill OUT with the disk that FILE[] show; -1 when one is corrupt. */
static int show(struct two *t, struct hostmem *const file[FILES], uint8_t *out)
{
	bool qcow2 = configs[t->config].base.clusters;
	uint64_t len[FILES];
	uint8_t *img[FILES];
	int rc;

	for (int f = 0; f < FILES; f++)
		img[f] = bytes_of(file[f], &len[f]);
	rc = checker_run_deep(&t->check[OVERLAY], img[OVERLAY], len[OVERLAY]);
	if (!rc && qcow2)
		rc = checker_run_deep(&t->check[BASE], img[BASE], len[BASE]);
	for (uint64_t s = 0; s < t->sectors && !rc; s++)
		if (!checker_read(&t->check[OVERLAY], img[OVERLAY],
				  len[OVERLAY], 0, s, out + s * 512))
			base_sector(t, img[BASE], len[BASE], s, out + s * 512);
	free(img[OVERLAY]);
	free(img[BASE]);
	return rc;
}

/* --- the start ------------------------------------------------------------------- */

static void load(struct hostmem *m, const struct imgmake *make)
{
	struct imgmake_out out;

	imgmake_build(make, &out);
	if (hostmem_write(m, out.img, out.len, 0))
		abort();
	imgmake_free(&out);
}

/* Another content than the overlay's everywhere: what is shown tells where it
 * comes from. */
static void fill_base(struct two *t, struct hostmem *m)
{
	const struct imgmake *base = &configs[t->config].base;
	struct image_opts opts = { .no_lock = true };
	struct hostfile *f;
	struct image *img;
	uint8_t buf[512];
	uint64_t n = configs[t->config].raw_sectors;

	if (!base->clusters) {
		for (uint64_t i = 0; i < n; i++) {
			memset(buf, (int)(0x80 + i % 100), 512);
			if (hostmem_write(m, buf, 512, i * 512))
				abort();
		}
		return;
	}
	load(m, base);
	if (hostmem_open(&f, m, true) ||
	    image_open_file(&img, f, &opts, NULL))
		abort();
	n = image_size(img) / 512;
	for (uint64_t i = 0; i < n; i += i % 7 == 3 ? 9 : 1) {
		memset(buf, (int)(0x80 + i % 100), 512);
		if (image_write(img, buf, 512, i * 512))
			abort();
	}
	if (image_close(img))
		abort();
}

static void start(struct two *t)
{
	const struct imgmake *o = &configs[t->config].overlay;

	for (int f = 0; f < FILES; f++) {
		t->kept.stable[f] = hostmem_new();
		if (!t->kept.stable[f])
			abort();
		checker_init(&t->check[f]);
	}
	load(t->kept.stable[OVERLAY], o);
	fill_base(t, t->kept.stable[BASE]);
	t->sectors = o->clusters << (o->cluster_bits - 9);
	t->want = malloc(t->sectors * 512);
	t->kept.rec = hostrecord_new();
	if (!t->want || !t->kept.rec || show(t, t->kept.stable, t->want))
		abort();
	snprintf(t->path, sizeof(t->path), "%s/base", t->r->dir);
	if (hostmem_save(t->kept.stable[BASE], t->path))
		abort();
}

static void end(struct two *t)
{
	for (int f = 0; f < FILES; f++) {
		hostmem_free(t->kept.stable[f]);
		checker_fini(&t->check[f]);
	}
	hostrecord_free(t->kept.rec);
	free(t->want);
	unlink(t->path);
}

/* --- the commit -------------------------------------------------------------------- */

static int record_base(void *arg, struct hostfile **file)
{
	struct two *t = arg;

	return hostrecord_wrap_as(t->kept.rec, file, *file, BASE);
}

static int run(struct two *t)
{
	bool qcow2 = configs[t->config].base.clusters;
	struct image_opts opts = { .no_lock = true,
				   .backing_file = t->path,
				   .backing_format = qcow2 ? "qcow2" : "raw",
				   .write_depth = 1,
				   .wrap = record_base,
				   .wrap_arg = t };
	struct merge_opts merge = { .depth = 1 };
	struct hostmem *m = hostmem_clone(t->kept.stable[OVERLAY]);
	struct hostfile *f;
	struct image *img;
	struct err err = { "" };
	int rc;

	if (!m || hostmem_open(&f, m, true) ||
	    hostrecord_wrap_as(t->kept.rec, &f, f, OVERLAY))
		abort();
	if (image_open_file(&img, f, &opts, &err))
		return say(t, err.text, 0);
	rc = merge_image(img, &merge, &err);
	if (image_close(img) || rc)
		rc = say(t, err.text, 0);
	hostmem_free(m);
	return rc;
}

/* --- its crash states ------------------------------------------------------------- */

static int judge(struct two *t, uint64_t at, uint64_t *s, uint8_t *have)
{
	for (int i = 0; i < KEPT_KINDS * KEPT_KINDS; i++) {
		struct hostmem *m[FILES] = {
			kept_state(&t->kept, OVERLAY, (enum kept_what)(i % KEPT_KINDS), at, s),
			kept_state(&t->kept, BASE, (enum kept_what)(i / KEPT_KINDS), at, s),
		};
		int rc = show(t, m, have);

		t->r->stats.states++;
		hostmem_free(m[OVERLAY]);
		hostmem_free(m[BASE]);
		if (rc)
			return say(t, t->check[OVERLAY].text[0] ?
				   t->check[OVERLAY].text :
				   t->check[BASE].text, at);
		for (uint64_t k = 0; k < t->sectors; k++)
			if (memcmp(have + k * 512, t->want + k * 512, 512)) {
				char what[64];

				snprintf(what, sizeof(what),
					 "sector %" PRIu64 " has changed", k);
				return say(t, what, at);
			}
	}
	return 0;
}

static int enumerate(struct two *t)
{
	uint64_t s = t->seed, n = hostrecord_len(t->kept.rec);
	uint8_t *have = malloc(t->sectors * 512);
	int rc = 0;

	if (!have)
		abort();
	for (uint64_t i = 0; i < n && !rc; i++) {
		struct hostrecord_entry e;

		hostrecord_get(t->kept.rec, i, &e);
		/* most is pending when an F begins; and the image's own
		 * changes are what must not come too early */
		if (e.op == HOSTRECORD_SYNC_BEGIN || e.file == OVERLAY)
			rc = judge(t, i, &s, have);
		kept_advance(&t->kept, &e);
	}
	if (!rc)
		rc = judge(t, n, &s, have);
	free(have);
	return rc;
}

int twofile_check(struct workload_run *r, unsigned config, uint64_t seed)
{
	struct two t = { .r = r, .config = config, .seed = seed };
	int rc;

	r->text[0] = '\0';
	start(&t);
	rc = run(&t);
	if (!rc)
		rc = enumerate(&t);
	end(&t);
	return rc;
}
