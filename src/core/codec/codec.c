#include "core/codec/codec.h"

#include "core/codec/codec_list.h"

/* The specification's compression_type; libcodec does not see core/format. */
enum { TYPE_ZLIB = 0, TYPE_ZSTD = 1 };

const struct codec *codec_get(unsigned compression)
{
	switch (compression) {
	case TYPE_ZLIB:
		return &codec_zlib;
#if defined(HAVE_ZSTD)
	case TYPE_ZSTD:
		return &codec_zstd;
#endif
	default:
		return NULL;
	}
}
