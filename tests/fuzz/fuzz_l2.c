/*
 * fuzz_l2: L1, L2 and refcount entries. The input is a byte that chooses the
 * cluster size, one for version and refcount width, then entries.
 */
#include <string.h>

#include "core/format/l2entry.h"
#include "core/format/rcentry.h"
#include "fuzz.h"

static void check_l2(const struct geom *g, uint64_t raw)
{
	struct l2entry e;
	uint64_t again;

	if (l2entry_decode(g, raw, &e))
		return;
	if (e.kind != L2ENTRY_COMPRESSED) {
		FUZZ_CHECK(l2entry_encode(&e) == raw);
		FUZZ_CHECK(!(e.hoff & (g->cluster_size - 1)));
		return;
	}
	FUZZ_CHECK(e.hoff < QCOW2_HOST_OFFSET_MAX);
	FUZZ_CHECK(e.clen >= 1 && e.clen <= 2 * g->cluster_size);
	FUZZ_CHECK(!((e.hoff + e.clen) & 511));
	if (e.clen > g->cluster_size)
		return;
	FUZZ_CHECK(!l2entry_encode_compressed(g, e.hoff, e.clen, &again));
	FUZZ_CHECK(again == raw);
}

static void check_l1(const struct geom *g, uint64_t raw)
{
	uint64_t hoff;
	bool copied;

	if (!l2entry_decode_l1(g, raw, &hoff, &copied))
		FUZZ_CHECK(l2entry_encode_l1(hoff, copied) == raw);
}

static void check_refcounts(unsigned order, uint8_t *block, uint64_t n)
{
	uint64_t zero = 0;
	uint64_t used = 0;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t v = rcentry_get(block, order, i);

		FUZZ_CHECK(order == 6 || !(v >> (1U << order)));
		zero = i < zero ? zero : rcentry_find_zero(block, order, i, n);
		used = i < used ? used : rcentry_find_used(block, order, i, n);
		FUZZ_CHECK((i == zero) == !v && (i == used) == !!v);
		rcentry_set(block, order, i, ~v);
		FUZZ_CHECK(!((rcentry_get(block, order, i) ^ ~v) & v));
		rcentry_set(block, order, i, v);
		FUZZ_CHECK(rcentry_get(block, order, i) == v);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint64_t table[128];
	unsigned order;
	struct geom g;
	size_t n;

	if (len < 2)
		return 0;
	order = data[1] / 2 % 7;
	geom_init(&g, 2 + (data[1] & 1), 9 + data[0] % 13, order, 0, 1 << 20);
	n = (len - 2) / 8;
	n = n < 128 ? n : 128;
	memcpy(table, data + 2, n * 8);
	for (size_t i = 0; i < n; i++) {
		check_l2(&g, l2entry_load(table, i));
		check_l1(&g, l2entry_load(table, i));
	}
	check_refcounts(order, (uint8_t *)table, n * 64 >> order);
	return 0;
}
