/*
 * test_bitmap: persistent bitmaps of an open image. Every layout of the header
 * gets and loses them; random writes, from several threads too, are noted
 * exactly; what is not understood stays byte for byte; every host call fails
 * once.
 */
#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/admin/bitmap.h"
#include "core/admin/check.h"
#include "core/admin/resize.h"
#include "core/format/qcow2.h"
#include "core/image/bitmaps.h"
#include "lib/hostfault.h"
#include "lib/hostmem.h"
#include "lib/imgbuild.h"
#include "suite.h"

#define SIZE (1ULL << 20)
#define FILLER 0xf111f111U

static struct hostmem *mem;
static struct hostfault *fault;
static struct image *img;
static struct err err;

static int open_image(struct image_opts opts)
{
	struct hostfile *f, *inner;
	int r;

	opts.no_lock = true;
	opts.no_backing = true;
	err.text[0] = '\0';
	ck_assert_int_eq(hostmem_open(&inner, mem, !opts.readonly), 0);
	ck_assert_int_eq(hostfault_wrap(fault, &f, inner), 0);
	r = image_open_file(&img, f, &opts, &err);
	if (r < 0)
		hostfile_close(f);
	return r;
}

static void open_rw(void)
{
	ck_assert_msg(!open_image((struct image_opts){ 0 }), "%s", err.text);
}

static void open_for_bitmaps(void)
{
	ck_assert_msg(!open_image((struct image_opts){ .defer_bitmaps = true }),
		      "%s", err.text);
}

/* An empty image, with FILL bytes of an unknown extension in its header. */
static void begin(unsigned cluster_bits, unsigned fill, const char *backing)
{
	struct imgbuild_params p = { .cluster_bits = cluster_bits,
				     .size = SIZE };
	unsigned char filler[4096];
	struct hostfile *f;
	struct imgbuild b;

	mem = hostmem_new();
	fault = hostfault_new();
	ck_assert_int_eq(hostmem_open(&f, mem, true), 0);
	imgbuild_init(&b, f, &p);
	memset(filler, 'f', sizeof(filler));
	if (fill)
		imgbuild_ext(&b, FILLER, filler, fill);
	if (backing)
		imgbuild_backing(&b, backing, "raw");
	imgbuild_finish(&b);
	imgbuild_fini(&b);
	hostfile_close(f);
}

static void end(void)
{
	hostfault_free(fault);
	hostmem_free(mem);
}

static void check(uint64_t max_leaks)
{
	struct check_result res;
	struct hostfile *f;

	ck_assert_int_eq(hostmem_open(&f, mem, false), 0);
	ck_assert_int_eq(check_image(f, NULL, &res, &err), 0);
	ck_assert_uint_eq(res.corruptions + res.check_errors, 0);
	ck_assert_uint_le(res.leaks, max_leaks);
	hostfile_close(f);
}

static int add_count(void *arg, const struct image_bitmap *b)
{
	unsigned *n = arg;

	*n += b != NULL;
	return 0;
}

static unsigned count(void)
{
	unsigned n = 0;

	ck_assert_msg(!image_bitmap_list(img, add_count, &n, &err), "%s",
		      err.text);
	return n;
}

static uint64_t peek64(uint64_t off)
{
	uint64_t v;

	hostmem_read(mem, &v, 8, off);
	return be64toh(v);
}

static void poke64(uint64_t off, uint64_t v)
{
	v = htobe64(v);
	ck_assert_int_eq(hostmem_write(mem, &v, 8, off), 0);
}

static uint64_t file_clusters(uint64_t cluster)
{
	return (hostmem_size(mem) + cluster - 1) / cluster;
}

/* All clusters of a file with one block of one-bit counts are taken. */
static void fill_file(uint64_t cluster)
{
	uint64_t block = peek64(peek64(48));

	for (uint64_t i = 0; i < file_clusters(cluster); i++) {
		uint8_t counts;

		hostmem_read(mem, &counts, 1, block + i / 8);
		counts |= (uint8_t)(1 << i % 8);
		ck_assert_int_eq(hostmem_write(mem, &counts, 1, block + i / 8),
				 0);
	}
}

/* --- the header ------------------------------------------------------------ */

static void header(struct header *h, struct headerext_list *ext, uint8_t *buf)
{
	hostmem_read(mem, buf, 4096, 0);
	ck_assert_msg(!header_decode(h, buf, 4096, hostmem_size(mem), &err),
		      "%s", err.text);
	ck_assert_msg(!headerext_decode(ext, h, buf, 4096, &err), "%s",
		      err.text);
}

