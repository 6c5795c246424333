#include "core/data/payload.h"

#include <errno.h>

#include "base/num.h"

/* The file may end inside its last cluster, which reads as zero from there;
 * a cluster that lies behind the end altogether was cut off under us. */
static int read_short(struct disk *d, size_t len, uint64_t hoff)
{
	struct host_stat st;
	int r = hostfile_stat(d->file, &st);

	if (r < 0)
		return r;
	return num_round_down(hoff + len - 1, d->geom->cluster_size) < st.size
		       ? 0
		       : -EIO;
}

int payload_read(struct disk *d, void *buf, size_t len, uint64_t hoff)
{
	size_t got;
	int r = hostfile_pread(d->file, buf, len, hoff, &got);

	if (r < 0 || got == len)
		return r;
	return read_short(d, len, hoff);
}

int payload_write(struct disk *d, const void *buf, size_t len, uint64_t hoff)
{
	int r = rolescan_check(d->meta, hoff, len, ROLE_DATA);

	return r < 0 ? r : hostfile_pwrite_full(d->file, buf, len, hoff);
}
