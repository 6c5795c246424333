/*
 * codec_list: the codecs that codec.c chooses from. Private to this folder.
 */
#pragma once

#include "core/codec/codec.h"

extern const struct codec codec_zlib;
#if defined(HAVE_ZSTD)
extern const struct codec codec_zstd;
#endif
