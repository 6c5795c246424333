/* datafix: see datafix.h. */
#include "datafix.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "core/data/read.h"

static int read_back(void *ctx, void *buf, size_t len, uint64_t off)
{
	struct datafix *df = ctx;

	if (df->fail_backing)
		return -EIO;
	if (off + len > df->backing.size)
		abort();
	memcpy(buf, df->back + off, len);
	return 0;
}

void datafix_build(struct datafix *df, const struct imgbuild_params *p,
		   uint64_t backing)
{
	memset(df, 0, sizeof(*df));
	if (p->size > DATAFIX_MAX || backing > DATAFIX_MAX)
		abort();
	metafix_build(&df->fx, p);
	for (uint64_t i = 0; i < backing; i++)
		df->back[i] = (unsigned char)(rand() % 255 + 1);
	df->backing = (struct backing){ df, backing, read_back };
	memcpy(df->want, df->back, p->size);
}

void datafix_mix(struct datafix *df)
{
	struct imgbuild *b = &df->fx.b;
	unsigned char *buf = malloc(b->csize);

	for (uint64_t off = 0; off + b->csize <= b->p.size; off += b->csize) {
		memset(buf, 1 + rand() % 255, b->csize);
		switch (rand() % 5) {
		case 0:
			imgbuild_data(b, off, buf, b->csize);
			break;
		case 1:
			imgbuild_compressed(b, off, buf);
			break;
		case 2:
			if (b->p.version == 2)
				continue;
			imgbuild_zero_plain(b, off);
			memset(buf, 0, b->csize);
			break;
		case 3:
			if (b->p.version == 2)
				continue;
			imgbuild_zero_alloc(b, off);
			memset(buf, 0, b->csize);
			break;
		default:
			continue;
		}
		memcpy(df->want + off, buf, b->csize);
	}
	free(buf);
}

void datafix_open(struct datafix *df)
{
	struct disk *d = &df->d;

	metafix_open(&df->fx);
	d->geom = &df->fx.g;
	d->file = df->fx.file;
	d->meta = &df->fx.m;
	d->codec = codec_get(df->fx.g.compression);
	if (clustercache_new(&d->cache, df->fx.g.cluster_size, 1))
		abort();
	d->backing = df->backing.size ? &df->backing : NULL;
	inflight_init(&d->inflight);
}

void datafix_close(struct datafix *df)
{
	inflight_fini(&df->d.inflight);
	clustercache_free(df->d.cache);
	metafix_close(&df->fx);
}

bool datafix_matches(struct datafix *df)
{
	static unsigned char buf[DATAFIX_MAX];
	uint64_t size = df->fx.g.size;
	uint64_t step = 1 + (uint64_t)rand() % 20000;

	for (uint64_t off = 0; off < size; off += step) {
		uint64_t n = NUM_MIN(step, size - off);

		if (read_range(&df->d, buf, n, off) ||
		    memcmp(buf, df->want + off, n)) {
			fprintf(stderr, "differs in [%llu, +%llu)\n",
				(unsigned long long)off, (unsigned long long)n);
			return false;
		}
	}
	return true;
}
