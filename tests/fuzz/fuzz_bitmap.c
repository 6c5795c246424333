/*
 * fuzz_bitmap: the bitmaps extension, directory and tables. The input is an
 * extension (24 bytes), then a directory, which is also taken for a table.
 */
#include <errno.h>
#include <string.h>

#include "base/be.h"
#include "base/num.h"
#include "core/format/bitmapdir.h"
#include "fuzz.h"

#define FILE_SIZE (1ULL << 40)

static void check_text(const struct err *err, int r)
{
	FUZZ_CHECK(!r == !err->text[0]);
	for (const char *p = err->text; *p; p++)
		FUZZ_CHECK(*p >= 0x20 && *p < 0x7f);
}

static void check_ext(const struct geom *g, const uint8_t *data, size_t len)
{
	uint8_t again[BITMAPDIR_EXT_LEN];
	struct err err = { "" };
	struct bitmapdir d;
	int r = bitmapdir_decode_ext(&d, data, (uint32_t)len, g, FILE_SIZE,
				     &err);

	check_text(&err, r);
	if (r)
		return;
	FUZZ_CHECK(d.n && d.len && num_range_inside(d.off, d.len, FILE_SIZE));
	bitmapdir_encode_ext(&d, again);
	FUZZ_CHECK(!memcmp(again, data, sizeof(again)));
}

static void check_entry(const struct geom *g, const struct bitmapdir_entry *e,
			const uint8_t *data, size_t len)
{
	size_t size = bitmapdir_size(e), pos = 0;
	struct bitmapdir_entry again;
	struct err err = { "" };
	uint8_t *buf = malloc(size);
	int r;

	FUZZ_CHECK(buf && size <= len);
	FUZZ_CHECK(e->extra >= data && e->extra_len <= len);
	FUZZ_CHECK((const uint8_t *)e->name + e->name_len <= data + len);
	bitmapdir_encode(e, buf);
	FUZZ_CHECK(!bitmapdir_decode(&again, buf, size, &pos, NULL));
	FUZZ_CHECK(pos == size && again.flags == e->flags &&
		   again.table_off == e->table_off);
	FUZZ_CHECK(!memcmp(again.name, e->name, e->name_len));
	r = bitmapdir_check(e, g, FILE_SIZE, &err);
	check_text(&err, r);
	if (!r)
		FUZZ_CHECK(e->table_entries &&
			   (uint64_t)e->table_entries << g->cluster_bits <=
				   BITMAPDIR_DATA_MAX);
	if (!bitmapdir_unusable(e))
		FUZZ_CHECK(e->granularity_bits < 32 && e->name_len < 1024);
	free(buf);
}

static void check_table(const struct geom *g, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i + 8 <= len; i += 8) {
		enum bitmapdir_kind kind;
		uint64_t hoff;

		if (bitmapdir_table_decode(be64_load(data + i), g, FILE_SIZE,
					   &kind, &hoff))
			continue;
		FUZZ_CHECK((kind == BITMAPDIR_DATA) == (hoff != 0));
		FUZZ_CHECK(num_range_inside(hoff, g->cluster_size, FILE_SIZE));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	size_t ext = NUM_MIN(len, (size_t)BITMAPDIR_EXT_LEN), pos = 0;
	struct bitmapdir_entry e;
	struct err err = { "" };
	struct geom g;
	int r;

	geom_init(&g, 3, 9 + (len ? data[0] % 13 : 0), 4, 0, 1ULL << 33);
	check_ext(&g, data, ext);
	data += ext;
	len -= ext;
	while ((r = bitmapdir_decode(&e, data, len, &pos, &err)) == 0)
		check_entry(&g, &e, data, len);
	check_text(&err, r);
	check_table(&g, data, len);
	return 0;
}