/* The filler and the name of the backing file are what they were. */
static void others_are_kept(unsigned fill, const char *backing, bool bitmaps)
{
	uint8_t buf[4096];
	struct headerext_list ext;
	const struct headerext *x;
	struct header h;

	header(&h, &ext, buf);
	x = headerext_find(&ext, FILLER);
	ck_assert_int_eq(!x, !fill);
	if (x)
		ck_assert(x->data[0] == 'f' &&
			  !memcmp(x->data, x->data + 1, x->len - 1));
	if (backing) {
		ck_assert_uint_eq(h.backing_size, strlen(backing));
		ck_assert(!memcmp(buf + h.backing_offset, backing,
				  h.backing_size));
	}
	ck_assert_int_eq(headerext_find(&ext, QCOW2_EXT_BITMAPS) != NULL,
			 bitmaps);
	ck_assert_uint_eq(h.autoclear, bitmaps);
}

static void one_layout(unsigned cluster_bits, unsigned fill,
		       const char *backing, bool room)
{
	int r;

	begin(cluster_bits, fill, backing);
	open_for_bitmaps();
	r = bitmap_add(img, "one", 0, &err);
	ck_assert_msg(r == (room ? 0 : -ENOSPC), "bits %u fill %u %s: %s",
		      cluster_bits, fill, backing ? "backing" : "", err.text);
	if (room)
		ck_assert_int_eq(bitmap_add(img, "two", 512, &err), 0);
	ck_assert_int_eq(image_close(img), 0);
	others_are_kept(fill, backing, room);
	check(0);
	if (room) {
		open_rw();
		ck_assert_uint_eq(count(), 2);
		ck_assert_int_eq(image_write(img, "x", 1, 0), 0);
		ck_assert_int_eq(bitmap_remove(img, "one", &err), 0);
		ck_assert_int_eq(image_close(img), 0);
		others_are_kept(fill, backing, true);
		open_for_bitmaps();
		ck_assert_int_eq(bitmap_remove(img, "two", &err), 0);
		ck_assert_int_eq(image_close(img), 0);
		others_are_kept(fill, backing, false);
		check(0);
	}
	end();
}

START_TEST(layouts)
{
	for (unsigned bits = 9; bits <= 12; bits++) {
		size_t cs = 1U << bits;

		for (unsigned fill = 0; fill < cs - 160; fill += 8) {
			size_t used = 112 + (fill ? 8 + fill : 0) + 32 + 8;

			one_layout(bits, fill, NULL, used <= cs);
			/* with a format, a name, and, in several sectors, a
			 * second place for it */
			used += 16 + (bits > 9 ? 2 * 20 : 12);
			if (used <= cs)
				one_layout(bits, fill, "the-name.raw", true);
			if (bits == 12)
				fill += fill < 240 || (fill > 520 && fill < 800) ?
						32 : 0;
		}
	}
}
END_TEST

/* An extension of FILL zeroes, and behind it at once the name: no marker. */
static void begin_unmarked(unsigned cluster_bits, unsigned fill)
{
	struct imgbuild_params p = { .cluster_bits = cluster_bits,
				     .size = SIZE };
	static const unsigned char zeroes[4096];
	struct hostfile *f;
	struct imgbuild b;
	uint64_t at;

	mem = hostmem_new();
	fault = hostfault_new();
	ck_assert_int_eq(hostmem_open(&f, mem, true), 0);
	imgbuild_init(&b, f, &p);
	at = b.ext_end + 8 + fill;
	imgbuild_ext(&b, FILLER, zeroes, fill);
	imgbuild_finish(&b);
	imgbuild_header_set(&b, IMGBUILD_BACKING_OFFSET, at);
	imgbuild_header_set(&b, IMGBUILD_BACKING_LEN, 12);
	ck_assert_int_eq(hostmem_write(mem, "the-name.raw", 12, at), 0);
	imgbuild_fini(&b);
	hostfile_close(f);
}

/* BITMAPS: is there the extension for them; -1: perhaps. */
static void unmarked_is_kept(unsigned fill, int bitmaps)
{
	uint8_t buf[4096];
	struct headerext_list ext;
	const struct headerext *x;
	struct header h;

	header(&h, &ext, buf);
	x = headerext_find(&ext, FILLER);
	ck_assert(x && x->len == fill && !x->data[0] &&
		  !memcmp(x->data, x->data + 1, fill - 1));
	if (bitmaps >= 0)
		ck_assert_uint_eq(ext.n, 1 + (unsigned)bitmaps);
	ck_assert_int_eq(headerext_find(&ext, QCOW2_EXT_BITMAPS) != NULL,
			 ext.n == 2);
	ck_assert(!memcmp(buf + h.backing_offset, "the-name.raw", 12));
	check(bitmaps < 0 ? UINT64_MAX : 0);
}

