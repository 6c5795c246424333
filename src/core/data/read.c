#include "core/data/read.h"

#include <errno.h>
#include <string.h>

#include "base/num.h"
#include "core/data/compressed.h"
#include "core/data/payload.h"
#include "core/meta/l2map.h"

/* An unallocated range: the backing file as far as it goes, then zero. */
static int read_backing(struct disk *d, uint8_t *buf, size_t len, uint64_t goff)
{
	size_t n = 0;

	if (!disk_hole_is_zero(d, goff)) {
		int r;

		n = (size_t)NUM_MIN(len, d->backing->size - goff);
		r = d->backing->read(d->backing->ctx, buf, n, goff);
		if (r < 0)
			return r;
	}
	memset(buf + n, 0, len - n);
	return 0;
}

static int read_extent(struct disk *d, const struct extent *e, uint8_t *buf,
		       uint64_t goff)
{
	size_t len = (size_t)e->len;

	switch (e->kind) {
	case L2ENTRY_PLAIN:
		return payload_read(d, buf, len, e->hoff, goff);
	case L2ENTRY_COMPRESSED:
		return compressed_read(d, e, buf, geom_in_cluster(d->geom, goff),
				       len);
	case L2ENTRY_UNALLOCATED:
	case L2ENTRY_RESERVED:
		return read_backing(d, buf, len, goff);
	case L2ENTRY_ZERO_PLAIN:
	case L2ENTRY_ZERO_ALLOC:
		break;
	}
	memset(buf, 0, len);
	return 0;
}

int read_range(struct disk *d, void *buf, size_t len, uint64_t goff)
{
	uint8_t *p = buf;

	while (len) {
		struct extent e;
		int r = l2map_lookup(d->meta, goff, len, &e);

		if (r == 0)
			r = read_extent(d, &e, p, goff);
		if (r < 0)
			return r;
		p += e.len;
		goff += e.len;
		len -= (size_t)e.len;
	}
	return 0;
}
