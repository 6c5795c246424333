#include "core/data/detect.h"

#include <string.h>

#include "base/num.h"
#include "core/data/write.h"
#include "core/data/zero.h"

static bool all_zero(const uint8_t *p, size_t len)
{
	/* equal to itself one byte on: all bytes are like the first */
	return *p == 0 && memcmp(p, p + 1, len - 1) == 0;
}

/* Bytes from GOFF to the end of its cluster or subcluster. */
static size_t step(const struct disk *d, uint64_t goff, size_t len)
{
	uint64_t size = d->geom->sub_size;
	uint64_t left = size - (goff & (size - 1));

	return (size_t)NUM_MIN(left, (uint64_t)len);
}

int detect_write(struct disk *d, const void *buf, size_t len, uint64_t goff,
		 bool unmap)
{
	const uint8_t *p = buf;

	while (len) {
		size_t n = step(d, goff, len);
		bool zero = all_zero(p, n);
		int r;

		while (n < len) {
			size_t more = step(d, goff + n, len - n);

			if (all_zero(p + n, more) != zero)
				break;
			n += more;
		}
		r = zero ? zero_range(d, goff, n, unmap)
			 : write_range(d, p, n, goff);
		if (r < 0)
			return r;
		p += n;
		goff += n;
		len -= n;
	}
	return 0;
}
