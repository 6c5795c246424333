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

static const struct {
	unsigned version, bits;
	uint64_t size, backing;
	enum { STANDARD, ZSTD, EXTENDED, DATA_FILE, DATA_RAW } what;
} rows[] = {
	{ 3, 9, 100000 / 512 * 512, 0, STANDARD },
	{ 3, 9, 131072, 131072, STANDARD },
	{ 3, 12, 200704 + 512, 0, STANDARD },	   /* ends inside a cluster */
	{ 3, 12, 200704 + 512, 150000, STANDARD }, /* shorter backing file */
	{ 3, 12, 100000 / 512 * 512, 200000, STANDARD }, /* longer */
	{ 2, 9, 131072, 0, STANDARD },
	{ 2, 12, 200704 + 512, 0, STANDARD },
	{ 2, 12, 200704 + 512, 150000, STANDARD },
	{ 3, 16, 262144 - 512, 100001, STANDARD },
	{ 3, 14, 200704 + 512, 0, EXTENDED },
	{ 3, 14, 200704 + 512, 150000, EXTENDED },
	{ 3, 16, 262144 - 512, 100001, EXTENDED },
	{ 3, 16, 200000 / 512 * 512, 262144, EXTENDED },
	{ 3, 9, 100000 / 512 * 512, 0, DATA_FILE },
	{ 3, 12, 200704 + 512, 150000, DATA_FILE },
	{ 3, 16, 262144 - 512, 0, DATA_FILE },
	{ 3, 12, 200704 + 512, 0, DATA_RAW },
	{ 3, 16, 262144 - 512, 0, DATA_RAW },
#if defined(HAVE_ZSTD)
	{ 3, 12, 200704, 0, ZSTD },
#endif
};

unsigned datafix_rows(void)
{
	return sizeof(rows) / sizeof(*rows);
}

void datafix_build_row(struct datafix *df, size_t i)
{
	struct imgbuild_params p = { .version = rows[i].version,
				     .cluster_bits = rows[i].bits,
				     .refcount_order = 4,
				     .size = rows[i].size,
				     .zstd = rows[i].what == ZSTD,
				     .extended = rows[i].what == EXTENDED,
				     .data_file = rows[i].what >= DATA_FILE,
				     .data_raw = rows[i].what == DATA_RAW };

	srand((unsigned)i);
	datafix_build(df, &p, rows[i].backing);
}

/* Subclusters of every kind at OFF; those without data hold junk. */
static void mix_subclusters(struct datafix *df, uint64_t off,
			    unsigned char *buf)
{
	struct imgbuild *b = &df->fx.b;
	uint64_t size = b->csize / 32, bitmap = 0;

	for (unsigned i = 0; i < 32; i++) {
		unsigned char *want = df->want + off + i * size;

		switch (rand() % 3) {
		case 0:
			bitmap |= 1ULL << i;
			memcpy(want, buf + i * size, size);
			break;
		case 1:
			bitmap |= 1ULL << (32 + i);
			memset(want, 0, size);
			break;
		}
	}
	imgbuild_subclusters(b, off, buf, b->csize, bitmap);
}

void datafix_mix(struct datafix *df)
{
	struct imgbuild *b = &df->fx.b;
	unsigned char *buf = malloc(b->csize);

	for (uint64_t off = 0; off + b->csize <= b->p.size; off += b->csize) {
		memset(buf, 1 + rand() % 255, b->csize);
		if (b->p.extended && rand() % 2) {
			mix_subclusters(df, off, buf);
			continue;
		}
		switch (rand() % 5) {
		case 0:
			imgbuild_data(b, off, buf, b->csize);
			break;
		case 1:
			if (b->p.data_file)
				continue;
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
	d->data = df->fx.data ? df->fx.data : d->file;
	d->meta = &df->fx.m;
	d->codec = codec_get(df->fx.g.compression);
	if (clustercache_new(&d->cache, df->fx.g.cluster_size, 1))
		abort();
	d->backing = df->backing.size ? &df->backing : NULL;
	inflight_init(&d->inflight);
}

void datafix_reopen(struct datafix *df)
{
	metafix_reopen(&df->fx);
	df->d.file = df->fx.file;
	df->d.data = df->fx.data ? df->fx.data : df->fx.file;
}

void datafix_close(struct datafix *df)
{
	inflight_fini(&df->d.inflight);
	clustercache_free(df->d.cache);
	metafix_close(&df->fx);
}

static bool raw_matches(struct datafix *df)
{
	static unsigned char buf[DATAFIX_MAX];
	uint64_t size = df->fx.g.size;

	hostmem_read(df->fx.data_mem, buf, size, 0);
	return hostmem_size(df->fx.data_mem) == size &&
	       !memcmp(buf, df->want, size);
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
	return !df->fx.g.data_raw || raw_matches(df);
}
