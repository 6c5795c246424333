/* fuzz_luks: the LUKS header. The input is the start of an encryption area. */
#include <string.h>

#include "base/num.h"
#include "core/format/lukshdr.h"
#include "fuzz.h"

#define AREA 2068480U

static void check_slots(const struct lukshdr *h)
{
	uint64_t len = num_round_up(lukshdr_material_len(h), 512);

	for (unsigned i = 0; i < LUKSHDR_SLOTS; i++) {
		uint64_t at = h->slot[i].material_sector * 512ULL;

		FUZZ_CHECK(at >= LUKSHDR_LEN && at + len <= AREA);
		FUZZ_CHECK(!h->slot[i].active ||
			   h->slot[i].iterations <= LUKSHDR_ITERATIONS_MAX);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint8_t buf[LUKSHDR_LEN] = { 0 };
	uint8_t again[LUKSHDR_LEN];
	struct lukshdr h, h2;
	struct lukshdr_mode m;
	struct err err = { "" };
	int r;

	memcpy(buf, data, NUM_MIN(len, sizeof(buf)));
	r = lukshdr_decode(&h, buf, AREA, &err);
	FUZZ_CHECK(!r == !err.text[0]);
	for (const char *p = err.text; *p; p++)
		FUZZ_CHECK(*p >= 0x20 && *p < 0x7f);
	if (r)
		return 0;
	FUZZ_CHECK(h.key_bytes && h.key_bytes <= LUKSHDR_KEY_MAX);
	check_slots(&h);
	lukshdr_parse_mode(h.mode, &m);
	lukshdr_encode(&h, again);
	FUZZ_CHECK(lukshdr_decode(&h2, again, AREA, NULL) == 0);
	FUZZ_CHECK(!memcmp(&h, &h2, sizeof(h)));
	return 0;
}
