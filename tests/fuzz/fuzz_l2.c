/*
 * fuzz_l2: L1, L2 and refcount entries. The input is a byte that chooses the
 * cluster size and standard or extended entries, one for version and refcount
 * width, then entries.
 */
#include <string.h>

#include "core/format/l2entry.h"
#include "core/format/rcentry.h"
#include "fuzz.h"

/* The runs of a cluster lie side by side and cover it. */
static void check_runs(const struct geom *g, const struct l2entry *e)
{
	unsigned data = 0;

	for (uint64_t at = 0, len; at < g->cluster_size; at += len) {
		enum l2entry_kind kind = l2entry_run(g, e, at, &len);

		FUZZ_CHECK(len && len <= g->cluster_size - at);
		FUZZ_CHECK(!(len & (g->sub_size - 1)));
		FUZZ_CHECK(kind != L2ENTRY_PLAIN || e->hoff);
		if (kind == L2ENTRY_PLAIN)
			data += (unsigned)(len >> g->sub_bits);
	}
	FUZZ_CHECK(!g->extended ||
		   data == (unsigned)__builtin_popcount(e->alloc));
}

static void check_l2(const struct geom *g, struct l2entry_raw raw)
{
	struct l2entry_raw same;
	struct l2entry e;
	uint64_t again;

	if (l2entry_decode(g, raw, &e))
		return;
	if (e.kind != L2ENTRY_COMPRESSED) {
		same = l2entry_encode(g, &e);
		FUZZ_CHECK(same.word == raw.word && same.bitmap == raw.bitmap);
		FUZZ_CHECK(!(e.hoff & (g->cluster_size - 1)));
		check_runs(g, &e);
		return;
	}
	FUZZ_CHECK(!raw.bitmap);
	FUZZ_CHECK(e.hoff < QCOW2_HOST_OFFSET_MAX);
	FUZZ_CHECK(e.clen >= 1 && e.clen <= 2 * g->cluster_size);
	FUZZ_CHECK(!((e.hoff + e.clen) & 511));
	if (e.clen > g->cluster_size)
		return;
	FUZZ_CHECK(!l2entry_encode_compressed(g, e.hoff, e.clen, &again));
	FUZZ_CHECK(again == raw.word);
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
	if (data[0] >= 128 && g.version == 3 &&
	    g.cluster_bits >= QCOW2_EXTL2_CLUSTER_BITS_MIN)
		geom_extend(&g);
	n = (len - 2) / 8;
	n = n < 128 ? n : 128;
	memcpy(table, data + 2, n * 8);
	for (size_t i = 0; i < n * 8 >> g.entry_bits; i++)
		check_l2(&g, l2entry_load(&g, table, i));
	for (size_t i = 0; i < n; i++)
		check_l1(&g, l2entry_load_word(table, i));
	check_refcounts(order, (uint8_t *)table, n * 64 >> order);
	return 0;
}
