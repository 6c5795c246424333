/* header: every limit, on it and one beyond it; encode is decode's inverse. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/be.h"
#include "core/format/header.h"
#include "core/format/qcow2.h"
#include "suite.h"

#define IMAGE_LEN (2U << 20)
#define FILE_SIZE (1ULL << 40)

enum {
	MAGIC = 0, VERSION_AT = 4, BACK_OFF = 8, BACK_SIZE = 16, CBITS = 20,
	SIZE = 24, CRYPT = 32, L1_N = 36, L1_OFF = 40, RT_OFF = 48, RT_N = 56,
	SNAP_N = 60, SNAP_OFF = 64, INCOMPAT = 72, COMPAT = 80, AUTOCLEAR = 88,
	ORDER = 96, HLEN = 100, COMPRESSION = 104
};

struct poke {
	unsigned off;
	unsigned width;
	uint64_t value;
};

#define P1(o, v) { o, 1, v }
#define P4(o, v) { o, 4, v }
#define P8(o, v) { o, 8, v }

struct row {
	const char *name;
	struct poke poke[4]; /* width 0 ends */
	int want;
	const char *text;
	uint64_t file_size; /* 0: FILE_SIZE */
	size_t len;	    /* 0: IMAGE_LEN */
};

static void poke(uint8_t *img, const struct poke *p)
{
	if (p->width == 1)
		img[p->off] = (uint8_t)p->value;
	else if (p->width == 4)
		be32_store(img + p->off, (uint32_t)p->value);
	else if (p->width == 8)
		be64_store(img + p->off, p->value);
}

static uint8_t *make_image(void)
{
	static const struct poke base[] = {
		P4(MAGIC, QCOW2_MAGIC), P4(VERSION_AT, 3), P4(CBITS, 16),
		P8(SIZE, 1 << 20), P4(L1_N, 1), P8(L1_OFF, 0x30000),
		P8(RT_OFF, 0x10000), P4(RT_N, 1), P4(ORDER, 4), P4(HLEN, 112),
	};
	uint8_t *img = calloc(1, IMAGE_LEN);

	ck_assert_ptr_nonnull(img);
	for (size_t i = 0; i < sizeof(base) / sizeof(base[0]); i++)
		poke(img, &base[i]);
	/* Room for backing names. */
	memset(img + 1024, 'a', 64000);
	return img;
}

