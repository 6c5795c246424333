#include "inplace.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checker.h"
#include "core/admin/amend.h"
#include "core/admin/rebase.h"
#include "core/image/image.h"
#include "kept.h"

#define UNKNOWN_EXT 0x52435457U
#define NAMES_EXT 0x6803f857U
#define FORMAT_EXT 0xe2792acaU
#define BASE_SECTORS 200

#define MIX "dc.dzcd.ddccazd."
#define LONG_NAME "a-name/that-is/longer-than/the-one/that-was-there/before.raw"

static const struct {
	struct imgmake m;
	bool names;	     /* a table of feature names, over sector 0's end */
	const char *old_name, *old_format;
	/* rebase, when not NULL; "" is none */
	const char *name, *format;
	struct amend_opts amend;
} cases[INPLACE_CASES] = {
	{ { .version = 3, .cluster_bits = 12, .refcount_order = 4,
	    .clusters = 64, .preset = MIX }, true, "old.raw", "raw",
	  LONG_NAME, "qcow2", { 0 } },
	{ { .version = 3, .cluster_bits = 12, .refcount_order = 4,
	    .clusters = 64, .preset = MIX }, true, NULL, NULL,
	  LONG_NAME, "raw", { 0 } },
	{ { .version = 2, .cluster_bits = 9, .refcount_order = 4,
	    .clusters = 160, .preset = MIX }, false, "old.raw", "raw",
	  LONG_NAME, "qcow2", { 0 } },
	{ { .version = 3, .cluster_bits = 12, .refcount_order = 4,
	    .clusters = 64, .preset = MIX }, true, LONG_NAME, NULL,
	  "", NULL, { 0 } },
	{ { .version = 3, .cluster_bits = 9, .refcount_order = 4,
	    .clusters = 160, .preset = MIX, .snapshot = true }, false,
	  NULL, NULL, NULL, NULL, { .refcount_bits = 64 } },
	{ { .version = 3, .cluster_bits = 9, .refcount_order = 6,
	    .clusters = 160, .preset = MIX, .pad_to = 48 << 9 }, false,
	  NULL, NULL, NULL, NULL,
	  { .refcount_bits = 4, .lazy_refcounts = AMEND_ON } },
	{ { .version = 3, .cluster_bits = 9, .refcount_order = 4,
	    .clusters = 160, .preset = MIX }, false, NULL, NULL, NULL, NULL,
	  { .version = 2 } },
	{ { .version = 2, .cluster_bits = 12, .refcount_order = 4,
	    .clusters = 64, .preset = MIX }, false, "old.raw", "raw",
	  NULL, NULL, { .version = 3, .refcount_bits = 8 } },
	{ { .version = 3, .cluster_bits = 12, .refcount_order = 4,
	    .clusters = 64, .preset = MIX }, true, IMGMAKE_BACKING_NAME,
	  "raw", NULL, NULL, { .version = 2 } },
};

struct job {
	struct workload_run *r;
	unsigned which;
	uint64_t seed, sectors;
	struct kept kept;
	uint8_t *base; /* BASE_SECTORS, what is behind */
	uint8_t *want, *have;
	struct checker check;
};

static int say(struct job *j, const char *what, uint64_t at)
{
	snprintf(j->r->text, sizeof(j->r->text),
		 "in place, case %u, seed %" PRIu64 ", log entry %" PRIu64
		 ": %.200s", j->which, j->seed, at, what);
	j->r->fault = ENUMERATE_CORRUPT;
	return -1;
}

static uint32_t rd32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
	       (uint32_t)p[2] << 8 | p[3];
}

static void wr32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* --- the header, by the specification ---------------------------------------------- */

static uint8_t *add(uint8_t *p, uint32_t type, const void *data, uint32_t len)
{
	wr32(p, type);
	wr32(p + 4, len);
	memset(p + 8, 0, (len + 7) / 8 * 8);
	memcpy(p + 8, data, len);
	return p + 8 + (len + 7) / 8 * 8;
}

