#include "history.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"
#include "core/admin/check.h"
#include "tests/compat/combo.h"

#define LUKS_ITER_TIME "10"
#define SECRET "correct horse"

uint64_t history_random(struct history *h, uint64_t below)
{
	return combo_random(&h->rnd) % below;
}

static bool chance(struct history *h, unsigned percent)
{
	return history_random(h, 100) < percent;
}

const char *history_text(const struct history_kind *k, char buf[240])
{
	static const char *const backing[] = {"no", "raw", "qcow2", "shorter",
					      "longer"};
	static const char *const data[] = {"no", "yes", "raw"};
	static const char *const crypt[] = {"no", "luks", "aes"};

	snprintf(buf, 240,
		 "v%u cluster %u refcount %u extended_l2 %d %s backing %s data "
		 "file %s encryption %s compressed %d lazy %d",
		 k->version, 1u << k->cluster_bits, k->refcount_bits,
		 k->extended_l2, k->zstd ? "zstd" : "zlib", backing[k->backing],
		 data[k->data_file], crypt[k->crypt], k->compressed, k->lazy);
	return buf;
}

/* What version 3 has and version 2 has not. */
static void draw_v3(struct history *h)
{
	struct history_kind *k = &h->kind;

	k->refcount_bits = 1u << history_random(h, 7);
	k->zstd = chance(h, 40);
	k->lazy = chance(h, 15);
	k->bitmap = chance(h, 25);
	k->extended_l2 = k->cluster_bits >= 14 && chance(h, 50);
	if (chance(h, 20))
		k->data_file = chance(h, 50) ? HISTORY_DATA_FILE
					     : HISTORY_DATA_FILE_RAW;
}

/* Not everything goes with everything: the format's rules. */
static void reconcile(struct history_kind *k)
{
	if (k->data_file) {
		k->compressed = false;
		k->crypt = k->data_file == HISTORY_DATA_FILE_RAW
				   ? HISTORY_CRYPT_NONE
				   : k->crypt;
	}
	if (k->data_file == HISTORY_DATA_FILE_RAW)
		k->backing = HISTORY_BACKING_NONE;
	if (k->crypt)
		k->compressed = false;
	/* streams share clusters, and snapshots share them again */
	if (k->compressed && k->refcount_bits < 16)
		k->refcount_bits = 16;
}

static uint64_t draw_size(struct history *h)
{
	uint64_t size = (uint64_t)60 << h->kind.cluster_bits;

	size = NUM_MAX(size, UINT64_C(768) << 10);
	size = NUM_MIN(size, UINT64_C(9) << 20);
	return size - history_random(h, 20) * 512;
}

void history_draw(struct history *h, uint64_t i)
{
	static const unsigned bits[] = {9, 10, 12, 14, 16, 16, 17, 21};
	struct history_kind *k = &h->kind;

	h->rnd = i * UINT64_C(0x5851f42d4c957f2d) + 1;
	*k = (struct history_kind){.version = 3, .refcount_bits = 16};
	k->cluster_bits =
		bits[history_random(h, sizeof(bits) / sizeof(bits[0]))];
	k->backing =
		chance(h, 50) ? HISTORY_BACKING_NONE : 1 + history_random(h, 4);
	k->compressed = chance(h, 30);
	if (chance(h, 18))
		k->crypt =
			chance(h, 25) ? HISTORY_CRYPT_AES : HISTORY_CRYPT_LUKS;
	if (chance(h, 15))
		k->version = 2;
	else
		draw_v3(h);
	reconcile(k);
	h->size = draw_size(h);
}

/* --- making one
 * ---------------------------------------------------------------- */

/* Some pieces of data among zeroes. */
static void fill_pieces(struct history *h, unsigned char *p, uint64_t size)
{
	memset(p, 0, size);
	for (int i = 0; i < 6; i++) {
		uint64_t off = history_random(h, size);
		uint64_t len = 1 + history_random(h, size / 10);

		combo_fill(p + off, NUM_MIN(len, size - off),
			   history_random(h, UINT64_MAX));
	}
}

