/*
 * test_check: each defect that check knows is made once in a valid image, and
 * must be found; the valid image must have none.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/admin/check.h"
#include "core/admin/repair.h"
#include "core/format/qcow2.h"
#include "core/image/image.h"
#include "lib/hostmem.h"
#include "lib/imgbuild.h"
#include "suite.h"

#define CS 4096U
#define SIZE (4U << 20)
#define COMPRESSED_GOFF (64U * CS)
#define OFFSET(entry) ((entry) & QCOW2_OFFSET_MASK)

struct found {
	unsigned n[PROBLEM_N];
	unsigned total;
};

static void on_problem(void *arg, const struct problem *p)
{
	struct found *f = arg;

	ck_assert_uint_lt(p->code, PROBLEM_N);
	ck_assert_int_eq(p->cls, problem_class_of(p->code));
	ck_assert_ptr_null(strchr(p->text, '\n'));
	f->n[p->code]++;
	f->total++;
}

static int check(struct hostfile *file, struct found *f,
		 struct check_result *res, struct err *err)
{
	struct check_opts opts = { .report = on_problem, .report_arg = f };

	memset(f, 0, sizeof(*f));
	return check_image(file, &opts, res, err);
}

/* --- bitmaps by hand ------------------------------------------------------- */

struct bitmap_place {
	uint64_t dir, table, data;
};

static struct bitmap_place bitmap_place;

static void add_bitmap(struct imgbuild *b)
{
	unsigned char ext[24] = { 0, 0, 0, 1 };
	struct bitmap_place *p = &bitmap_place;

	p->dir = imgbuild_alloc(b, 1);
	p->table = imgbuild_alloc(b, 1);
	p->data = imgbuild_alloc(b, 1);
	ext[15] = 32;
	for (int i = 0; i < 8; i++)
		ext[16 + i] = (unsigned char)(p->dir >> (56 - 8 * i));
	imgbuild_ext(b, QCOW2_EXT_BITMAPS, ext, sizeof(ext));
	imgbuild_header_set(b, IMGBUILD_AUTOCLEAR, QCOW2_AUTOCLEAR_BITMAPS);
	imgbuild_poke(b, p->dir, 8, p->table);
	imgbuild_poke(b, p->dir + 8, 4, 1);
	imgbuild_poke(b, p->dir + 12, 4, 2);
	imgbuild_poke(b, p->dir + 16, 1, 1);
	imgbuild_poke(b, p->dir + 17, 1, 16);
	imgbuild_poke(b, p->dir + 18, 2, 3);
	imgbuild_poke(b, p->dir + 24, 4, 0x61626300);
	imgbuild_poke(b, p->table, 8, p->data);
}

/* --- the valid image ------------------------------------------------------- */

static void build(struct imgbuild *b, struct hostfile *f)
{
	struct imgbuild_params p = { .cluster_bits = 12, .refcount_order = 4,
				     .size = SIZE };
	unsigned char data[CS];

	memset(data, 'x', sizeof(data));
	imgbuild_init(b, f, &p);
	add_bitmap(b);
	imgbuild_data(b, 0, data, CS);
	imgbuild_data(b, CS, data, CS);
	imgbuild_zero_plain(b, 2 * CS);
	imgbuild_snapshot(b, "1", "before");
	imgbuild_data(b, CS, data, CS);
	imgbuild_data(b, 8 * CS, data, CS);
	imgbuild_zero_alloc(b, 9 * CS);
	imgbuild_compressed(b, COMPRESSED_GOFF, data);
	imgbuild_compressed(b, COMPRESSED_GOFF + CS, data);
	imgbuild_finish(b);
}

/* --- one function a defect ------------------------------------------------- */

static uint64_t l2_of(struct imgbuild *b)
{
	return OFFSET(imgbuild_l1_get(b, 0));
}

static void l1_or(struct imgbuild *b, uint64_t bits)
{
	imgbuild_l1_set(b, 0, imgbuild_l1_get(b, 0) | bits);
}

static void l2_or(struct imgbuild *b, uint64_t bits)
{
	uint64_t at = l2_of(b) + 8 * 8;

	imgbuild_poke(b, at, 8, imgbuild_peek(b, at, 8) | bits);
}

static void l2_entry(struct imgbuild *b, unsigned i, uint64_t entry)
{
	imgbuild_poke(b, l2_of(b) + 8 * i, 8, entry);
}

