/*
 * detect: writes of zeroes that become metadata (detect_zeroes=on|unmap).
 */
#pragma once

#include <stdbool.h>

#include "core/data/disk.h"

/* As write_range(); clusters of BUF that are all zero are zeroed as by
 * zero_range() with UNMAP. */
int detect_write(struct disk *d, const void *buf, size_t len, uint64_t goff,
		 bool unmap);