static const struct row rows[] = {
	{ "base", { { 0 } }, 0, NULL, 0, 0 },
	{ "magic", { P4(MAGIC, 0x514649fa) }, -EMEDIUMTYPE, "not a qcow2", 0, 0 },
	{ "71 bytes", { { 0 } }, -EMEDIUMTYPE, "71 bytes", 71, 71 },
	{ "0 bytes", { { 0 } }, -EMEDIUMTYPE, "0 bytes", 0, 1 },
	{ "version 1", { P4(VERSION_AT, 1) }, -ENOTSUP, "version is 1", 0, 0 },
	{ "version 4", { P4(VERSION_AT, 4) }, -ENOTSUP, "version is 4", 0, 0 },
	{ "version 2", { P4(VERSION_AT, 2) }, 0, NULL, 0, 0 },
	{ "v2, 72 bytes", { P4(VERSION_AT, 2) }, 0, NULL, 0, 72 },
	{ "v2 ignores v3", { P4(VERSION_AT, 2), P8(INCOMPAT, ~0ULL), P4(ORDER, 9), P4(HLEN, 3) }, 0, NULL, 0, 0 },

	{ "cluster_bits 8", { P4(CBITS, 8) }, -EUCLEAN, "cluster_bits is 8", 0, 0 },
	{ "cluster_bits 9", { P4(CBITS, 9), P4(L1_N, 32) }, 0, NULL, 0, 0 },
	{ "cluster_bits 21", { P4(CBITS, 21), P8(L1_OFF, 2 << 20), P8(RT_OFF, 4 << 20) }, 0, NULL, 0, 0 },
	{ "cluster_bits 22", { P4(CBITS, 22) }, -EUCLEAN, "cluster_bits is 22", 0, 0 },
	{ "cluster_bits huge", { P4(CBITS, 0xffffffff) }, -EUCLEAN, "cluster_bits", 0, 0 },

	{ "header_length 103", { P4(HLEN, 103) }, -EUCLEAN, "header_length is 103", 0, 0 },
	{ "header_length 96", { P4(HLEN, 96) }, -EUCLEAN, "header_length is 96", 0, 0 },
	{ "header_length 104", { P4(HLEN, 104) }, 0, NULL, 0, 0 },
	{ "header_length 104, 104 bytes", { P4(HLEN, 104) }, 0, NULL, 0, 104 },
	{ "header_length 104, 96 bytes", { P4(HLEN, 104) }, -EUCLEAN, "only 96", 0, 96 },
	{ "header_length 108", { P4(HLEN, 108) }, -EUCLEAN, "multiple of 8", 0, 0 },
	{ "header_length cluster", { P4(HLEN, 65536) }, 0, NULL, 0, 0 },
	{ "header_length cluster+8", { P4(HLEN, 65544) }, -EUCLEAN, "header_length is 65544", 0, 0 },

	{ "compression bit alone", { P8(INCOMPAT, 8) }, -EUCLEAN, "compression_type is 0", 0, 0 },
	{ "compression type alone", { P1(COMPRESSION, 1) }, -EUCLEAN, "compression_type is 1", 0, 0 },
	{ "compression zstd", { P8(INCOMPAT, 8), P1(COMPRESSION, 1) }, 0, NULL, 0, 0 },
	{ "compression 2", { P8(INCOMPAT, 8), P1(COMPRESSION, 2) }, -ENOTSUP, "compression_type is 2", 0, 0 },
	{ "compression beyond header", { P4(HLEN, 104), P8(INCOMPAT, 8), P1(COMPRESSION, 1) }, -EUCLEAN, "compression_type is 0", 0, 0 },
	{ "other bits are not our business", { P8(INCOMPAT, ~8ULL), P8(COMPAT, ~0ULL), P8(AUTOCLEAR, ~0ULL) }, 0, NULL, 0, 0 },
	{ "extended l2, 8 KiB", { P8(INCOMPAT, 16), P4(CBITS, 13) }, -EUCLEAN, "extended L2", 0, 0 },
	{ "extended l2, 16 KiB", { P8(INCOMPAT, 16), P4(CBITS, 14) }, 0, NULL, 0, 0 },
	{ "crypt 2", { P4(CRYPT, 2) }, 0, NULL, 0, 0 },
	{ "crypt 3", { P4(CRYPT, 3) }, -EUCLEAN, "crypt_method is 3", 0, 0 },
	{ "refcount_order 0", { P4(ORDER, 0) }, 0, NULL, 0, 0 },
	{ "refcount_order 6", { P4(ORDER, 6) }, 0, NULL, 0, 0 },
	{ "refcount_order 7", { P4(ORDER, 7) }, -EUCLEAN, "refcount_order is 7", 0, 0 },

	{ "backing 1023", { P8(BACK_OFF, 1024), P4(BACK_SIZE, 1023) }, 0, NULL, 0, 0 },
	{ "backing 1024", { P8(BACK_OFF, 1024), P4(BACK_SIZE, 1024) }, -EUCLEAN, "backing_file_size is 1024", 0, 0 },
	{ "backing size alone", { P4(BACK_SIZE, 5000) }, 0, NULL, 0, 0 },
	{ "backing empty", { P8(BACK_OFF, 65000) }, 0, NULL, 0, 0 },
	{ "backing empty, outside", { P8(BACK_OFF, 1ULL << 60) }, -EUCLEAN, "behind the first cluster", 0, 0 },
	{ "backing in header", { P8(BACK_OFF, 111), P4(BACK_SIZE, 1) }, -EUCLEAN, "backing_file_offset is 111", 0, 0 },
	{ "backing to cluster end", { P8(BACK_OFF, 65000), P4(BACK_SIZE, 24) }, 0, NULL, 0, 0 },
	{ "backing over cluster end", { P8(BACK_OFF, 65000), P4(BACK_SIZE, 537) }, -EUCLEAN, "behind the first cluster", 0, 0 },
	{ "backing offset overflow", { P8(BACK_OFF, ~0ULL), P4(BACK_SIZE, 2) }, -EUCLEAN, "behind the first cluster", 0, 0 },
	{ "backing behind buffer", { P8(BACK_OFF, 1024), P4(BACK_SIZE, 9) }, -EUCLEAN, "(1032)", 0, 1032 },
	{ "backing with NUL", { P8(BACK_OFF, 1024), P4(BACK_SIZE, 9), P1(1032, 0) }, -EUCLEAN, "NUL", 0, 0 },
	{ "backing NUL behind", { P8(BACK_OFF, 1024), P4(BACK_SIZE, 9), P1(1033, 0) }, 0, NULL, 0, 0 },

	{ "size 0, l1 0", { P8(SIZE, 0), P4(L1_N, 0), P8(L1_OFF, 0) }, 0, NULL, 0, 0 },
	{ "size 1, l1 0", { P8(SIZE, 1), P4(L1_N, 0), P8(L1_OFF, 0) }, -EUCLEAN, "needs 1 entries", 0, 0 },
	{ "size of one entry", { P8(SIZE, 1ULL << 29) }, 0, NULL, 0, 0 },
	{ "size one more", { P8(SIZE, (1ULL << 29) + 1) }, -EUCLEAN, "needs 2 entries", 0, 0 },
	{ "size at limit", { P8(SIZE, QCOW2_MAX_SIZE), P4(CBITS, 21) }, -EUCLEAN, "l1_size is 1", 0, 0 },
	{ "size beyond", { P8(SIZE, QCOW2_MAX_SIZE + 1), P4(CBITS, 21) }, -EUCLEAN, "above the limit", 0, 0 },
	{ "l1 at limit", { P4(L1_N, 4194304) }, 0, NULL, 0, 0 },
	{ "l1 beyond", { P4(L1_N, 4194305) }, -EUCLEAN, "l1_size is 4194305", 0, 0 },
	{ "l1 unaligned", { P8(L1_OFF, 0x30200) }, -EUCLEAN, "l1_table_offset is 197120", 0, 0 },
	{ "l1 at 0", { P8(L1_OFF, 0) }, -EUCLEAN, "l1_table_offset is 0", 0, 0 },
	{ "l1 to file end", { { 0 } }, 0, NULL, 0x30008, 0 },
	{ "l1 over file end", { { 0 } }, -EUCLEAN, "l1_table_offset", 0x30007, 0 },
	{ "l1 offset overflow", { P8(L1_OFF, ~0xffffULL), P4(L1_N, 10000) }, -EUCLEAN, "l1_table_offset", 0, 0 },

	{ "reftable 0 clusters", { P4(RT_N, 0) }, -EUCLEAN, "refcount_table_clusters is 0", 0, 0 },
	{ "reftable at limit", { P4(RT_N, 128) }, 0, NULL, 0, 0 },
	{ "reftable beyond", { P4(RT_N, 129) }, -EUCLEAN, "refcount_table_clusters is 129", 0, 0 },
	{ "reftable huge", { P4(RT_N, 0xffffffff), P4(CBITS, 21), P8(L1_OFF, 2 << 20) }, -EUCLEAN, "refcount_table_clusters", 0, 0 },
	{ "reftable at 0", { P8(RT_OFF, 0) }, -EUCLEAN, "refcount_table_offset is 0", 0, 0 },
	{ "reftable unaligned", { P8(RT_OFF, 0x10001) }, -EUCLEAN, "refcount_table_offset", 0, 0 },
	{ "reftable to file end", { P8(RT_OFF, 0x40000) }, 0, NULL, 0x50000, 0 },
	{ "reftable over file end", { P8(RT_OFF, 0x40000) }, -EUCLEAN, "refcount_table_offset", 0x4ffff, 0 },

	{ "snapshots at limit", { P4(SNAP_N, 65536), P8(SNAP_OFF, 0x40000) }, 0, NULL, 0, 0 },
	{ "snapshots beyond", { P4(SNAP_N, 65537), P8(SNAP_OFF, 0x40000) }, -EUCLEAN, "nb_snapshots is 65537", 0, 0 },
	{ "snapshots unaligned", { P4(SNAP_N, 1), P8(SNAP_OFF, 0x40008) }, -EUCLEAN, "snapshots_offset", 0, 0 },
	{ "snapshots at 0", { P4(SNAP_N, 1) }, -EUCLEAN, "snapshots_offset is 0", 0, 0 },
	{ "snapshots to file end", { P4(SNAP_N, 1), P8(SNAP_OFF, 0x40000) }, 0, NULL, 0x40028, 0 },
	{ "snapshots over file end", { P4(SNAP_N, 1), P8(SNAP_OFF, 0x40000) }, -EUCLEAN, "snapshots_offset", 0x40027, 0 },
};

