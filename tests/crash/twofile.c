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

#define OVERLAY_DATA_NAME "over.data"

/* The two images, and the data file of each. */
enum { OVERLAY, BASE, IMAGES, OVERLAY_DATA = IMAGES, BASE_DATA, FILES };
_Static_assert(FILES == KEPT_FILES, "as many");

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
	{ { .version = 3, .cluster_bits = 9, .refcount_order = 4,
	    .clusters = 160, .preset = "dd.dzdd.dddadzd.ddd..zzz",
	    .backing_sectors = 100, .data_file = true }, { 0 }, 100 },
	{ { .version = 3, .cluster_bits = 12, .refcount_order = 4,
	    .clusters = 40, .preset = "dd.dzdd.da.z", .backing_sectors = 1,
	    .data_file = true },
	  { .version = 3, .cluster_bits = 9, .refcount_order = 4,
	    .clusters = 130, .preset = "ddc.zacdd.dd.ddd" }, 0 },
	{ { .version = 3, .cluster_bits = 9, .refcount_order = 4,
	    .clusters = 160, .preset = "dc.dzcd.ddccazd.ddd..zzz",
	    .backing_sectors = 1 },
	  { .version = 3, .cluster_bits = 9, .refcount_order = 4,
	    .clusters = 130, .preset = "dd.zadd.ddd", .data_file = true }, 0 },
	{ { .version = 3, .cluster_bits = 12, .refcount_order = 4,
	    .clusters = 40, .preset = "dd.dzdd.da.z", .backing_sectors = 1,
	    .data_file = true },
	  { .version = 3, .cluster_bits = 12, .refcount_order = 4,
	    .clusters = 30, .preset = "dd.z.ddd", .data_file = true,
	    .data_raw = true }, 0 },
};

struct two {
	struct workload_run *r;
	unsigned config;
	uint64_t seed, sectors;
	char path[FILES][96]; /* while the commit runs; the overlay has none */
	struct kept kept;
	uint8_t *want; /* the disk */
	struct checker check[IMAGES];
};

static const struct imgmake *make_of(const struct two *t, unsigned image)
{
	return image == OVERLAY ? &configs[t->config].overlay :
				  &configs[t->config].base;
}

static bool has(const struct two *t, unsigned file)
{
	if (file < IMAGES)
		return true;
	return make_of(t, file - IMAGES)->data_file;
}

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

/* The disk may have got larger, and the file not yet. */
static uint64_t data_room(const struct two *t, uint64_t len)
{
	uint64_t disk = t->sectors * 512;

	for (unsigned f = 0; f < IMAGES; f++) {
		const struct imgmake *m = make_of(t, f);

		if (m->clusters << m->cluster_bits > disk)
			disk = m->clusters << m->cluster_bits;
	}
	return len > disk ? len : disk;
}

/* Image I and, behind it, its data file, as the checker wants them. *LEN: of
 * the image. */