/* FILL bytes; from 600 on the list ends behind the first sector. */
static void one_unmarked(unsigned cluster_bits, unsigned fill)
{
	bool room = fill < 600;
	int r;

	begin_unmarked(cluster_bits, fill);
	open_for_bitmaps();
	r = bitmap_add(img, "one", 0, &err);
	ck_assert_msg(r == (room ? 0 : -EUCLEAN), "bits %u fill %u: %s",
		      cluster_bits, fill, err.text);
	ck_assert_int_eq(image_close(img), 0);
	unmarked_is_kept(fill, room);
	if (room) {
		open_for_bitmaps();
		ck_assert_int_eq(bitmap_remove(img, "one", &err), 0);
		ck_assert_int_eq(image_close(img), 0);
		unmarked_is_kept(fill, false);
	}
	end();
}

/* Each change fails in turn: what was written until then is a header, too. */
static void faulty_unmarked(unsigned cluster_bits, unsigned fill)
{
	bool hit = true;

	for (uint64_t skip = 0; hit; skip++) {
		struct hostfault_rule rule = {
			HOSTFAULT_CHANGES, HOSTFAULT_ERROR, -EIO, skip, 1
		};

		begin_unmarked(cluster_bits, fill);
		open_for_bitmaps();
		hostfault_set(fault, &rule);
		(void)!bitmap_add(img, "one", 0, &err);
		(void)!image_close(img);
		hit = hostfault_hits(fault) > 0;
		hostfault_set(fault, NULL);
		unmarked_is_kept(fill, -1);
		end();
	}
}

START_TEST(no_end_marker)
{
	static const unsigned fills[] = { 16, 21, 320, 347, 376, 600, 605 };

	faulty_unmarked(9, 320);
	faulty_unmarked(12, 347);
	for (unsigned i = 0; i < 7; i++) {
		if (i < 3)
			one_unmarked(9, fills[i]);
		one_unmarked(10, fills[i]);
		one_unmarked(12, fills[i]);
	}
}
END_TEST

/* --- what is noted --------------------------------------------------------- */

struct shown {
	bool *dirty; /* by sector */
	uint64_t end;
};

static int show(void *arg, uint64_t start, uint64_t len, bool dirty)
{
	struct shown *s = arg;

	if (start != s->end)
		ck_abort_msg("extents do not follow each other");
	for (uint64_t i = start / 512; i < (start + len) / 512; i++)
		s->dirty[i] = dirty;
	s->end = start + len;
	return 0;
}

/* The bitmap says exactly what MODEL (by sector) says, by granules. */
static void shows(const char *name, unsigned bits, const bool *model)
{
	static bool dirty[2 * SIZE / 512];
	struct shown s = { .dirty = dirty };
	uint64_t per = (1ULL << bits) / 512, n = image_size(img) / 512;

	ck_assert_msg(!image_bitmap_extents(img, name, show, &s, &err), "%s",
		      err.text);
	ck_assert_uint_eq(s.end, image_size(img));
	for (uint64_t i = 0; i < n; i++) {
		bool want = false;

		for (uint64_t k = i / per * per;
		     !want && k < n && k < (i / per + 1) * per; k++)
			want = model[k];
		if (dirty[i] != want) /* an assertion costs much here */
			ck_abort_msg("%s: sector %lu", name, (unsigned long)i);
	}
}

static unsigned next(void)
{
	static unsigned s = 5;

	s = s * 1103515245 + 12345;
	return s >> 8;
}