static int make_backing(struct history *h)
{
	uint64_t size = h->size;
	int r = 0;

	if (h->kind.backing == HISTORY_BACKING_SHORTER)
		size = num_round_up(size / 2, 512) + 512;
	if (h->kind.backing == HISTORY_BACKING_LONGER)
		size = num_round_up(size + size / 3, 512);
	fill_pieces(h, h->buf, size);
	memset(h->disk, 0, h->size);
	memcpy(h->disk, h->buf, NUM_MIN(size, h->size));
	combo_save("back", h->buf, size);
	if (h->kind.backing == HISTORY_BACKING_QCOW2 ||
	    h->kind.backing == HISTORY_BACKING_SHORTER) {
		r = combo_run("qemu-img", "convert", "-f", "raw", "-O", "qcow2",
			      "-o", "cluster_size=4096", "back", "back.qcow2",
			      NULL);
		rename("back.qcow2", "back");
	}
	return r;
}

static const char *backing_format(const struct history *h)
{
	return h->kind.backing == HISTORY_BACKING_QCOW2 ||
			       h->kind.backing == HISTORY_BACKING_SHORTER
		       ? "qcow2"
		       : "raw";
}

struct text {
	char s[400];
	size_t n;
};

static void add(struct text *t, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static void add(struct text *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	t->n += (size_t)vsnprintf(t->s + t->n, sizeof(t->s) - t->n, fmt, ap);
	va_end(ap);
}

static void make_options(const struct history *h, struct text *t, bool qemu)
{
	const struct history_kind *k = &h->kind;

	add(t, "compat=%s,cluster_size=%u", k->version == 2 ? "0.10" : "1.1",
	    1u << k->cluster_bits);
	if (k->version == 3)
		add(t, ",refcount_bits=%u,lazy_refcounts=%s", k->refcount_bits,
		    k->lazy ? "on" : "off");
	if (k->extended_l2)
		add(t, ",extended_l2=on");
	if (k->zstd)
		add(t, ",compression_type=zstd");
	if (k->data_file)
		add(t, ",data_file=data%s",
		    k->data_file == HISTORY_DATA_FILE_RAW ? ",data_file_raw=on"
							  : "");
	if (k->backing)
		add(t, ",backing_file=back,backing_fmt=%s", backing_format(h));
	if (k->crypt == HISTORY_CRYPT_LUKS)
		add(t,
		    ",encrypt.format=luks,encrypt.iter-time=" LUKS_ITER_TIME);
	if (k->crypt == HISTORY_CRYPT_AES)
		add(t, ",encrypt.format=aes");
	if (k->crypt && qemu)
		add(t, ",encrypt.key-secret=s");
}

/* QEMU measures its key derivation for LUKS, and gives up on a busy machine. */
static int create_by_qemu(const struct history *h, const char *options,
			  const char *size)
{
	unsigned tries = h->kind.crypt == HISTORY_CRYPT_LUKS ? 10 : 1;
	int r;

	do {
		r = combo_run("qemu-img", "create", "-q", "-f", "qcow2",
			      "--object", "secret,id=s,data=" SECRET, "-o",
			      options, "img", size, NULL);
	} while (r && --tries && !unlink("img"));
	return r;
}

static int create(struct history *h)
{
	const char *rawcow = getenv("RAWCOW");
	/* legacy AES is nothing that rawcow makes; with LUKS it takes QEMU two
	 * seconds */
	bool qemu = h->kind.crypt == HISTORY_CRYPT_AES ||
		    chance(h, h->kind.crypt == HISTORY_CRYPT_LUKS ? 2 : 50);
	struct text t = {.n = 0};
	char size[32];

	make_options(h, &t, qemu);
	snprintf(size, sizeof(size), "%" PRIu64, h->size);
	if (qemu)
		return create_by_qemu(h, t.s, size);
	if (h->kind.crypt)
		return combo_run(rawcow, "create", "-q", "--key-file", "key",
				 "-o", t.s, "img", size, NULL);
	return combo_run(rawcow, "create", "-q", "-o", t.s, "img", size, NULL);
}

/* Compressed clusters here and there. */
static int put_compressed(struct history *h)
{
	uint64_t cs = UINT64_C(1) << h->kind.cluster_bits;
	char cmd[3][64];
	const char *args[] = {"-c", cmd[0], "-c", cmd[1], "-c", cmd[2], NULL};

	for (int i = 0; i < 3; i++) {
		/* QEMU compresses only what is not allocated */
		uint64_t third = h->size / cs / 3;
		uint64_t off =
			((uint64_t)i * third + history_random(h, third)) * cs;
		uint64_t n = cs;
		int byte = (int)(1 + history_random(h, 255));

		snprintf(cmd[i], sizeof(cmd[i]),
			 "write -c -P %d %" PRIu64 " %" PRIu64, byte, off, n);
		memset(h->disk + off, byte, n);
	}
	return history_qemu(h, "qemu-io", args, NULL);
}

static int put_bitmap(struct history *h)
{
	struct history_bitmap *b = &h->bitmap;
	char bits[16];
	const char *args[] = {"bitmap", "--add", "--enable", "-g", bits, NULL};

	b->there = b->enabled = true;
	b->granularity = 512u << history_random(h, 9);
	b->granule = calloc(1, HISTORY_MAX / 512);
	if (!b->granule)
		return -1;
	snprintf(bits, sizeof(bits), "%u", b->granularity);
	return history_qemu(h, "qemu-img", args, "map");
}

static int make_key(struct history *h)
{
	struct err err = {""};

	combo_save("key", SECRET, strlen(SECRET));
	chmod("key", 0600);
	if (!secret_from_file(&h->key, "key", &err))
		return 0;
	fprintf(stderr, "rawcow: %s\n", err.text);
	return -1;
}

int history_make(struct history *h)
{
	static const char *const files[] = {"img", "back", "data"};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		unlink(files[i]);
	h->disk = calloc(1, HISTORY_MAX);
	h->buf = malloc(HISTORY_MAX);
	if (!h->disk || !h->buf)
		return -1;
	if (h->kind.crypt && make_key(h))
		return -1;
	if (h->kind.backing && make_backing(h))
		return -1;
	if (create(h) || (h->kind.compressed && put_compressed(h)) ||
	    (h->kind.bitmap && put_bitmap(h))) {
		combo_show();
		return -1;
	}
	return 0;
}

void history_fini(struct history *h)
{
	if (h->img)
		image_abandon(h->img);
	secret_free(h->key);
	for (int i = 0; i < HISTORY_SNAPS; i++)
		free(h->snap[i].content);
	free(h->bitmap.granule);
	free(h->disk);
	free(h->buf);
}

static void set_granules(struct history *h, uint64_t off, uint64_t len,
			 enum history_dirty what)
{
	const struct history_bitmap *b = &h->bitmap;

	if (!b->there || !b->enabled || !len)
		return;
	for (uint64_t g = off / b->granularity;
	     g <= (off + len - 1) / b->granularity; g++)
		if (what != HISTORY_EITHER || b->granule[g] == HISTORY_CLEAN)
			b->granule[g] = (uint8_t)what;
}

void history_touched(struct history *h, uint64_t off, uint64_t len)
{
	set_granules(h, off, len, HISTORY_DIRTY);
}

void history_resized(struct history *h, uint64_t old)
{
	struct history_bitmap *b = &h->bitmap;
	uint64_t end;

	if (!b->there)
		return;
	if (h->size > old) {
		set_granules(h, old, h->size - old, HISTORY_EITHER);
		return;
	}
	end = num_div_ceil(h->size, b->granularity);
	memset(b->granule + end, 0, HISTORY_MAX / 512 - end);
	/* the rest of the last granule was cleared, or its cluster freed */
	set_granules(h, h->size - 1, 1, HISTORY_EITHER);
}

/* --- the two programs -------------------------------------------------------
 */

int history_open(struct history *h, bool write)
{
	struct image_opts opts = {.readonly = !write, .key = h->key};
	struct err err = {""};

	if (chance(h, 30)) {
		opts.l2_cache_size = 1;
		opts.refcount_cache_size = 1;
		opts.cluster_cache_size = 1;
	}
	if (write && !h->kind.crypt && !h->kind.data_file && chance(h, 30) &&
	    h->kind.refcount_bits >= 16)
		opts.compress = IMAGE_COMPRESS_ON;
	if (write && chance(h, 20))
		opts.detect_zeroes = IMAGE_DETECT_UNMAP;
	if (image_open(&h->img, "img", &opts, &err)) {
		h->img = NULL;
		fprintf(stderr, "rawcow: %s\n", err.text);
		return -1;
	}
	if (image_size(h->img) == h->size)
		return 0;
	fprintf(stderr,
		"rawcow: the disk has %" PRIu64 " bytes, not %" PRIu64 "\n",
		image_size(h->img), h->size);
	return -1;
}

int history_close(struct history *h)
{
	int r = image_close(h->img);

	h->img = NULL;
	if (r)
		fprintf(stderr, "rawcow: close: %s\n", strerror(-r));
	return r ? -1 : 0;
}

int history_qemu(struct history *h, const char *prog, const char *const args[],
		 const char *last)
{
	static const char *const format[] = {"", ",encrypt.format=luks",
					     ",encrypt.format=aes"};
	char opts[200];
	const char *argv[24] = {prog};
	int n = 1;

	/* a sub-command of qemu-img comes first */
	if (args[0] && args[0][0] != '-')
		argv[n++] = *args++;
	if (h->kind.crypt) {
		argv[n++] = "--object";
		argv[n++] = "secret,id=s,data=" SECRET;
	}
	snprintf(opts, sizeof(opts),
		 "driver=qcow2,discard=unmap,file.filename=img%s%s",
		 format[h->kind.crypt],
		 h->kind.crypt ? ",encrypt.key-secret=s" : "");
	argv[n++] = "--image-opts";
	while (*args)
		argv[n++] = *args++;
	argv[n++] = opts;
	if (last)
		argv[n++] = last;
	argv[n] = NULL;
	if (combo_runv(argv) == 0)
		return 0;
	fprintf(stderr, "failed:");
	for (int i = 0; argv[i]; i++)
		fprintf(stderr, " '%s'", argv[i]);
	fprintf(stderr, "\n");
	combo_show();
	return -1;
}

/* --- verdicts
 * ------------------------------------------------------------------ */

static int differs(const char *who, const unsigned char *have,
		   const unsigned char *want, uint64_t size)
{
	if (!memcmp(have, want, size))
		return 0;
	for (uint64_t i = 0; i < size; i++)
		if (have[i] != want[i]) {
			fprintf(stderr,
				"%s reads %#x at %#" PRIx64 ", not %#x\n", who,
				have[i], i, want[i]);
			return -1;
		}
	return 0;
}

static int see_granules(void *arg, uint64_t start, uint64_t len, bool dirty)
{
	const struct history *h = arg;
	const struct history_bitmap *b = &h->bitmap;

	for (uint64_t g = start / b->granularity;
	     g < num_div_ceil(start + len, b->granularity); g++)
		if (b->granule[g] != HISTORY_EITHER &&
		    dirty != (b->granule[g] == HISTORY_DIRTY)) {
			fprintf(stderr, "the bitmap has %#" PRIx64 " %s\n",
				g * b->granularity, dirty ? "dirty" : "clean");
			return -EUCLEAN;
		}
	return 0;
}

static int bitmap_content(struct history *h)
{
	struct err err = {""};
	int r;

	if (!h->bitmap.there)
		return 0;
	r = image_bitmap_extents(h->img, "map", see_granules, h, &err);
	if (r && err.text[0])
		fprintf(stderr, "rawcow: bitmap: %s\n", err.text);
	return r;
}

static int own_content(struct history *h)
{
	int r;

	if (history_open(h, false))
		return -1;
	r = image_read(h->img, h->buf, h->size, 0);
	if (r)
		fprintf(stderr, "rawcow: read: %s\n", strerror(-r));
	else
		r = differs("rawcow", h->buf, h->disk, h->size);
	if (r == 0)
		r = bitmap_content(h);
	return history_close(h) || r ? -1 : 0;
}

static int file_differs(const char *who, const char *path,
			const unsigned char *want, uint64_t size)
{
	unsigned char *have = combo_load(path, size);
	int r = differs(who, have, want, size);

	free(have);
	return r;
}

static int qemu_content(struct history *h)
{
	const char *args[] = {"convert", "-O", "raw", NULL};

	if (history_qemu(h, "qemu-img", args, "out.raw"))
		return -1;
	return file_differs("QEMU", "out.raw", h->disk, h->size);
}

static void print_problem(void *arg, const struct problem *p)
{
	(void)arg;
	fprintf(stderr, "  %s at %#" PRIx64 ": %s\n", problem_name(p->code),
		p->hoff, p->text);
}

static int own_check(void)
{
	struct check_opts opts = {.report = print_problem};
	struct check_result res = {0};
	struct hostfile *f = NULL;
	struct err err = {""};
	int r = hostfile_open(&f, AT_FDCWD, "img", 0, &err);

	if (r == 0)
		r = check_image(f, &opts, &res, &err);
	hostfile_close(f);
	if (r)
		fprintf(stderr, "rawcow check: %s\n", err.text);
	if (res.corruptions || res.leaks || res.check_errors)
		r = -EUCLEAN;
	return r ? -1 : 0;
}

static int snapshot_content(struct history *h, const struct history_snap *s)
{
	struct image_opts opts = {
		.readonly = true, .snapshot = s->name, .key = h->key};
	struct err err = {""};
	struct image *img;
	int r = image_open(&img, "img", &opts, &err);

	if (r) {
		fprintf(stderr, "snapshot %s: %s\n", s->name, err.text);
		return -1;
	}
	if (image_size(img) != s->size) {
		fprintf(stderr, "snapshot %s has %" PRIu64 " bytes\n", s->name,
			image_size(img));
		r = -1;
	} else {
		r = image_read(img, h->buf, s->size, 0);
		if (r == 0)
			r = differs(s->name, h->buf, s->content, s->size);
	}
	image_close(img);
	return r ? -1 : 0;
}

static int qemu_snapshot(struct history *h, const struct history_snap *s)
{
	char name[40];
	const char *args[] = {"convert", "-l", name, "-O", "raw", NULL};

	snprintf(name, sizeof(name), "snapshot.name=%s", s->name);
	if (history_qemu(h, "qemu-img", args, "out.raw"))
		return -1;
	/* it reads a snapshot with the size that the disk has now */
	return file_differs("QEMU (snapshot)", "out.raw", s->content,
			    NUM_MIN(s->size, h->size));
}

int history_verify(struct history *h, bool qemu_wrote, bool all)
{
	const char *check[] = {"check", "-q", NULL};

	if (own_check() || own_content(h) ||
	    history_qemu(h, "qemu-img", check, NULL))
		return -1;
	if ((!qemu_wrote || all) && qemu_content(h))
		return -1;
	for (int i = 0; all && i < HISTORY_SNAPS; i++) {
		const struct history_snap *s = &h->snap[i];

		if (s->name[0] &&
		    (snapshot_content(h, s) || qemu_snapshot(h, s)))
			return -1;
	}
	return 0;
}
