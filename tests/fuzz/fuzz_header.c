/*
 * fuzz_header: header, extensions, features and snapshot table. The input is
 * the start of an image.
 */
#include <errno.h>
#include <string.h>

#include "base/num.h"
#include "core/format/feature.h"
#include "core/format/qcow2.h"
#include "core/format/snaptable.h"
#include "fuzz.h"

/* One printable line. */
static void check_text(const char *text, int r)
{
	FUZZ_CHECK(!r == !text[0]);
	for (; *text; text++)
		FUZZ_CHECK(*text >= 0x20 && *text < 0x7f);
}

static void check_geom(const struct header *h, struct geom *g)
{
	header_geom(h, g);
	FUZZ_CHECK(g->cluster_bits >= 9 && g->cluster_bits <= 21);
	FUZZ_CHECK(g->refcount_order <= 6);
	FUZZ_CHECK(g->size <= h->size && h->size - g->size < 512);
	FUZZ_CHECK(geom_l1_entries(g, g->size) <= h->l1_entries);
}

static void check_encode(const struct header *h, const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len);
	struct header again;

	FUZZ_CHECK(copy);
	memcpy(copy, data, len);
	header_encode(h, copy);
	FUZZ_CHECK(!header_decode(&again, copy, len, UINT64_MAX, NULL));
	FUZZ_CHECK(!memcmp(h, &again, sizeof(again)));
	if (h->backing_offset)
		FUZZ_CHECK(!memcmp(data, copy, len));
	free(copy);
}

static void check_extensions(const struct header *h, const uint8_t *data,
			     size_t len)
{
	struct headerext_list list;
	struct err err = { "" };
	char name[FEATURE_NAME_MAX];
	int r = headerext_decode(&list, h, data, len, &err);

	check_text(err.text, r);
	if (r)
		return;
	for (unsigned i = 0; i < list.n; i++) {
		size_t off = (size_t)(list.ext[i].data - data);

		FUZZ_CHECK(num_range_inside(off, list.ext[i].len, len));
		FUZZ_CHECK(headerext_find(&list, list.ext[i].type) == &list.ext[i]);
	}
	for (unsigned bit = 0; bit < 64; bit++)
		check_text(feature_name(name, FEATURE_COMPATIBLE, bit, &list), 1);
	r = feature_refusal(h, &list, &err);
	check_text(err.text, r);
}

static void check_snapshots(const struct header *h, const struct geom *g,
			    const uint8_t *data, size_t len)
{
	size_t pos = h->snapshots_offset;

	if (h->snapshots_offset > len)
		return;
	for (uint32_t i = 0; i < h->nb_snapshots; i++) {
		struct err err = { "" };
		struct snapshot s;
		size_t was = pos;
		int r = snaptable_decode(&s, data, len, &pos, g, UINT64_MAX, &err);

		check_text(err.text, r == -EUCLEAN ? r : 0);
		snaptable_fini(&s);
		if (r)
			return;
		FUZZ_CHECK(pos >= was + 40);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct err err = { "" };
	struct header h;
	struct geom g;
	int r;

	r = header_decode(&h, data, len, len, &err);
	check_text(err.text, r);
	/* Tables behind the input count as there, to get further. */
	err.text[0] = '\0';
	r = header_decode(&h, data, len, UINT64_MAX, &err);
	check_text(err.text, r);
	if (r)
		return 0;
	check_geom(&h, &g);
	check_encode(&h, data, len);
	check_extensions(&h, data, len);
	check_snapshots(&h, &g, data, len);
	return 0;
}
