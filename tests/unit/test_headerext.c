/* headerext: the walk, its limits, and append as its inverse. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/be.h"
#include "core/format/headerext.h"
#include "core/format/qcow2.h"
#include "suite.h"

#define CLUSTER 4096U
#define START 112U

static struct header make_header(uint64_t backing_offset)
{
	struct header h = { .version = 3, .cluster_bits = 12, .header_len = START };

	h.backing_offset = backing_offset;
	h.backing_size = backing_offset ? 4 : 0;
	return h;
}

/* Decode the first LEN bytes, in a buffer of just that size. */
static int decode(struct headerext_list *list, const struct header *h,
		  const uint8_t *img, size_t len, struct err *err)
{
	uint8_t *exact = malloc(len ? len : 1);
	int r;

	memcpy(exact, img, len);
	r = headerext_decode(list, h, exact, len, err);
	free(exact);
	return r;
}

static void add(uint8_t *img, size_t *pos, uint32_t type, uint32_t len)
{
	static const uint8_t zeros[CLUSTER];

	ck_assert_int_eq(headerext_append(img, CLUSTER, pos, type, zeros, len), 0);
}

START_TEST(test_walk)
{
	uint8_t img[CLUSTER];
	struct header h = make_header(0);
	struct headerext_list list;
	const struct headerext *e;
	size_t pos = START;

	memset(img, 0xee, sizeof(img));
	headerext_append(img, CLUSTER, &pos, QCOW2_EXT_BACKING_FORMAT, "qcow2", 5);
	ck_assert_uint_eq(pos, START + 16);
	ck_assert_mem_eq(img + START + 13, "\0\0\0", 3);
	headerext_append(img, CLUSTER, &pos, 0x12345678, "12345678", 8);
	headerext_append(img, CLUSTER, &pos, 0x99, NULL, 0);
	headerext_append(img, CLUSTER, &pos, QCOW2_EXT_END, NULL, 0);
	ck_assert_int_eq(headerext_decode(&list, &h, img, CLUSTER, NULL), 0);
	ck_assert_uint_eq(list.n, 3);
	ck_assert_uint_eq(list.end, pos);
	ck_assert(list.marked);
	e = headerext_find(&list, QCOW2_EXT_BACKING_FORMAT);
	ck_assert_uint_eq(e->len, 5);
	ck_assert_mem_eq(e->data, "qcow2", 5);
	e = headerext_find(&list, 0x12345678);
	ck_assert_ptr_eq(e->data, img + START + 24);
	ck_assert_uint_eq(headerext_find(&list, 0x99)->len, 0);
	ck_assert_ptr_null(headerext_find(&list, QCOW2_EXT_CRYPTO));
}
END_TEST

START_TEST(test_append_full)
{
	uint8_t img[32] = { 0 };
	size_t pos = 8;

	ck_assert_int_eq(headerext_append(img, 32, &pos, 1, img, 17), -ENOSPC);
	ck_assert_uint_eq(pos, 8);
	ck_assert_int_eq(headerext_append(img, 32, &pos, 1, "0123456789abcdef", 16), 0);
	ck_assert_uint_eq(pos, 32);
	ck_assert_int_eq(headerext_append(img, 32, &pos, 0, NULL, 0), -ENOSPC);
	pos = 40;
	ck_assert_int_eq(headerext_append(img, 32, &pos, 0, NULL, 0), -ENOSPC);
	pos = 0;
	ck_assert_int_eq(headerext_append(img, 32, &pos, 1, img, UINT32_MAX), -ENOSPC);
}
END_TEST

START_TEST(test_no_marker)
{
	uint8_t img[CLUSTER] = { 0 };
	struct headerext_list list;
	struct header h = make_header(0);
	size_t pos = START;

	/* Up to the last byte of the cluster, without an end marker. */
	add(img, &pos, 7, CLUSTER - START - 8);
	ck_assert_uint_eq(pos, CLUSTER);
	ck_assert_int_eq(decode(&list, &h, img, CLUSTER, NULL), 0);
	ck_assert_uint_eq(list.n, 1);
	ck_assert_uint_eq(list.end, CLUSTER);
	ck_assert(!list.marked);
	/* One byte more. */
	be32_store(img + START + 4, CLUSTER - START - 8 + 1);
	ck_assert_int_eq(decode(&list, &h, img, CLUSTER, NULL), -EUCLEAN);
	be32_store(img + START + 4, UINT32_MAX);
	ck_assert_int_eq(decode(&list, &h, img, CLUSTER, NULL), -EUCLEAN);
	/* Nothing at all behind the header. */
	ck_assert_int_eq(decode(&list, &h, img, START, NULL), 0);
	ck_assert_uint_eq(list.n, 0);
	ck_assert_int_eq(decode(&list, &h, img, START + 7, NULL), 0);
	ck_assert_int_eq(decode(&list, &h, img, 0, NULL), 0);
	h.header_len = CLUSTER;
	ck_assert_int_eq(decode(&list, &h, img, CLUSTER, NULL), 0);
	ck_assert_uint_eq(list.end, CLUSTER);
}
END_TEST

