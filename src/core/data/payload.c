#include "core/data/payload.h"

#include <assert.h>
#include <errno.h>

#include "base/num.h"

int payload_read_raw(struct disk *d, void *buf, size_t len, uint64_t hoff)
{
	assert(d->data);
	return hostfile_pread_units(d->data, buf, len, hoff,
				    d->geom->cluster_size);
}

int payload_write_raw(struct disk *d, const void *buf, size_t len,
		      uint64_t hoff)
{
	size_t tail = 0;
	int r = 0;

	/* A data file is as long as the disk, whose last cluster may be cut
	 * short; a raw one would not be the disk otherwise. */
	if (d->geom->data_file) {
		if (hoff >= d->geom->size)
			return 0;
		if (len > d->geom->size - hoff)
			tail = len - (size_t)(d->geom->size - hoff);
		len -= tail;
	} else {
		r = rolescan_check(d->meta, hoff, len, ROLE_DATA);
	}
	if (r == 0)
		r = hostfile_pwrite_full(d->data, buf, len, hoff);
	/* What QEMU adds to the file when the disk grows does not decrypt to
	 * zeroes; a device may have no room for it, nor can it grow. */
	if (r == 0 && tail && d->crypt)
		(void)!hostfile_pwrite_full(d->data, (const char *)buf + len,
					    tail, hoff + len);
	return r;
}

int payload_zero(struct disk *d, uint64_t len, uint64_t hoff, bool unmap)
{
	int r = -EOPNOTSUPP;

	if (unmap)
		r = hostfile_punch(d->data, hoff, len);
	return r == -EOPNOTSUPP ? hostfile_zero(d->data, hoff, len) : r;
}

void payload_discard(struct disk *d, uint64_t len, uint64_t hoff)
{
	uint64_t size = d->geom->size;

	if (hoff < size)
		(void)!hostfile_punch(d->data, hoff,
				      NUM_MIN(len, size - hoff));
}

int payload_read(struct disk *d, void *buf, size_t len, uint64_t hoff,
		 uint64_t goff)
{
	return d->crypt ? crypt_read(d, buf, len, hoff, goff)
			: payload_read_raw(d, buf, len, hoff);
}

int payload_write(struct disk *d, const void *buf, size_t len, uint64_t hoff,
		  uint64_t goff)
{
	return d->crypt ? crypt_write(d, buf, len, hoff, goff)
			: payload_write_raw(d, buf, len, hoff);
}