/* The buffer is as long as LEN says, so that ASan sees a byte too far. */
static int decode(const struct row *t, struct header *h, struct err *err)
{
	size_t len = t->len ? t->len : IMAGE_LEN;
	uint8_t *img = make_image();
	uint8_t *exact;
	int r;

	for (size_t i = 0; i < 4 && t->poke[i].width; i++)
		poke(img, &t->poke[i]);
	if (!strcmp(t->name, "0 bytes"))
		len = 0;
	exact = malloc(len);
	memcpy(exact, img, len);
	r = header_decode(h, exact, len, t->file_size ? t->file_size : FILE_SIZE,
			  err);
	free(exact);
	free(img);
	return r;
}

START_TEST(test_limits)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *t = &rows[i];
		struct err err = { "" };
		struct header h;
		int r = decode(t, &h, &err);

		ck_assert_msg(r == t->want, "%s: %d (%s)", t->name, r, err.text);
		ck_assert_msg(!t->text || strstr(err.text, t->text), "%s: '%s'",
			      t->name, err.text);
		ck_assert_msg(r || !err.text[0], "%s: '%s'", t->name, err.text);
		ck_assert_msg(!strchr(err.text, '\n'), "%s", t->name);
		ck_assert_int_eq(decode(t, &h, NULL), t->want);
	}
}
END_TEST