static void make_header(const struct job *j, uint8_t *img)
{
	const char *name = cases[j->which].old_name;
	const char *format = cases[j->which].old_format;
	uint8_t *p = img + (cases[j->which].m.version == 2 ? 72 : 112);
	uint8_t names[8 * 48];

	memset(p, 0, (1U << cases[j->which].m.cluster_bits) -
			     (size_t)(p - img));
	p = add(p, UNKNOWN_EXT, "kept", 5);
	if (format)
		p = add(p, FORMAT_EXT, format, (uint32_t)strlen(format));
	memset(names, 'n', sizeof(names));
	if (cases[j->which].names)
		p = add(p, NAMES_EXT, names, sizeof(names));
	p = add(p, 0, "", 0);
	if (!name)
		return;
	memcpy(p, name, strlen(name));
	wr32(img + 8, 0);
	wr32(img + 12, (uint32_t)(p - img));
	wr32(img + 16, (uint32_t)strlen(name));
}

static bool is(const uint8_t *p, uint32_t len, const char *text)
{
	return text && len == strlen(text) && !memcmp(p, text, len);
}

/* Is it the backing file before or after? */
static bool is_backing(const struct job *j, bool after, const uint8_t *img,
		       const uint8_t *fmt, uint32_t fmt_len)
{
	const char *name = cases[j->which].old_name;
	const char *format = cases[j->which].old_format;
	uint32_t off = rd32(img + 12), len = rd32(img + 16);

	if (after && cases[j->which].name) {
		name = *cases[j->which].name ? cases[j->which].name : NULL;
		format = name ? cases[j->which].format : NULL;
	}
	if (!name)
		return (!off || !len) && !fmt;
	return off && is(img + off, len, name) &&
	       (format ? fmt && is(fmt, fmt_len, format) : !fmt);
}

static int check_header(struct job *j, const uint8_t *img, uint64_t at)
{
	uint32_t pos = rd32(img + 4) == 2 ? 72 : rd32(img + 100);
	uint32_t cs = 1U << rd32(img + 20), fmt_len = 0;
	const uint8_t *fmt = NULL;
	bool kept = false;

	while (pos + 8 <= cs && rd32(img + pos)) {
		uint32_t len = rd32(img + pos + 4);

		if (len > cs - pos - 8)
			return say(j, "an extension leaves the cluster", at);
		if (rd32(img + pos) == UNKNOWN_EXT)
			kept = is(img + pos + 8, len - 1, "kept");
		if (rd32(img + pos) == FORMAT_EXT) {
			fmt = img + pos + 8;
			fmt_len = len;
		}
		if (rd32(img + pos) == NAMES_EXT &&
		    (img[pos + 8] != 'n' || img[pos + 7 + len] != 'n'))
			return say(j, "the names of features are torn", at);
		pos += 8 + (len + 7) / 8 * 8;
	}
	if (!kept)
		return say(j, "the unknown extension is gone", at);
	if (rd32(img + 12) && rd32(img + 16) && rd32(img + 12) < pos + 8)
		return say(j, "the name overlaps the extensions", at);
	if (!is_backing(j, false, img, fmt, fmt_len) &&
	    !is_backing(j, true, img, fmt, fmt_len))
		return say(j, "neither the old backing file nor the new", at);
	return 0;
}

/* --- the whole image ------------------------------------------------------------------ */

static int show(struct job *j, struct hostmem *m, uint8_t *out, uint64_t at)
{
	uint64_t len = hostmem_size(m);
	uint8_t *img = malloc(len + 1);
	int rc;

	if (!img)
		abort();
	hostmem_read(m, img, len, 0);
	rc = checker_run_deep(&j->check, img, len);
	if (rc)
		say(j, j->check.text, at);
	if (!rc)
		rc = check_header(j, img, at);
	for (uint64_t s = 0; s < j->sectors && !rc; s++)
		if (!checker_read(&j->check, img, len, 0, s, out + s * 512) &&
		    s < BASE_SECTORS && cases[j->which].old_name)
			memcpy(out + s * 512, j->base + s * 512, 512);
	free(img);
	return rc;
}

