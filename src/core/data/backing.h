/*
 * backing: what stands behind unallocated clusters, supplied from above (the
 * image layer), so that the data layer knows neither chains nor formats.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct backing {
	void *ctx;
	uint64_t size; /* guest bytes; reads beyond it give zero */
	/* Read LEN bytes at OFF, both inside SIZE. 0 or -errno. */
	int (*read)(void *ctx, void *buf, size_t len, uint64_t off);
};