static void break_ext(struct imgbuild *b)
{
	/* the bitmaps extension is the first: its length */
	imgbuild_poke(b, QCOW2_OUR_HEADER_LEN + 4, 4, 0x10000000);
}

static void break_bitmap_ext(struct imgbuild *b)
{
	imgbuild_poke(b, QCOW2_OUR_HEADER_LEN + 4, 4, 23);
}

static void l1_reserved(struct imgbuild *b) { l1_or(b, 2); }
static void l1_unaligned(struct imgbuild *b) { l1_or(b, 512); }
static void l1_range(struct imgbuild *b) { l1_or(b, 1ULL << 40); }
static void l1_copied_empty(struct imgbuild *b)
{
	imgbuild_l1_set(b, 1, IMGBUILD_COPIED);
}
static void l2_reserved(struct imgbuild *b) { l2_or(b, 4); }
static void l2_unaligned(struct imgbuild *b) { l2_or(b, 1024); }
static void l2_range(struct imgbuild *b) { l2_or(b, 1ULL << 41); }
static void l2_copied_empty(struct imgbuild *b)
{
	l2_entry(b, 30, IMGBUILD_COPIED);
}

static uint64_t compressed_at(struct imgbuild *b)
{
	return l2_of(b) + 8 * (COMPRESSED_GOFF / CS);
}

static void compressed_copied(struct imgbuild *b)
{
	uint64_t at = compressed_at(b);

	imgbuild_poke(b, at, 8, imgbuild_peek(b, at, 8) | IMGBUILD_COPIED);
}

static void compressed_range(struct imgbuild *b)
{
	uint64_t at = compressed_at(b);

	imgbuild_poke(b, at, 8, imgbuild_peek(b, at, 8) | 1ULL << 44);
}

static void compressed_behind(struct imgbuild *b)
{
	imgbuild_refcount_set(b, b->end, 1);
	imgbuild_poke(b, compressed_at(b), 8, IMGBUILD_COMPRESSED | b->end);
}

static void compressed_data(struct imgbuild *b)
{
	uint64_t hoff = imgbuild_peek(b, compressed_at(b), 8) &
			((1ULL << 58) - 1);

	imgbuild_poke(b, hoff, 4, 0xffffffff);
}

static void reftable_or(struct imgbuild *b, uint64_t bits)
{
	imgbuild_poke(b, b->reftable_off, 8,
		      imgbuild_peek(b, b->reftable_off, 8) | bits);
}

static void reftable_reserved(struct imgbuild *b) { reftable_or(b, 1); }
static void reftable_unaligned(struct imgbuild *b) { reftable_or(b, 512); }
static void reftable_range(struct imgbuild *b) { reftable_or(b, 1ULL << 50); }
static void refblock_shared(struct imgbuild *b)
{
	imgbuild_poke(b, b->reftable_off + 8, 8,
		      imgbuild_peek(b, b->reftable_off, 8));
}

static void l2_maps_itself(struct imgbuild *b)
{
	l2_entry(b, 30, l2_of(b) | IMGBUILD_COPIED);
}
static void l2_maps_header(struct imgbuild *b)
{
	l2_entry(b, 30, b->l1_off | IMGBUILD_COPIED);
}
static void l1_maps_data(struct imgbuild *b)
{
	imgbuild_l1_set(b, 1, OFFSET(imgbuild_l2_get(b, 8 * CS)) |
				      IMGBUILD_COPIED);
}
static void l2_maps_reftable(struct imgbuild *b)
{
	l2_entry(b, 30, b->reftable_off);
}
static void l2_maps_bitmap(struct imgbuild *b)
{
	l2_entry(b, 30, bitmap_place.data);
}