static int judge(struct job *j, uint64_t at, uint64_t *s)
{
	/* many throws: few sectors are pending at a time */
	for (unsigned i = 0; i < 12; i++) {
		struct hostmem *m = kept_state(&j->kept, 0,
					       i < KEPT_SOME ?
						       (enum kept_what)i :
						       KEPT_SOME,
					       at, s);
		int rc = show(j, m, j->have, at);

		j->r->stats.states++;
		hostmem_free(m);
		if (rc)
			return -1;
		if (memcmp(j->have, j->want, j->sectors * 512))
			return say(j, "the disk shows something else", at);
	}
	return 0;
}

static int enumerate(struct job *j)
{
	uint64_t s = j->seed, n = hostrecord_len(j->kept.rec);
	int rc = 0;

	for (uint64_t i = 0; i < n && !rc; i++) {
		struct hostrecord_entry e;

		hostrecord_get(j->kept.rec, i, &e);
		rc = judge(j, i, &s);
		kept_advance(&j->kept, &e);
	}
	return rc ? rc : judge(j, n, &s);
}

static void start(struct job *j)
{
	struct imgmake_out out;
	char name[96];
	FILE *f;

	imgmake_build(&cases[j->which].m, &out);
	make_header(j, out.img);
	j->sectors = out.sectors;
	j->kept.rec = hostrecord_new();
	j->kept.stable[0] = hostmem_new();
	j->want = malloc(j->sectors * 512);
	j->have = malloc(j->sectors * 512);
	j->base = calloc(BASE_SECTORS, 512);
	checker_init(&j->check);
	if (!j->kept.rec || !j->kept.stable[0] || !j->want || !j->have ||
	    !j->base || hostmem_write(j->kept.stable[0], out.img, out.len, 0))
		abort();
	imgmake_free(&out);
	snprintf(name, sizeof(name), "%s/%s", j->r->dir, IMGMAKE_BACKING_NAME);
	f = fopen(name, "rb");
	if (!f || fread(j->base, 512, BASE_SECTORS, f) != BASE_SECTORS)
		abort();
	fclose(f);
	memset(j->have, 0, j->sectors * 512);
	if (show(j, j->kept.stable[0], j->want, 0))
		abort();
}

static void end(struct job *j)
{
	hostrecord_free(j->kept.rec);
	hostmem_free(j->kept.stable[0]);
	checker_fini(&j->check);
	free(j->base);
	free(j->want);
	free(j->have);
}

static int run(struct job *j)
{
	const char *name = cases[j->which].name;
	char base[96];
	struct image_opts opts = { .no_lock = true,
				   .no_backing = !cases[j->which].old_name ||
						 name };
	struct hostmem *m = hostmem_clone(j->kept.stable[0]);
	struct hostfile *f;
	struct image *img;
	struct err err = { "" };
	int rc;

	snprintf(base, sizeof(base), "%s/%s", j->r->dir, IMGMAKE_BACKING_NAME);
	if (!opts.no_backing) {
		opts.backing_file = base;
		opts.backing_format = "raw";
	}
	if (!m || hostmem_open(&f, m, true) ||
	    hostrecord_wrap(j->kept.rec, &f, f))
		abort();
	if (image_open_file(&img, f, &opts, &err))
		return say(j, err.text, 0);
	if (name)
		rc = rebase_image(img, *name ? name : NULL,
				  cases[j->which].format, &err);
	else
		rc = amend_image(img, &cases[j->which].amend, &err);
	if (image_close(img) || rc)
		rc = say(j, err.text, 0);
	if (!rc && show(j, m, j->have, 0))
		rc = -1;
	hostmem_free(m);
	return rc;
}

int inplace_check(struct workload_run *r, unsigned which, uint64_t seed)
{
	struct job j = { .r = r, .which = which, .seed = seed };
	int rc;

	r->text[0] = '\0';
	start(&j);
	rc = run(&j);
	if (!rc)
		rc = enumerate(&j);
	end(&j);
	return rc;
}