START_TEST(notes)
{
	static bool model[2 * SIZE / 512];
	static uint8_t data[64 * 512];
	static const char *const names[] = { "a9", "b12", "c15", "d31" };
	static const unsigned bits[] = { 9, 12, 15, 31 };

	for (unsigned cluster = 9; cluster <= 16; cluster += 7) {
		begin(cluster, 0, NULL);
		memset(model, 0, sizeof(model));
		open_rw();
		for (unsigned i = 0; i < 4; i++)
			ck_assert_int_eq(bitmap_add(img, names[i],
						    1ULL << bits[i], &err), 0);
		for (unsigned k = 0; k < 200; k++) {
			uint64_t sec = next() % (SIZE / 512 - 64);
			uint64_t n = 1 + next() % 64;

			if (next() % 3)
				ck_assert_int_eq(image_write(img, data, n * 512,
							     sec * 512), 0);
			else
				ck_assert_int_eq(image_zero(img, sec * 512,
							    n * 512, next() % 2),
						 0);
			for (uint64_t i = sec; i < sec + n; i++)
				model[i] = true;
			if (k % 50 == 0) {
				ck_assert_int_eq(image_close(img), 0);
				check(0);
				open_rw();
			}
			if (k % 20 == 0)
				for (unsigned i = 0; i < 4; i++)
					shows(names[i], bits[i], model);
		}
		ck_assert_int_eq(bitmap_clear(img, "b12", &err), 0);
		ck_assert_int_eq(bitmap_disable(img, "a9", &err), 0);
		ck_assert_int_eq(image_write(img, data, 512, SIZE - 512), 0);
		ck_assert_int_eq(bitmap_merge(img, "b12", img, "c15", &err), 0);
		ck_assert_int_eq(image_close(img), 0);
		check(0);
		ck_assert_int_eq(open_image((struct image_opts){
					 .readonly = true }), 0);
		shows("a9", 9, model);
		model[SIZE / 512 - 1] = true;
		shows("c15", 15, model);
		ck_assert_int_eq(image_close(img), 0);
		end();
	}
}
END_TEST

/* What a larger disk has brought counts as changed; what a smaller one has
 * lost comes back so. */
START_TEST(sizes)
{
	static bool model[2 * SIZE / 512];
	static const uint64_t to[] = { 2 * SIZE, SIZE / 2 + 512, SIZE, 512 };

	begin(9, 0, NULL);
	open_rw();
	ck_assert_int_eq(bitmap_add(img, "b", 512, &err), 0);
	ck_assert_int_eq(bitmap_add(img, "off", 4096, &err), 0);
	ck_assert_int_eq(image_write(img, "x", 1, 5 * 512), 0);
	model[5] = true;
	ck_assert_int_eq(bitmap_disable(img, "off", &err), 0);
	for (unsigned i = 0; i < 4; i++) {
		uint64_t old = image_size(img) / 512;

		ck_assert_int_eq(resize_image(img, to[i], true, &err), 0);
		for (uint64_t k = old; k < to[i] / 512; k++)
			model[k] = true;
		shows("b", 9, model);
		ck_assert_int_eq(image_close(img), 0);
		check(0);
		open_rw();
		shows("b", 9, model);
	}
	memset(model, 0, sizeof(model));
	model[0] = true;
	shows("off", 12, model);
	ck_assert_int_eq(image_close(img), 0);
	end();
}
END_TEST

/* A bitmap "off", which has its first bit, in an image that cannot get a single
 * cluster more. */
static void begin_full(void)
{
	begin(12, 0, NULL);
	open_rw();
	ck_assert_int_eq(bitmap_add(img, "off", 512, &err), 0);
	ck_assert_int_eq(image_write(img, "x", 1, 0), 0);
	ck_assert_int_eq(bitmap_disable(img, "off", &err), 0);
	ck_assert_int_eq(image_close(img), 0);
}

static void fill(void)
{
	fill_file(4096);
	hostfault_limit(fault, file_clusters(4096) * 4096);
}

/* No room to resize: what was stored before is still good. */
START_TEST(resize_fails)
{
	static bool model[2 * SIZE / 512];

	begin_full();
	open_rw();
	ck_assert_int_eq(bitmap_add(img, "on", 512, &err), 0);
	ck_assert_int_eq(image_close(img), 0);
	fill();
	open_rw();
	ck_assert_int_eq(resize_image(img, 2ULL << 30, false, &err), -ENOSPC);
	ck_assert_uint_eq(image_size(img), SIZE);
	ck_assert_int_eq(image_close(img), 0);
	open_rw();
	shows("on", 9, model);
	model[0] = true;
	shows("off", 9, model);
	ck_assert_int_eq(image_close(img), 0);
	end();
}
END_TEST

/* Room for that, but none for the bitmap: it is said. */
START_TEST(resize_loses)
{
	struct shown s = { 0 };

	begin_full();
	fill();
	open_rw();
	ck_assert_int_eq(resize_image(img, 2 * SIZE, false, &err), -ENOSPC);
	ck_assert_msg(strstr(err.text, "has its new size, but bitmap 'off' is lost"),
		      "%s", err.text);
	ck_assert_uint_eq(image_size(img), 2 * SIZE);
	ck_assert_int_eq(image_close(img), 0);
	open_rw();
	ck_assert_int_eq(image_bitmap_extents(img, "off", show, &s, &err),
			 -ENOTSUP);
	ck_assert_int_eq(image_close(img), 0);
	check(UINT64_MAX);
	end();
}
END_TEST

