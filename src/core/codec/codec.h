/*
 * codec: compressed clusters. Pure transforms over buffers, thread-safe.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct codec {
	const char *name; /* "zlib", "zstd" as in qemu-img */
	/*
	 * Produce exactly OUT_LEN bytes from the stream at IN. The stream may
	 * end before IN_LEN (the descriptor counts whole sectors). 0, -EIO for
	 * a stream that is broken or too short, -ENOMEM. Bounded memory: zstd
	 * windows are at most 2 MiB.
	 */
	int (*decompress)(void *out, size_t out_len, const void *in,
			  size_t in_len);
	/*
	 * Compress; returns the stream's length, or -ENOSPC when it needs more
	 * than OUT_CAP bytes (does not pay), or -ENOMEM.
	 */
	int64_t (*compress)(void *out, size_t out_cap, const void *in,
			    size_t in_len);
};

/* By enum qcow2_compression; NULL if unknown or not built in. */
const struct codec *codec_get(unsigned compression);