static uint8_t *bytes_of(struct two *t, struct hostmem *const file[FILES],
			 unsigned i, uint64_t *len)
{
	struct hostmem *data = has(t, IMAGES + i) ? file[IMAGES + i] : NULL;
	uint64_t n = data ? hostmem_size(data) : 0, at;
	uint8_t *p;

	*len = hostmem_size(file[i]);
	at = (*len >> 16 << 16) + (1 << 16);
	p = calloc(1, at + data_room(t, n));
	if (!p)
		abort();
	hostmem_read(file[i], p, *len, 0);
	if (data)
		hostmem_read(data, p + at, n, 0);
	t->check[i].data_base = data ? at : 0;
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

/* Is there all of a raw data file? Then it is the disk by itself. */
static int check_raw(struct two *t, struct hostmem *const file[FILES])
{
	struct checker *c = &t->check[BASE];

	if (!configs[t->config].base.data_raw ||
	    hostmem_size(file[BASE_DATA]) >= c->h.size)
		return 0;
	snprintf(c->text, sizeof(c->text), "the raw data file is too short");
	return -1;
}

/* Fill OUT with the disk that FILE[] show; -1 when one is corrupt. */
static int show(struct two *t, struct hostmem *const file[FILES], uint8_t *out)
{
	bool qcow2 = configs[t->config].base.clusters;
	uint64_t len[IMAGES];
	uint8_t *img[IMAGES];
	int rc;

	for (unsigned f = 0; f < IMAGES; f++)
		img[f] = bytes_of(t, file, f, &len[f]);
	rc = checker_run_deep(&t->check[OVERLAY], img[OVERLAY], len[OVERLAY]);
	if (!rc && qcow2)
		rc = checker_run_deep(&t->check[BASE], img[BASE], len[BASE]);
	if (!rc)
		rc = check_raw(t, file);
	for (uint64_t s = 0; s < t->sectors && !rc; s++)
		if (!checker_read(&t->check[OVERLAY], img[OVERLAY],
				  len[OVERLAY], 0, s, out + s * 512))
			base_sector(t, img[BASE], len[BASE], s, out + s * 512);
	free(img[OVERLAY]);
	free(img[BASE]);
	return rc;
}

/* --- the start ------------------------------------------------------------------- */

static void load(struct two *t, unsigned i)
{
	const struct imgmake *make = make_of(t, i);
	struct imgmake_out out;

	imgmake_build(make, &out);
	if (hostmem_write(t->kept.stable[i], out.img, out.len, 0) ||
	    (out.data &&
	     hostmem_write(t->kept.stable[IMAGES + i], out.data,
			   make->clusters << make->cluster_bits, 0)))
		abort();
	imgmake_free(&out);
}

/* In the place of the base's data file, which has a name only. */
static int data_in_memory(void *arg, struct hostfile **file)
{
	struct two *t = arg;

	hostfile_close(*file);
	return hostmem_open(file, t->kept.stable[BASE_DATA], true);
}

static void save(struct two *t, unsigned file)
{
	if (has(t, file) &&
	    hostmem_save(t->kept.stable[file], t->path[file]))
		abort();
}

static struct image *open_base(struct two *t)
{
	struct image_opts opts = { .no_lock = true,
				   .wrap = data_in_memory,
				   .wrap_arg = t };
	struct hostfile *f;
	struct image *img;

	load(t, BASE);
	save(t, BASE_DATA);
	if (has(t, BASE_DATA))
		opts.data_file = t->path[BASE_DATA];
	if (hostmem_open(&f, t->kept.stable[BASE], true) ||
	    image_open_file(&img, f, &opts, NULL))
		abort();
	return img;
}

/* Another content than the overlay's everywhere: what is shown tells where it
 * comes from. */
static void fill_base(struct two *t)
{
	uint64_t n = configs[t->config].raw_sectors;
	struct image *img;
	uint8_t buf[512];

	if (!configs[t->config].base.clusters) {
		for (uint64_t i = 0; i < n; i++) {
			memset(buf, (int)(0x80 + i % 100), 512);
			if (hostmem_write(t->kept.stable[BASE], buf, 512,
					  i * 512))
				abort();
		}
		return;
	}
	img = open_base(t);
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
	static const char *const name[FILES] = {
		[BASE] = "base",
		[OVERLAY_DATA] = OVERLAY_DATA_NAME,
		[BASE_DATA] = IMGMAKE_DATA_NAME,
	};
	const struct imgmake *o = &configs[t->config].overlay;

	for (int f = 0; f < FILES; f++) {
		t->kept.stable[f] = hostmem_new();
		if (!t->kept.stable[f])
			abort();
		if (name[f])
			snprintf(t->path[f], sizeof(t->path[f]), "%s/%s",
				 t->r->dir, name[f]);
	}
	for (int f = 0; f < IMAGES; f++)
		checker_init(&t->check[f]);
	load(t, OVERLAY);
	fill_base(t);
	t->sectors = o->clusters << (o->cluster_bits - 9);
	t->want = malloc(t->sectors * 512);
	t->kept.rec = hostrecord_new();
	if (!t->want || !t->kept.rec || show(t, t->kept.stable, t->want))
		abort();
	for (unsigned f = BASE; f < FILES; f++)
		save(t, f);
}

static void end(struct two *t)
{
	for (int f = 0; f < FILES; f++)
		hostmem_free(t->kept.stable[f]);
	for (int f = 0; f < IMAGES; f++)
		checker_fini(&t->check[f]);
	hostrecord_free(t->kept.rec);
	free(t->want);
	unlink(t->path[BASE]);
	unlink(t->path[OVERLAY_DATA]);
}

/* --- the commit -------------------------------------------------------------------- */

static int record(void *arg, struct hostfile **file)
{
	struct two *t = arg;
	unsigned f = BASE;

	if (strstr((*file)->name, OVERLAY_DATA_NAME))
		f = OVERLAY_DATA;
	else if (strstr((*file)->name, IMGMAKE_DATA_NAME))
		f = BASE_DATA;
	return hostrecord_wrap_as(t->kept.rec, file, *file, f);
}

static int run(struct two *t)
{
	bool qcow2 = configs[t->config].base.clusters;
	struct image_opts opts = { .no_lock = true,
				   .backing_file = t->path[BASE],
				   .backing_format = qcow2 ? "qcow2" : "raw",
				   .write_depth = 1,
				   .wrap = record,
				   .wrap_arg = t };
	struct merge_opts merge = { .depth = 1 };
	struct hostmem *m = hostmem_clone(t->kept.stable[OVERLAY]);
	struct hostfile *f;
	struct image *img;
	struct err err = { "" };
	int rc;

	if (has(t, OVERLAY_DATA))
		opts.data_file = t->path[OVERLAY_DATA];
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

static int compare(struct two *t, struct hostmem *const m[FILES], uint64_t at,
		   uint8_t *have)
{
	char what[64];

	if (show(t, m, have))
		return say(t, t->check[OVERLAY].text[0] ?
			   t->check[OVERLAY].text : t->check[BASE].text, at);
	for (uint64_t k = 0; k < t->sectors; k++)
		if (memcmp(have + k * 512, t->want + k * 512, 512)) {
			snprintf(what, sizeof(what),
				 "sector %" PRIu64 " has changed", k);
			return say(t, what, at);
		}
	return 0;
}

/* What the images have kept in all combinations, the data files by chance. */
static int judge(struct two *t, uint64_t at, uint64_t *s, uint8_t *have)
{
	int rc = 0;

	for (int i = 0; i < KEPT_KINDS * KEPT_KINDS && !rc; i++) {
		struct hostmem *m[FILES];

		for (unsigned f = 0; f < FILES; f++) {
			uint64_t what = f == OVERLAY ? (uint64_t)i :
					f == BASE ? (uint64_t)i / KEPT_KINDS :
					has(t, f) ? kept_throw(s) : KEPT_NONE;

			m[f] = kept_state(&t->kept, f,
					  (enum kept_what)(what % KEPT_KINDS),
					  at, s);
		}
		rc = compare(t, m, at, have);
		t->r->stats.states++;
		for (unsigned f = 0; f < FILES; f++)
			hostmem_free(m[f]);
	}
	return rc;
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
		if (e.op == HOSTRECORD_SYNC_BEGIN || e.file == OVERLAY ||
		    e.file == OVERLAY_DATA)
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