static void *writer(void *arg)
{
	unsigned me = *(unsigned *)arg;

	for (unsigned i = 0; i < 256; i++)
		ck_assert_int_eq(image_write(img, "x", 1,
					     (i * 8 + me) * 512ULL), 0);
	return NULL;
}

/* Neighbouring bits from several threads, and one who looks. */
START_TEST(threads)
{
	static bool dirty[2 * SIZE / 512];
	unsigned id[8];
	pthread_t t[8];

	begin(12, 0, NULL);
	open_for_bitmaps();
	ck_assert_int_eq(bitmap_add(img, "b", 512, &err), 0);
	ck_assert_int_eq(image_close(img), 0);
	open_rw();
	for (unsigned i = 0; i < 8; i++) {
		id[i] = i;
		ck_assert_int_eq(pthread_create(&t[i], NULL, writer, &id[i]), 0);
	}
	for (unsigned i = 0; i < 20; i++) {
		struct shown s = { .dirty = dirty };

		ck_assert_int_eq(image_bitmap_extents(img, "b", show, &s, &err),
				 0);
		if (i % 5 == 0)
			ck_assert_int_eq(bitmap_disable(img, "b", &err) |
						 bitmap_enable(img, "b", &err),
					 0);
	}
	for (unsigned i = 0; i < 8; i++)
		pthread_join(t[i], NULL);
	ck_assert_int_eq(image_close(img), 0);
	check(0);
	end();
}
END_TEST

/* --- what rawcow cannot use ------------------------------------------------ */

/* The Ith entry of a directory whose entries have 32 bytes. */
static uint64_t entry_at(unsigned i)
{
	uint8_t buf[4096];
	struct headerext_list ext;
	struct header h;

	header(&h, &ext, buf);
	return peek64((uint64_t)(headerext_find(&ext, QCOW2_EXT_BITMAPS)->data -
				 buf) + 16) + i * 32;
}

/* Add to the flags of the Ith entry; its place. */
static uint64_t poke_flags(unsigned i, unsigned flags)
{
	uint64_t off = entry_at(i) + 12;
	uint8_t now[4];

	hostmem_read(mem, now, 4, off);
	now[3] |= (uint8_t)flags;
	ck_assert_int_eq(hostmem_write(mem, now, 4, off), 0);
	return off - 12;
}

START_TEST(unusable)
{
	uint8_t entry[32], again[32], extra[4] = { 0, 0, 0, 3 };
	uint64_t off;

	begin(12, 0, NULL);
	open_for_bitmaps();
	ck_assert_int_eq(bitmap_add(img, "new", 512, &err), 0);
	ck_assert_int_eq(bitmap_add(img, "old", 512, &err), 0);
	ck_assert_int_eq(bitmap_disable(img, "old", &err), 0);
	ck_assert_int_eq(image_close(img), 0);
	/* extra data: three bytes in the place of the name's neighbours */
	off = poke_flags(1, 0);
	ck_assert_int_eq(hostmem_write(mem, extra, 4, off + 20), 0);
	ck_assert_int_eq(hostmem_write(mem, "ext" "old", 6, off + 24), 0);
	/* it is disabled: the image may be written, and it stays as it is */
	hostmem_read(mem, entry, 32, off);
	open_rw();
	ck_assert_msg(!image_readonly(img), "%s", image_readonly_reason(img));
	ck_assert_int_eq(image_write(img, "x", 1, 0), 0);
	ck_assert_int_eq(bitmap_clear(img, "old", &err), -ENOTSUP);
	ck_assert_int_eq(bitmap_enable(img, "old", &err), -ENOTSUP);
	ck_assert_int_eq(bitmap_merge(img, "new", img, "old", &err), -ENOTSUP);
	ck_assert_int_eq(resize_image(img, 2 * SIZE, false, &err), -ENOTSUP);
	ck_assert_uint_eq(image_size(img), SIZE);
	ck_assert_int_eq(image_close(img), 0);
	off = poke_flags(1, 0);
	hostmem_read(mem, again, 32, off);
	ck_assert(!memcmp(entry, again, 32));
	/* enabled: no writing, but it can be removed */
	poke_flags(1, BITMAPDIR_AUTO);
	open_rw();
	ck_assert(image_readonly(img));
	ck_assert_ptr_nonnull(strstr(image_readonly_reason(img), "'old'"));
	ck_assert_int_eq(image_write(img, "x", 1, 0), -EROFS);
	ck_assert_int_eq(image_close(img), 0);
	open_for_bitmaps();
	ck_assert_int_eq(bitmap_remove(img, "old", &err), 0);
	ck_assert_int_eq(image_close(img), 0);
	open_rw();
	ck_assert(!image_readonly(img));
	ck_assert_int_eq(image_close(img), 0);
	check(0);
	end();
}
END_TEST

