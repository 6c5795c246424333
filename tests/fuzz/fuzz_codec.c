/*
 * fuzz_codec: streams of both codecs. The input is a byte for the codec, one
 * for the cluster size, then the stream.
 */
#include <string.h>

#include "core/codec/codec.h"
#include "fuzz.h"

static void check_stream(const struct codec *c, uint8_t *out, size_t cluster,
			 const uint8_t *in, size_t len)
{
	uint8_t *packed = malloc(2 * cluster);
	uint8_t *again = malloc(cluster);
	int64_t n;

	FUZZ_CHECK(packed && again);
	if (!c->decompress(out, cluster, in, len)) {
		n = c->compress(packed, 2 * cluster, out, cluster);
		FUZZ_CHECK(n > 0);
		FUZZ_CHECK(!c->decompress(again, cluster, packed, (size_t)n));
		FUZZ_CHECK(!memcmp(again, out, cluster));
	}
	free(again);
	free(packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const struct codec *c;
	size_t cluster;
	uint8_t *out;

	if (len < 2)
		return 0;
	c = codec_get(data[0] & 1);
	if (!c)
		return 0;
	cluster = (size_t)1 << (9 + data[1] % 8);
	out = malloc(cluster);
	FUZZ_CHECK(out);
	check_stream(c, out, cluster, data + 2, len - 2);
	free(out);
	return 0;
}
