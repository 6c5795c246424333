/*
 * fuzz_image: a whole image of arbitrary bytes behind the facade. The input is
 * the image file; its last byte chooses how it is opened.
 *
 * Whatever the bytes say, nothing may crash, hang or leak. And where check
 * finds no corruption, all must work: every read succeeds, what was written is
 * read back, also after a reopen, and check finds no corruption afterwards.
 */
#include <string.h>

#include "base/num.h"
#include "core/admin/check.h"
#include "core/image/image.h"
#include "core/image/info.h"
#include "fuzz.h"
#include "lib/hostmem.h"

#define READ_MAX  (2ULL << 20)
#define PIECE	  (64U << 10)
#define WRITES	  6
#define EXTENTS	  200

struct op {
	uint64_t off, len;
	unsigned char fill; /* 0: zero it, UNMAP */
	bool unmap;
	bool done;
};

static uint64_t rng;

static uint64_t rnd(uint64_t below)
{
	rng = rng * 6364136223846793005ULL + 1442695040888963407ULL;
	return (rng >> 33) % below;
}

static struct hostfile *open_mem(struct hostmem *m, bool writable)
{
	struct hostfile *f;

	FUZZ_CHECK(!hostmem_open(&f, m, writable));
	return f;
}

/* Does check find the image free of corruption? */
static bool is_sound(struct hostmem *m)
{
	struct hostfile *f = open_mem(m, false);
	struct check_opts opts = { 0 };
	struct check_result res = { 0 };
	struct err err = { "" };
	int r = check_image(f, &opts, &res, &err);

	FUZZ_CHECK(!r == !err.text[0]);
	hostfile_close(f);
	return !r && !res.corruptions && !res.check_errors;
}

static void read_info(struct hostmem *m)
{
	struct hostfile *f = open_mem(m, false);
	struct err err = { "" };
	struct info info;

	if (!info_read(&info, f, &err))
		info_fini(&info);
	hostfile_close(f);
}

static void read_range(struct image *img, uint64_t from, uint64_t to, bool sound)
{
	static unsigned char buf[PIECE];

	while (from < to) {
		uint64_t n = NUM_MIN(to - from, PIECE);
		int r = image_read(img, buf, n, from);

		FUZZ_CHECK(!r || !sound);
		from += n;
	}
}

static void read_some(struct image *img, bool sound)
{
	uint64_t size = image_size(img);

	read_range(img, 0, NUM_MIN(size, READ_MAX), sound);
	if (size > READ_MAX)
		read_range(img, size - PIECE, size, sound);
}

static void map_some(struct image *img, bool sound)
{
	uint64_t size = image_size(img);
	uint64_t off = 0;

	for (unsigned i = 0; i < EXTENTS && off < size; i++) {
		struct image_extent e;
		int r = image_map(img, off, NUM_MIN(size - off, 1ULL << 40), &e);

		FUZZ_CHECK(!r || !sound);
		if (r)
			return;
		FUZZ_CHECK(e.len && e.len <= size - off);
		FUZZ_CHECK(!image_map_host(img, &e));
		FUZZ_CHECK(e.len && e.len <= size - off);
		off += e.len;
	}
}

static void choose(struct op *op, uint64_t size, uint64_t cluster)
{
	uint64_t span = NUM_MIN(size, rnd(4) ? READ_MAX : size);

	op->off = rnd(1U << 30) * 512 % span;
	if (rnd(2))
		op->off = num_round_down(op->off, cluster);
	op->len = NUM_MIN(size - op->off, 1 + rnd(3 * NUM_MIN(cluster, PIECE)));
	op->fill = (unsigned char)rnd(200);
	op->fill = op->fill < 60 ? 0 : op->fill;
	op->unmap = rnd(2);
}

static void change(struct image *img, struct op *op)
{
	static unsigned char buf[3 * PIECE];
	int r;

	memset(buf, op->fill, op->len);
	r = op->fill ? image_write(img, buf, op->len, op->off)
		     : image_zero(img, op->off, op->len, op->unmap);
	op->done = !r;
}

/* What the ops that succeeded wrote, unless a later one covers it. */
static void verify(struct image *img, const struct op *ops, unsigned n)
{
	static unsigned char buf[3 * PIECE];

	for (unsigned i = 0; i < n; i++) {
		bool covered = !ops[i].done;

		for (unsigned k = i + 1; k < n; k++)
			covered |= num_ranges_overlap(ops[i].off, ops[i].len,
						      ops[k].off, ops[k].len);
		if (covered)
			continue;
		FUZZ_CHECK(!image_read(img, buf, ops[i].len, ops[i].off));
		for (uint64_t b = 0; b < ops[i].len; b++)
			FUZZ_CHECK(buf[b] == ops[i].fill);
	}
}

static struct image *try_open(struct hostmem *m, bool readonly)
{
	struct image_opts opts = { .no_lock = true,
				   .readonly = readonly,
				   .backing = IMAGE_BACKING_NONE,
				   .l2_cache_size = 1,
				   .refcount_cache_size = 1,
				   .cluster_cache_size = 1 };
	struct hostfile *f = open_mem(m, !readonly);
	struct err err = { "" };
	struct image *img;

	if (!image_open_file(&img, f, &opts, &err))
		return img;
	FUZZ_CHECK(err.text[0]);
	hostfile_close(f);
	return NULL;
}

static void change_some(struct image *img, struct hostmem *m, bool sound)
{
	struct op ops[WRITES] = { 0 };
	unsigned n = 0;

	while (n < WRITES && image_size(img)) {
		choose(&ops[n], image_size(img), image_cluster_size(img));
		change(img, &ops[n++]);
		if (!rnd(3))
			(void)!image_flush(img);
	}
	if (sound)
		verify(img, ops, n);
	if (image_close(img))
		FUZZ_CHECK(!sound);
	if (!sound)
		return;
	FUZZ_CHECK(is_sound(m));
	img = try_open(m, true);
	FUZZ_CHECK(img);
	verify(img, ops, n);
	FUZZ_CHECK(!image_close(img));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct hostmem *m = hostmem_new();
	bool readonly = len && data[len - 1] & 1;
	struct image *img;
	bool sound;

	FUZZ_CHECK(m && !hostmem_write(m, data, len, 0));
	rng = len;
	for (size_t i = len > 16 ? len - 16 : 0; i < len; i++)
		rng = rng * 31 + data[i];
	read_info(m);
	sound = is_sound(m);
	img = try_open(m, readonly);
	if (img) {
		read_some(img, sound);
		map_some(img, sound);
		if (readonly)
			FUZZ_CHECK(!image_close(img));
		else
			change_some(img, m, sound);
	}
	(void)is_sound(m);
	hostmem_free(m);
	return 0;
}