/* Two disabled bitmaps, "bad" and "keep". */
static void begin_two(unsigned cluster_bits)
{
	begin(cluster_bits, 0, NULL);
	open_for_bitmaps();
	ck_assert_int_eq(bitmap_add(img, "bad", 512, &err), 0);
	ck_assert_int_eq(bitmap_add(img, "keep", 512, &err), 0);
	ck_assert_int_eq(bitmap_disable(img, "bad", &err), 0);
	ck_assert_int_eq(bitmap_disable(img, "keep", &err), 0);
	ck_assert_int_eq(image_close(img), 0);
}

/* A table entry points behind the file, which then grows over it: what stands
 * there now is not the bitmap's. */
START_TEST(entry_behind_file)
{
	static uint8_t data[SIZE / 2], got[SIZE / 2];

	begin_two(12);
	poke64(peek64(entry_at(0)), (file_clusters(4096) + 3) * 4096);
	open_rw();
	ck_assert(!image_readonly(img));
	memset(data, 0x77, sizeof(data));
	ck_assert_int_eq(image_write(img, data, sizeof(data), 0), 0);
	ck_assert_int_eq(image_flush(img), 0);
	ck_assert_int_eq(bitmap_enable(img, "bad", &err), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(err.text, "invalid entry"));
	ck_assert_int_eq(bitmap_clear(img, "bad", &err), -ENOTSUP);
	ck_assert_int_eq(bitmap_merge(img, "keep", img, "bad", &err), -ENOTSUP);
	ck_assert_int_eq(resize_image(img, 2 * SIZE, false, &err), -ENOTSUP);
	ck_assert_int_eq(bitmap_remove(img, "bad", &err), 0);
	ck_assert_int_eq(image_read(img, got, sizeof(got), 0), 0);
	ck_assert(!memcmp(data, got, sizeof(got)));
	ck_assert_int_eq(image_close(img), 0);
	check(0);
	end();
}
END_TEST

/* The same, and the new directory is what comes to stand there. */
START_TEST(entry_at_the_end)
{
	begin_two(12);
	fill_file(4096);
	poke64(peek64(entry_at(0)), file_clusters(4096) * 4096);
	open_for_bitmaps();
	ck_assert_int_eq(bitmap_remove(img, "bad", &err), 0);
	ck_assert_int_eq(image_close(img), 0);
	check(UINT64_MAX);
	open_rw();
	ck_assert_uint_eq(count(), 1);
	ck_assert_int_eq(image_close(img), 0);
	end();
}
END_TEST

/* So many L2 tables that they are not scanned at once, and an entry that names a
 * cluster of the last one: nothing is freed before that is known. */
START_TEST(entry_of_data)
{
	const uint64_t span = 1ULL << (21 + 18);
	struct imgbuild_params p = { .cluster_bits = 21, .size = 3 * span };
	struct hostfile *f;
	struct imgbuild b;
	uint64_t data = 0;
	char got;

	mem = hostmem_new();
	fault = hostfault_new();
	ck_assert_int_eq(hostmem_open(&f, mem, true), 0);
	imgbuild_init(&b, f, &p);
	for (unsigned i = 0; i < 3; i++)
		data = imgbuild_data(&b, i * span, "d", 1);
	imgbuild_finish(&b);
	imgbuild_fini(&b);
	hostfile_close(f);
	open_for_bitmaps();
	ck_assert_int_eq(bitmap_add(img, "bad", 1ULL << 31, &err), 0);
	ck_assert_int_eq(bitmap_disable(img, "bad", &err), 0);
	ck_assert_int_eq(image_close(img), 0);
	poke64(peek64(entry_at(0)), data);
	open_for_bitmaps();
	ck_assert_int_eq(bitmap_remove(img, "bad", &err), -EIO);
	ck_assert_ptr_nonnull(strstr(err.text, "tables overlap"));
	ck_assert(image_corrupt(img));
	ck_assert_int_eq(image_close(img), 0);
	ck_assert_uint_eq(peek64(72), QCOW2_INCOMPAT_CORRUPT);
	ck_assert_int_eq(open_image((struct image_opts){ .readonly = true }), 0);
	ck_assert_uint_eq(count(), 1);
	ck_assert_int_eq(image_read(img, &got, 1, 2 * span), 0);
	ck_assert_int_eq(got, 'd');
	ck_assert_int_eq(image_close(img), 0);
	end();
}
END_TEST