START_TEST(test_version2)
{
	struct row t = { "v2", { P4(VERSION_AT, 2), P8(INCOMPAT, ~0ULL) }, 0, NULL, 0, 0 };
	struct header h;

	ck_assert_int_eq(decode(&t, &h, NULL), 0);
	ck_assert_uint_eq(h.incompatible | h.compatible | h.autoclear, 0);
	ck_assert_uint_eq(h.refcount_order, 4);
	ck_assert_uint_eq(h.header_len, 72);
	ck_assert_uint_eq(h.compression, 0);
}
END_TEST

static void check_roundtrip(unsigned version, uint32_t header_len)
{
	uint8_t *img = make_image();
	uint8_t *was = malloc(IMAGE_LEN);
	struct header h, again;

	be32_store(img + VERSION_AT, version);
	be32_store(img + HLEN, header_len);
	/* Bytes that rawcow does not know must survive. */
	memset(img + 105, 0x5a, 100);
	if (header_len == 104)
		img[104] = 0x77;
	memcpy(was, img, IMAGE_LEN);
	ck_assert_int_eq(header_decode(&h, img, IMAGE_LEN, FILE_SIZE, NULL), 0);
	header_encode(&h, img);
	ck_assert_mem_eq(img, was, IMAGE_LEN);

	h.size = 0x10000;
	h.l1_offset = 0x70000;
	h.reftable_offset = 0x80000;
	h.nb_snapshots = 2;
	h.snapshots_offset = 0x90000;
	if (version == 3)
		h.autoclear = 1ULL << 63;
	header_encode(&h, img);
	ck_assert_mem_eq(img + 105, was + 105, IMAGE_LEN - 105);
	ck_assert_int_eq(header_decode(&again, img, IMAGE_LEN, FILE_SIZE, NULL), 0);
	ck_assert_mem_eq(&h, &again, sizeof(h));
	free(was);
	free(img);
}

START_TEST(test_roundtrip)
{
	check_roundtrip(2, 0x01020304);
	check_roundtrip(3, 104);
	check_roundtrip(3, 112);
	check_roundtrip(3, 200);
}
END_TEST

START_TEST(test_geom)
{
	struct geom g;

	for (unsigned bits = 9; bits <= 21; bits++) {
		for (unsigned order = 0; order <= 6; order++) {
			geom_init(&g, 3, bits, order, 1, 1023);
			ck_assert_uint_eq(g.size, 512);
			ck_assert_uint_eq(g.cluster_size, 1ULL << bits);
			ck_assert_uint_eq(g.l2_entries * 8, g.cluster_size);
			ck_assert_uint_eq(g.refblock_entries << order,
					  g.cluster_size * 8);
			ck_assert_uint_eq(g.slice_size, bits < 12 ? 1U << bits : 4096);
			ck_assert_uint_eq(g.refcount_max,
					  order == 6 ? UINT64_MAX : (1ULL << (1U << order)) - 1);
			ck_assert_uint_eq(geom_l1_entries(&g, 0), 0);
			ck_assert_uint_eq(geom_l1_entries(&g, 1), 1);
			ck_assert_uint_eq(geom_l1_entries(&g, geom_l2_span(&g)), 1);
			ck_assert_uint_eq(geom_l1_entries(&g, geom_l2_span(&g) + 1), 2);
			ck_assert_uint_eq(geom_l1_entries(&g, QCOW2_MAX_SIZE),
					  (QCOW2_MAX_SIZE - 1) / geom_l2_span(&g) + 1);
		}
	}
}
END_TEST

SUITE_MAIN("header", test_limits, test_version2, test_roundtrip, test_geom)