static uint64_t snap_off(struct imgbuild *b)
{
	return imgbuild_header_get(b, IMGBUILD_SNAPSHOT_OFFSET);
}
static void snapshot_l1(struct imgbuild *b)
{
	imgbuild_poke(b, snap_off(b), 8, 1234);
}
static void snapshot_same_l1(struct imgbuild *b)
{
	imgbuild_poke(b, snap_off(b), 8, b->l1_off);
}
static void snapshot_extra(struct imgbuild *b)
{
	imgbuild_poke(b, snap_off(b) + 36, 4, 1200);
}
static void autoclear_raw(struct imgbuild *b)
{
	imgbuild_header_set(b, IMGBUILD_AUTOCLEAR, 3);
}
static void bitmap_granularity(struct imgbuild *b)
{
	imgbuild_poke(b, bitmap_place.dir + 17, 1, 40);
}
static void bitmap_name(struct imgbuild *b)
{
	imgbuild_poke(b, bitmap_place.dir + 18, 2, 4000);
}
static void bitmap_table(struct imgbuild *b)
{
	imgbuild_poke(b, bitmap_place.table, 8, bitmap_place.data | 2);
}
static void bitmap_range(struct imgbuild *b)
{
	imgbuild_poke(b, bitmap_place.table, 8, 1ULL << 50);
}
static void bitmap_data_twice(struct imgbuild *b)
{
	imgbuild_poke(b, bitmap_place.table, 8, bitmap_place.table);
}
static void bitmap_void(struct imgbuild *b)
{
	imgbuild_header_set(b, IMGBUILD_AUTOCLEAR, 0);
}
static void refcount_zero(struct imgbuild *b)
{
	imgbuild_refcount_set(b, OFFSET(imgbuild_l2_get(b, 8 * CS)), 0);
}
static void refcount_shared_low(struct imgbuild *b)
{
	imgbuild_refcount_set(b, OFFSET(imgbuild_l2_get(b, 0)), 1);
}
static void refcount_max(struct imgbuild *b)
{
	imgbuild_refcount_set(b, OFFSET(imgbuild_l2_get(b, 8 * CS)), 65535);
}
static void leak(struct imgbuild *b)
{
	imgbuild_poke(b, l2_of(b) + 8 * 8, 8, 0);
}
static void copied_l1(struct imgbuild *b)
{
	imgbuild_l1_set(b, 0, l2_of(b));
}
static void copied_l2_clear(struct imgbuild *b)
{
	l2_entry(b, 8, OFFSET(imgbuild_l2_get(b, 8 * CS)));
}
static void copied_l2_set(struct imgbuild *b)
{
	l2_entry(b, 0, imgbuild_l2_get(b, 0) | IMGBUILD_COPIED);
}

static void data_place(struct imgbuild *b)
{
	imgbuild_header_set(b, IMGBUILD_INCOMPAT, QCOW2_INCOMPAT_DATA_FILE);
}

static const struct {
	const char *name;
	enum problem_code code;
	void (*make)(struct imgbuild *b);
} cases[] = {
	{ "extension too long", PROBLEM_HEADER, break_ext },
	{ "bitmaps extension length", PROBLEM_BITMAP, break_bitmap_ext },
	{ "L1 reserved bits", PROBLEM_L1_ENTRY, l1_reserved },
	{ "L1 unaligned", PROBLEM_L1_ENTRY, l1_unaligned },
	{ "L1 COPIED and no table", PROBLEM_L1_ENTRY, l1_copied_empty },
	{ "L1 outside", PROBLEM_L1_RANGE, l1_range },
	{ "L2 reserved bits", PROBLEM_L2_ENTRY, l2_reserved },
	{ "L2 unaligned", PROBLEM_L2_ENTRY, l2_unaligned },
	{ "L2 COPIED and no cluster", PROBLEM_L2_ENTRY, l2_copied_empty },
	{ "COPIED on compressed", PROBLEM_L2_ENTRY, compressed_copied },
	{ "L2 outside", PROBLEM_L2_RANGE, l2_range },
	{ "compressed outside", PROBLEM_COMPRESSED_RANGE, compressed_range },
	{ "compressed behind the end", PROBLEM_COMPRESSED_RANGE,
	  compressed_behind },
	{ "compressed broken", PROBLEM_COMPRESSED_DATA, compressed_data },
	{ "reftable reserved", PROBLEM_REFTABLE_ENTRY, reftable_reserved },
	{ "reftable unaligned", PROBLEM_REFTABLE_ENTRY, reftable_unaligned },
	{ "reftable outside", PROBLEM_REFTABLE_RANGE, reftable_range },
	{ "refblock twice", PROBLEM_REFBLOCK_SHARED, refblock_shared },
	{ "L2 maps itself", PROBLEM_ROLE_CLASH, l2_maps_itself },
	{ "L2 maps the L1", PROBLEM_ROLE_CLASH, l2_maps_header },
	{ "L1 maps data", PROBLEM_ROLE_CLASH, l1_maps_data },
	{ "L2 maps the reftable", PROBLEM_ROLE_CLASH, l2_maps_reftable },
	{ "L2 maps a bitmap", PROBLEM_ROLE_CLASH, l2_maps_bitmap },
	{ "snapshot with the active L1", PROBLEM_ROLE_CLASH, snapshot_same_l1 },
	{ "bitmap data twice", PROBLEM_ROLE_CLASH, bitmap_data_twice },
	{ "snapshot L1 unaligned", PROBLEM_SNAPSHOT, snapshot_l1 },
	{ "snapshot extra data", PROBLEM_SNAPSHOT_EXTRA, snapshot_extra },
	{ "raw data file without one", PROBLEM_AUTOCLEAR, autoclear_raw },
	{ "bitmap granularity", PROBLEM_BITMAP, bitmap_granularity },
	{ "bitmap name", PROBLEM_BITMAP, bitmap_name },
	{ "bitmap table entry", PROBLEM_BITMAP, bitmap_table },
	{ "bitmap data outside", PROBLEM_BITMAP, bitmap_range },
	{ "refcount 0", PROBLEM_REFCOUNT_LOW, refcount_zero },
	{ "refcount below sharing", PROBLEM_REFCOUNT_LOW, refcount_shared_low },
	{ "refcount max", PROBLEM_REFCOUNT_HIGH, refcount_max },
	{ "leak", PROBLEM_REFCOUNT_HIGH, leak },
	{ "void bitmaps", PROBLEM_REFCOUNT_HIGH, bitmap_void },
	{ "COPIED clear in L1", PROBLEM_COPIED_L1, copied_l1 },
	{ "COPIED clear in L2", PROBLEM_COPIED_L2, copied_l2_clear },
	{ "COPIED set in L2", PROBLEM_COPIED_L2, copied_l2_set },
	{ "data elsewhere in its file", PROBLEM_DATA_PLACE, data_place },
};

