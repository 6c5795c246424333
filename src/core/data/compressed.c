#include "core/data/compressed.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/scratch.h"

/* Decode the whole cluster into OUT. */
static int decode(struct disk *d, const struct extent *e, void *out)
{
	void *in = scratch_get(SCRATCH_STREAM, e->clen);
	size_t got;
	int r;

	if (!d->codec)
		return -ENOTSUP;
	if (!in)
		return -ENOMEM;
	/* The descriptor counts whole sectors; the file may end in the last. */
	r = hostfile_pread(d->file, in, e->clen, e->hoff, &got);
	if (r == 0)
		r = d->codec->decompress(out, d->geom->cluster_size, in, got);
	if (r == -EIO)
		log_limited(LOG_LEVEL_ERROR,
			    "%s: cannot read the compressed cluster at host offset %#llx",
			    d->file->name, (unsigned long long)e->hoff);
	return r;
}

int compressed_read(struct disk *d, const struct extent *e, void *buf,
		    uint64_t from, size_t len)
{
	void *cluster;
	int r;

	if (clustercache_copy(d->cache, e->hoff, buf, from, len))
		return 0;
	/* A whole cluster goes straight into the reply, and is not kept: who
	 * reads that way will not read it again soon. */
	if (len == d->geom->cluster_size)
		return decode(d, e, buf);
	cluster = scratch_get(SCRATCH_CLUSTER, d->geom->cluster_size);
	if (!cluster)
		return -ENOMEM;
	r = decode(d, e, cluster);
	if (r < 0)
		return r;
	memcpy(buf, (uint8_t *)cluster + from, len);
	clustercache_insert(d->cache, e->hoff, cluster);
	return 0;
}