/* The padding of the last entry is cut off with the file. */
START_TEST(directory_cut_short)
{
	static bool model[2 * SIZE / 512];

	begin(16, 0, NULL);
	open_for_bitmaps();
	ck_assert_int_eq(bitmap_add(img, "on", 512, &err), 0);
	ck_assert_int_eq(image_close(img), 0);
	ck_assert_uint_ge(entry_at(0) + 65536, hostmem_size(mem));
	ck_assert_int_eq(hostmem_resize(mem, entry_at(0) + 24 + 2), 0);
	check(0);
	open_rw();
	ck_assert_int_eq(image_write(img, "x", 1, 0), 0);
	ck_assert_int_eq(image_close(img), 0);
	check(0);
	model[0] = true;
	open_rw();
	shows("on", 9, model);
	ck_assert_int_eq(image_close(img), 0);
	end();
}
END_TEST

/* In use when it was opened: it stays so, and can only be removed. */
START_TEST(left_in_use)
{
	begin(12, 0, NULL);
	open_rw();
	ck_assert_int_eq(bitmap_add(img, "b", 512, &err), 0);
	ck_assert_int_eq(image_write(img, "x", 1, 0), 0);
	image_abandon(img);
	for (int i = 0; i < 2; i++) {
		struct shown s = { 0 };

		open_rw();
		ck_assert_int_eq(image_write(img, "x", 1, 0), 0);
		ck_assert_int_eq(image_bitmap_extents(img, "b", show, &s, &err),
				 -ENOTSUP);
		ck_assert_int_eq(bitmap_clear(img, "b", &err), -ENOTSUP);
		ck_assert_int_eq(bitmap_disable(img, "b", &err), -ENOTSUP);
		ck_assert_int_eq(bitmap_add(img, "b", 0, &err), -EEXIST);
		ck_assert_int_eq(resize_image(img, SIZE + 512 * i, false, &err),
				 0);
		ck_assert_int_eq(image_close(img), 0);
		check(UINT64_MAX); /* what was abandoned leaks */
	}
	open_rw();
	ck_assert_int_eq(bitmap_remove(img, "b", &err), 0);
	ck_assert_uint_eq(count(), 0);
	ck_assert_int_eq(image_close(img), 0);
	end();
}
END_TEST

START_TEST(arguments)
{
	char name[1025];

	begin(12, 0, NULL);
	open_for_bitmaps();
	memset(name, 'n', sizeof(name));
	name[1024] = '\0';
	ck_assert_int_eq(bitmap_add(img, name, 0, &err), -EINVAL);
	ck_assert_int_eq(bitmap_add(img, "", 0, &err), -EINVAL);
	ck_assert_int_eq(bitmap_add(img, "b", 256, &err), -EINVAL);
	ck_assert_int_eq(bitmap_add(img, "b", 1000, &err), -EINVAL);
	ck_assert_int_eq(bitmap_add(img, "b", 1ULL << 32, &err), -EINVAL);
	ck_assert_int_eq(bitmap_remove(img, "b", &err), -ENOENT);
	ck_assert_int_eq(bitmap_merge(img, "b", img, "c", &err), -ENOENT);
	name[1023] = '\0';
	ck_assert_int_eq(bitmap_add(img, name, 1ULL << 31, &err), 0);
	ck_assert_int_eq(bitmap_add(img, name, 0, &err), -EEXIST);
	ck_assert_int_eq(image_close(img), 0);
	check(0);
	end();
}
END_TEST

/* --- memory ---------------------------------------------------------------- */

/* 2^41 bytes of disk and 512 of granularity are 512 MiB of bits. */
START_TEST(too_much)
{
	struct imgbuild_params p = { .cluster_bits = 21, .size = 1ULL << 40 };
	struct hostfile *f;

	mem = hostmem_new();
	fault = hostfault_new();
	ck_assert_int_eq(hostmem_open(&f, mem, true), 0);
	imgbuild_minimal(f, &p);
	hostfile_close(f);
	open_for_bitmaps();
	ck_assert_int_eq(bitmap_add(img, "a", 512, &err), 0);
	ck_assert_int_eq(bitmap_add(img, "b", 512, &err), 0);
	ck_assert_int_eq(image_close(img), 0);
	open_rw();
	ck_assert(image_readonly(img));
	ck_assert_ptr_nonnull(strstr(image_readonly_reason(img), "256 MiB"));
	ck_assert_int_eq(image_close(img), 0);
	open_for_bitmaps();
	ck_assert_int_eq(bitmap_disable(img, "a", &err), 0);
	ck_assert_int_eq(image_close(img), 0);
	open_rw();
	ck_assert(!image_readonly(img));
	ck_assert_int_eq(image_write(img, "x", 1, 1ULL << 39), 0);
	ck_assert_int_eq(resize_image(img, 1ULL << 41, false, &err), -ENOMEM);
	ck_assert_int_eq(image_close(img), 0);
	check(0);
	end();
}
END_TEST