/* --- tests ----------------------------------------------------------------- */

START_TEST(clean)
{
	struct hostmem *m = hostmem_new();
	struct check_result res;
	struct imgbuild b;
	struct hostfile *f;
	struct found found;
	struct err err = { "" };

	ck_assert_int_eq(hostmem_open(&f, m, true), 0);
	build(&b, f);
	ck_assert_msg(!check(f, &found, &res, &err), "%s", err.text);
	for (int i = 0; i < PROBLEM_N; i++)
		ck_assert_msg(!found.n[i], "%s: %u", problem_name(i),
			      found.n[i]);
	ck_assert_uint_eq(res.corruptions + res.leaks + res.check_errors, 0);
	ck_assert_uint_eq(res.total_clusters, SIZE / CS);
	ck_assert_uint_eq(res.allocated_clusters, 6);
	ck_assert_uint_eq(res.compressed_clusters, 2);
	ck_assert_uint_eq(res.image_end_offset % CS, 0);
	imgbuild_fini(&b);
	hostfile_close(f);
	hostmem_free(m);
}
END_TEST

START_TEST(each_defect)
{
	bool covered[PROBLEM_N] = { [PROBLEM_IO] = true };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hostmem *m = hostmem_new();
		struct check_result res;
		struct imgbuild b;
		struct hostfile *f;
		struct found found;
		struct err err = { "" };

		ck_assert_int_eq(hostmem_open(&f, m, true), 0);
		build(&b, f);
		cases[i].make(&b);
		ck_assert_msg(!check(f, &found, &res, &err), "%s: %s",
			      cases[i].name, err.text);
		ck_assert_msg(found.n[cases[i].code] > 0, "%s: no %s",
			      cases[i].name, problem_name(cases[i].code));
		ck_assert_uint_eq(found.total, res.corruptions + res.leaks +
						       res.check_errors);
		covered[cases[i].code] = true;
		imgbuild_fini(&b);
		hostfile_close(f);
		hostmem_free(m);
	}
	for (int i = 0; i < PROBLEM_N; i++)
		ck_assert_msg(covered[i], "no case for %s", problem_name(i));
}
END_TEST

/* Clusters of an external data file: no counts, one place each, always COPIED;
 * the second table's, too. */