START_TEST(test_backing_name)
{
	uint8_t img[CLUSTER] = { 0 };
	struct headerext_list list;
	struct header h = make_header(START + 24);
	struct err err = { "" };
	size_t pos = START;

	memset(img + START + 24, 'x', 8); /* no extension: the name */
	add(img, &pos, 7, 16);
	ck_assert_int_eq(decode(&list, &h, img, CLUSTER, NULL), 0);
	ck_assert_uint_eq(list.n, 1);
	be32_store(img + START + 4, 17);
	ck_assert_int_eq(decode(&list, &h, img, CLUSTER, &err), -EUCLEAN);
	ck_assert_msg(strstr(err.text, "17 bytes") && strstr(err.text, "room for 16"),
		      "%s", err.text);
	/* The name begins in what would be padding. */
	be32_store(img + START + 4, 9);
	h.backing_offset = START + 17;
	ck_assert_int_eq(decode(&list, &h, img, CLUSTER, NULL), 0);
	ck_assert_uint_eq(list.end, START + 17);
	ck_assert(!list.marked);
	/* An old version 2 image: the name follows its 72 bytes. */
	h.version = 2;
	h.header_len = h.backing_offset = 72;
	memset(img + 72, 'x', 64);
	ck_assert_int_eq(decode(&list, &h, img, CLUSTER, NULL), 0);
	ck_assert_uint_eq(list.n, 0);
	/* Version 2 with extensions. */
	h.backing_offset = 0;
	pos = 72;
	add(img, &pos, QCOW2_EXT_BACKING_FORMAT, 3);
	add(img, &pos, QCOW2_EXT_END, 0);
	ck_assert_int_eq(decode(&list, &h, img, CLUSTER, NULL), 0);
	ck_assert_uint_eq(list.n, 1);
}
END_TEST

START_TEST(test_limits)
{
	uint8_t img[CLUSTER] = { 0 };
	struct headerext_list list;
	struct header h = make_header(0);
	struct err err = { "" };
	size_t pos = START;

	for (uint32_t i = 1; i <= QCOW2_MAX_EXTENSIONS; i++)
		add(img, &pos, i, 8);
	ck_assert_int_eq(decode(&list, &h, img, CLUSTER, NULL), 0);
	ck_assert_uint_eq(list.n, QCOW2_MAX_EXTENSIONS);
	add(img, &pos, 1000, 8);
	ck_assert_int_eq(decode(&list, &h, img, CLUSTER, &err), -EUCLEAN);
	ck_assert_msg(strstr(err.text, "more than 64"), "%s", err.text);

	memset(img, 0, sizeof(img));
	pos = START;
	add(img, &pos, 5, 0);
	add(img, &pos, 6, 0);
	add(img, &pos, 5, 0);
	ck_assert_int_eq(decode(&list, &h, img, CLUSTER, &err), -EUCLEAN);
	ck_assert_msg(strstr(err.text, "0x00000005 appears twice"), "%s", err.text);

	memset(img, 0, sizeof(img));
	pos = START;
	add(img, &pos, QCOW2_EXT_BACKING_FORMAT, 15);
	ck_assert_int_eq(decode(&list, &h, img, CLUSTER, NULL), 0);
	be32_store(img + START + 4, 16);
	ck_assert_int_eq(decode(&list, &h, img, CLUSTER, &err), -EUCLEAN);
	ck_assert_msg(strstr(err.text, "16 bytes long"), "%s", err.text);
}
END_TEST

SUITE_MAIN("headerext", test_walk, test_append_full, test_no_marker,
	   test_backing_name, test_limits)