/* Tables in a hole of the file, with room for one entry more. */
START_TEST(long_tables)
{
	const uint64_t at = 1ULL << 30, len = 8ULL << 20;
	char name[3] = "b0";

	begin(9, 0, NULL);
	open_for_bitmaps();
	for (unsigned i = 0; i < 8; i++, name[1]++)
		ck_assert_int_eq(bitmap_add(img, name, 1ULL << 31, &err), 0);
	ck_assert_int_eq(image_close(img), 0);
	for (unsigned i = 0; i < 8; i++) {
		uint64_t entries = len / 8 - (i == 7);

		poke64(entry_at(i), at + i * len);
		poke64(entry_at(i) + 8, entries << 32 | BITMAPDIR_AUTO |
						BITMAPDIR_IN_USE);
	}
	ck_assert_int_eq(hostmem_resize(mem, at + 8 * len), 0);
	open_rw();
	ck_assert_msg(!image_readonly(img), "%s", image_readonly_reason(img));
	ck_assert_int_eq(bitmap_add(img, "c", 512, &err), 0);
	ck_assert_int_eq(bitmap_add(img, "d", 512, &err), -EFBIG);
	ck_assert_ptr_nonnull(strstr(err.text, "64 MiB"));
	ck_assert_int_eq(resize_image(img, 4 * SIZE, false, &err), -EFBIG);
	ck_assert_uint_eq(image_size(img), SIZE);
	ck_assert_int_eq(image_close(img), 0);
	end();
}
END_TEST

/* --- a host that fails ------------------------------------------------------ */

static int session(void)
{
	int r = image_write(img, "x", 1, 0);
	int r2 = bitmap_add(img, "new", 512, &err);

	if (!r2)
		r2 = bitmap_merge(img, "new", img, "b", &err);
	if (!r2)
		r2 = bitmap_remove(img, "b", &err);
	if (!r)
		r = image_write(img, "y", 1, SIZE / 2);
	if (!r2)
		r2 = resize_image(img, SIZE * 2, false, &err);
	return r ? r : r2;
}

/* If there is the bitmap NAME, and it says that it is right, it has the byte at
 * OFF unless that is still zero. */
static void covers(const char *name, uint64_t off)
{
	static bool dirty[2 * SIZE / 512];
	struct shown s = { .dirty = dirty };
	uint8_t byte;

	ck_assert_int_eq(image_read(img, &byte, 1, off), 0);
	if (byte && !image_bitmap_extents(img, name, show, &s, NULL))
		ck_assert_msg(dirty[off / 512], "%s misses %lu", name,
			      (unsigned long)off);
}

/* Each call fails in turn: a bitmap that says it is right has all changes, and
 * the tables are sound. */
START_TEST(faults)
{
	static const int errors[] = { -EIO, -ENOSPC };
	bool hit = true;

	for (unsigned k = 0; k < 4; k++, hit = true) {
		for (uint64_t skip = 0; hit; skip++) {
			struct hostfault_rule rule = {
				k % 2 ? HOSTFAULT_CHANGES : HOSTFAULT_ALL,
				HOSTFAULT_ERROR, errors[k % 2], skip,
				k < 2 ? 1 : HOSTFAULT_FOREVER
			};
			int r;

			begin(9, 0, NULL);
			open_for_bitmaps();
			ck_assert_int_eq(bitmap_add(img, "b", 512, &err), 0);
			ck_assert_int_eq(image_close(img), 0);
			open_rw();
			hostfault_set(fault, &rule);
			r = session();
			r |= image_close(img);
			hit = hostfault_hits(fault) > 0;
			ck_assert(hit || !r);
			hostfault_set(fault, NULL);
			check(UINT64_MAX);
			open_rw();
			covers("b", 0);
			covers("b", SIZE / 2);
			covers("new", SIZE / 2);
			if (!r)
				ck_assert_uint_eq(count(), 1);
			ck_assert_int_eq(image_close(img), 0);
			end();
		}
	}
}
END_TEST

SUITE_MAIN("bitmap", layouts, no_end_marker, notes, sizes,
	   resize_fails, resize_loses, threads, unusable,
	   entry_behind_file, entry_at_the_end, entry_of_data, directory_cut_short, left_in_use, arguments, too_much,
	   long_tables, faults)