START_TEST(data_file)
{
	static const struct {
		uint64_t i, entry;
		int code; /* -1: none */
	} rows[] = {
		{ 0, IMGBUILD_COPIED, -1 },
		{ 0, IMGBUILD_COPIED | IMGBUILD_ZERO, -1 },
		{ 1, CS, PROBLEM_COPIED_L2 },
		{ 1, CS | IMGBUILD_ZERO, PROBLEM_COPIED_L2 },
		{ 1, IMGBUILD_COPIED, PROBLEM_DATA_PLACE },
		{ 1, IMGBUILD_COPIED | 2 * CS, PROBLEM_DATA_PLACE },
		{ 1, IMGBUILD_COPIED | CS | 4, PROBLEM_L2_ENTRY },
		{ 1, IMGBUILD_COMPRESSED | CS, PROBLEM_L2_ENTRY },
		{ 600, IMGBUILD_COPIED | 88 * CS, PROBLEM_DATA_PLACE },
		{ 600, IMGBUILD_COPIED | 600 * CS, -1 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct imgbuild_params p = { .cluster_bits = 12,
					     .refcount_order = 4,
					     .size = SIZE,
					     .data_file = true };
		struct hostmem *m = hostmem_new(), *d = hostmem_new();
		struct check_result res;
		struct imgbuild b;
		struct hostfile *f;
		struct found found;

		ck_assert_int_eq(hostmem_open(&f, m, true), 0);
		imgbuild_init(&b, f, &p);
		ck_assert_int_eq(hostmem_open(&b.data, d, true), 0);
		imgbuild_data(&b, 0, "a", 1);
		imgbuild_zero_alloc(&b, 3 * CS);
		imgbuild_data(&b, 599 * CS, "b", 1);
		imgbuild_l2_set(&b, rows[i].i * CS, rows[i].entry);
		imgbuild_finish(&b);
		ck_assert_int_eq(check(f, &found, &res, NULL), 0);
		ck_assert_msg(found.total == (rows[i].code >= 0), "row %zu", i);
		if (rows[i].code >= 0)
			ck_assert_uint_eq(found.n[rows[i].code], 1);
		imgbuild_fini(&b);
		hostfile_close(b.data);
		hostfile_close(f);
		hostmem_free(d);
		hostmem_free(m);
	}
}
END_TEST

/* --- a list of header extensions that breaks off ------------------------------ */

#define ENDLESS 0x1122334400011170ULL /* an unknown one, longer than a cluster */

static void repair(struct hostfile *f)
{
	struct repair_result res;
	struct err err = { "" };

	ck_assert_msg(repair_image(f, REPAIR_ALL, NULL, &res, &err) == 0, "%s",
		      err.text);
}

/* What stands before the break is known, and stays. */
START_TEST(break_behind_bitmaps)
{
	struct hostmem *m = hostmem_new();
	struct check_result res;
	struct imgbuild b;
	struct hostfile *f;
	struct found found;

	ck_assert_int_eq(hostmem_open(&f, m, true), 0);
	build(&b, f);
	imgbuild_poke(&b, b.ext_end, 8, ENDLESS);
	ck_assert_int_eq(check(f, &found, &res, NULL), 0);
	ck_assert_uint_eq(found.n[PROBLEM_HEADER], 1);
	ck_assert_uint_eq(found.total, 1);
	repair(f);
	ck_assert_int_eq(check(f, &found, &res, NULL), 0);
	ck_assert_uint_eq(found.total, 0);
	ck_assert_uint_eq(imgbuild_header_get(&b, IMGBUILD_AUTOCLEAR),
			  QCOW2_AUTOCLEAR_BITMAPS);
	ck_assert_uint_eq(imgbuild_refcount_get(&b, bitmap_place.data), 1);
	imgbuild_fini(&b);
	hostfile_close(f);
	hostmem_free(m);
}
END_TEST

static const struct {
	enum imgbuild_field field; /* set to VALUE, it asks for EXT */
	uint64_t value;
	uint32_t ext;
	bool kept; /* by a repair */
} needs[] = {
	{ IMGBUILD_CRYPT, QCOW2_CRYPT_LUKS, QCOW2_EXT_CRYPTO, true },
	{ IMGBUILD_INCOMPAT, QCOW2_INCOMPAT_DATA_FILE, QCOW2_EXT_DATA_FILE,
	  true },
	{ IMGBUILD_AUTOCLEAR, QCOW2_AUTOCLEAR_BITMAPS, QCOW2_EXT_BITMAPS,
	  false },
};

/* What may stand behind it is not said to be missing; and what the image cannot
 * do without is not cut off. */
START_TEST(break_before)
{
	const struct imgbuild_params p = { .size = SIZE, .refcount_order = 4 };
	struct hostmem *m = hostmem_new();
	struct check_result res;
	unsigned char ext[24] = { 0 };
	struct imgbuild b;
	struct hostfile *f;
	struct found found;

	ck_assert_int_eq(hostmem_open(&f, m, true), 0);
	imgbuild_init(&b, f, &p);
	imgbuild_ext(&b, 0x11223344, ext, 8);
	imgbuild_ext(&b, needs[_i].ext, ext, sizeof(ext));
	imgbuild_finish(&b);
	imgbuild_header_set(&b, needs[_i].field, needs[_i].value);
	imgbuild_poke(&b, b.p.header_len, 8, ENDLESS);
	ck_assert_int_eq(check(f, &found, &res, NULL), 0);
	ck_assert_uint_eq(found.n[PROBLEM_HEADER], 1);
	ck_assert_uint_eq(found.total, 1);
	repair(f);
	ck_assert_int_eq(imgbuild_peek(&b, b.p.header_len, 8) == ENDLESS,
			 needs[_i].kept);
	imgbuild_fini(&b);
	hostfile_close(f);
	hostmem_free(m);
}
END_TEST

/* No program opens a data file whose name has a NUL byte. */
START_TEST(data_file_name)
{
	const struct imgbuild_params p = { .size = SIZE, .refcount_order = 4,
					   .data_file = true };
	struct hostmem *m = hostmem_new();
	struct check_result res;
	struct imgbuild b;
	struct hostfile *f;
	struct found found;

	ck_assert_int_eq(hostmem_open(&f, m, true), 0);
	imgbuild_init(&b, f, &p);
	imgbuild_ext(&b, QCOW2_EXT_DATA_FILE, _i ? "a\0b" : "a_b", 3);
	imgbuild_finish(&b);
	ck_assert_int_eq(check(f, &found, &res, NULL), 0);
	ck_assert_int_eq(found.n[PROBLEM_HEADER], _i);
	ck_assert_int_eq(found.total, _i);
	imgbuild_fini(&b);
	hostfile_close(f);
	hostmem_free(m);
}
END_TEST

static void write_image(struct hostmem *m, const void *buf, size_t len,
			uint64_t goff)
{
	const struct image_opts opts = { .no_lock = true };
	struct image *img;
	struct hostfile *f;
	struct err err = { "" };

	ck_assert_int_eq(hostmem_open(&f, m, true), 0);
	ck_assert_msg(image_open_file(&img, f, &opts, &err) == 0, "%s",
		      err.text);
	ck_assert_int_eq(image_write(img, buf, len, goff), 0);
	ck_assert_int_eq(image_close(img), 0);
}

/* Two places of the disk in one cluster: after a repair each may be written, and
 * what it leaves is an image without defect. */
START_TEST(data_twice)
{
	struct hostmem *m = hostmem_new();
	struct check_result res;
	struct imgbuild b;
	struct hostfile *f;
	struct found found;

	ck_assert_int_eq(hostmem_open(&f, m, true), 0);
	build(&b, f);
	l2_entry(&b, 20, imgbuild_l2_get(&b, 8 * CS));
	repair(f);
	ck_assert_int_eq(check(f, &found, &res, NULL), 0);
	ck_assert_uint_eq(found.total, 0);
	write_image(m, "y", 1, 20 * CS);
	ck_assert_int_eq(check(f, &found, &res, NULL), 0);
	ck_assert_uint_eq(found.total, 0);
	ck_assert_uint_eq(imgbuild_peek(
		&b, OFFSET(imgbuild_l2_get(&b, 8 * CS)), 2), 0x7878);
	ck_assert_uint_eq(imgbuild_peek(
		&b, OFFSET(imgbuild_l2_get(&b, 20 * CS)), 2), 0x7978);
	imgbuild_fini(&b);
	hostfile_close(f);
	hostmem_free(m);
}
END_TEST

/* A leak alone is no corruption. */
START_TEST(leak_only)
{
	struct hostmem *m = hostmem_new();
	struct check_result res;
	struct imgbuild b;
	struct hostfile *f;
	struct found found;

	ck_assert_int_eq(hostmem_open(&f, m, true), 0);
	build(&b, f);
	leak(&b);
	ck_assert_int_eq(check(f, &found, &res, NULL), 0);
	ck_assert_uint_eq(res.corruptions, 0);
	ck_assert_uint_eq(res.leaks, 1);
	imgbuild_fini(&b);
	hostfile_close(f);
	hostmem_free(m);
}
END_TEST

/* What makes check impossible. */
START_TEST(refused)
{
	static const struct {
		enum imgbuild_field field;
		uint64_t value;
		int want;
	} bad[] = {
		{ IMGBUILD_MAGIC, 0, -EMEDIUMTYPE },
		{ IMGBUILD_VERSION, 4, -ENOTSUP },
		{ IMGBUILD_CLUSTER_BITS, 30, -EUCLEAN },
		{ IMGBUILD_INCOMPAT, 1ULL << 40, -ENOTSUP },
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct hostmem *m = hostmem_new();
		struct check_result res;
		struct imgbuild b;
		struct hostfile *f;
		struct found found;
		struct err err = { "" };

		ck_assert_int_eq(hostmem_open(&f, m, true), 0);
		build(&b, f);
		imgbuild_header_set(&b, bad[i].field, bad[i].value);
		ck_assert_int_eq(check(f, &found, &res, &err), bad[i].want);
		ck_assert_str_ne(err.text, "");
		imgbuild_fini(&b);
		hostfile_close(f);
		hostmem_free(m);
	}
}
END_TEST

/* Counts that do not fit a cell of the map: 64-bit refcounts. */
START_TEST(big_counts)
{
	struct imgbuild_params p = { .cluster_bits = 12, .refcount_order = 6,
				     .size = SIZE };
	struct hostmem *m = hostmem_new();
	struct check_result res;
	struct imgbuild b;
	struct hostfile *f;
	struct found found;

	ck_assert_int_eq(hostmem_open(&f, m, true), 0);
	imgbuild_init(&b, f, &p);
	imgbuild_data(&b, 0, "x", 1);
	imgbuild_finish(&b);
	imgbuild_refcount_set(&b, OFFSET(imgbuild_l2_get(&b, 0)), 1ULL << 63);
	ck_assert_int_eq(check(f, &found, &res, NULL), 0);
	ck_assert_uint_eq(found.n[PROBLEM_REFCOUNT_HIGH], 1);
	ck_assert_uint_eq(found.n[PROBLEM_COPIED_L2], 1);
	imgbuild_fini(&b);
	hostfile_close(f);
	hostmem_free(m);
}
END_TEST

/* A huge file with next to nothing in it costs next to nothing. */
START_TEST(sparse)
{
	struct hostmem *m = hostmem_new();
	struct check_result res;
	struct imgbuild b;
	struct hostfile *f;
	struct found found;
	struct err err = { "" };

	ck_assert_int_eq(hostmem_open(&f, m, true), 0);
	build(&b, f);
	ck_assert_int_eq(hostmem_resize(m, HOSTMEM_MAX_SIZE), 0);
	/* every L1 entry names a table far out, in a hole */
	for (uint64_t i = 1; i < b.p.size / CS / 512; i++)
		imgbuild_l1_set(&b, i, (i << 36) | IMGBUILD_COPIED);
	/* and every entry of a table a cluster far out */
	for (uint64_t i = 100; i < 512; i++)
		l2_entry(&b, (unsigned)i, (i << 34) | IMGBUILD_COPIED);
	ck_assert_msg(!check(f, &found, &res, &err), "%s", err.text);
	ck_assert_uint_ge(found.n[PROBLEM_REFCOUNT_LOW], 412);
	imgbuild_fini(&b);
	hostfile_close(f);
	hostmem_free(m);
}
END_TEST

START_TEST(names)
{
	for (int i = 0; i < PROBLEM_N; i++) {
		ck_assert_ptr_nonnull(problem_name(i));
		for (int j = 0; j < i; j++)
			ck_assert_str_ne(problem_name(i), problem_name(j));
	}
}
END_TEST

SUITE_MAIN_LOOPS("check", { clean, 1 }, { each_defect, 1 }, { data_file, 1 },
		 { break_behind_bitmaps, 1 }, { break_before, 3 },
		 { data_file_name, 2 }, { data_twice, 1 }, { leak_only, 1 },
		 { refused, 1 }, { big_counts, 1 }, { sparse, 1 }, { names, 1 })
