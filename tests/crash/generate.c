/*
 * The start images and the two generators: all short sequences of an alphabet,
 * and long random ones.
 */
#include "workload.h"

#include <stdio.h>
#include <string.h>

#include "bitmapops.h"
#include "dice.h"

/* Guest clusters 0-7 are the places of the alphabet. */
#define MIX "dc.dzcd.ddccazd."
/* with subclusters: some in place 0 and 3, none in 2 */
#define SUBMIX "sc.szcd.dsccazd."

static const struct {
	const char *name;
	struct imgmake m;
} configs[] = {
	{ "512 v3 rc16 plain",
	  { .version = 3, .cluster_bits = 9, .refcount_order = 4,
	    .clusters = 160, .preset = MIX } },
	{ "512 v3 rc16 snapshot",
	  { .version = 3, .cluster_bits = 9, .refcount_order = 4,
	    .clusters = 160, .preset = MIX, .snapshot = true } },
	{ "512 v3 rc64 near a new block",
	  { .version = 3, .cluster_bits = 9, .refcount_order = 6,
	    .clusters = 160, .preset = MIX, .pad_to = 48 << 9 } },
	{ "512 v3 rc1",
	  { .version = 3, .cluster_bits = 9, .refcount_order = 0,
	    .clusters = 160, .preset = MIX } },
	{ "512 v2 rc16",
	  { .version = 2, .cluster_bits = 9, .refcount_order = 4,
	    .clusters = 160, .preset = MIX } },
	{ "512 v3 rc16 backing",
	  { .version = 3, .cluster_bits = 9, .refcount_order = 4,
	    .clusters = 160, .preset = MIX, .backing_sectors = 100 } },
	{ "4k v3 rc16 snapshot",
	  { .version = 3, .cluster_bits = 12, .refcount_order = 4,
	    .clusters = 64, .preset = MIX, .snapshot = true } },
	{ "64k v3 rc16",
	  { .version = 3, .cluster_bits = 16, .refcount_order = 4,
	    .clusters = 24, .preset = MIX } },
	{ "512 v3 rc16 autoclear",
	  { .version = 3, .cluster_bits = 9, .refcount_order = 4,
	    .clusters = 160, .preset = MIX, .autoclear = 0xf0 } },
	{ "512 v3 rc64 near a new table",
	  { .version = 3, .cluster_bits = 9, .refcount_order = 6,
	    .clusters = 200, .preset = MIX, .pad_to = (4096 - 88) << 9 } },
	{ "512 v2 rc16 backing snapshot",
	  { .version = 2, .cluster_bits = 9, .refcount_order = 4,
	    .clusters = 160, .preset = MIX, .snapshot = true,
	    .backing_sectors = 100 } },
	{ "4k v2 rc16 backing",
	  { .version = 2, .cluster_bits = 12, .refcount_order = 4,
	    .clusters = 64, .preset = MIX, .backing_sectors = 200 } },
	{ "4k v3 rc16 compressing",
	  { .version = 3, .cluster_bits = 12, .refcount_order = 4,
	    .clusters = 64, .preset = MIX, .compress = true } },
	{ "4k v3 rc2 compressing snapshot",
	  { .version = 3, .cluster_bits = 12, .refcount_order = 1,
	    .clusters = 64, .preset = MIX, .snapshot = true,
	    .compress = true } },
	{ "512 v3 rc16 bitmaps",
	  { .version = 3, .cluster_bits = 9, .refcount_order = 4,
	    .clusters = 160, .preset = MIX, .bitmaps = 9 } },
	{ "4k v3 rc16 bitmaps, extension across sectors",
	  { .version = 3, .cluster_bits = 12, .refcount_order = 4,
	    .clusters = 64, .preset = MIX, .bitmaps = 13, .ext_fill = 376 } },
	{ "4k v3 rc16 backing, end marker at the end of a sector",
	  { .version = 3, .cluster_bits = 12, .refcount_order = 4,
	    .clusters = 64, .preset = MIX, .backing_sectors = 200,
	    .ext_fill = 368 } },
	{ "16k v3 rc16 extended",
	  { .version = 3, .cluster_bits = 14, .refcount_order = 4,
	    .clusters = 40, .preset = SUBMIX, .extended = true } },
	{ "16k v3 rc16 extended snapshot backing",
	  { .version = 3, .cluster_bits = 14, .refcount_order = 4,
	    .clusters = 40, .preset = SUBMIX, .extended = true,
	    .snapshot = true, .backing_sectors = 200 } },
	{ "32k v3 rc16 extended backing",
	  { .version = 3, .cluster_bits = 15, .refcount_order = 4,
	    .clusters = 14, .preset = SUBMIX, .extended = true,
	    .backing_sectors = 200 } },
	{ "512 v3 rc16 data file",
	  { .version = 3, .cluster_bits = 9, .refcount_order = 4,
	    .clusters = 160, .preset = MIX, .data_file = true } },
	{ "4k v3 rc16 data file backing",
	  { .version = 3, .cluster_bits = 12, .refcount_order = 4,
	    .clusters = 64, .preset = MIX, .data_file = true,
	    .backing_sectors = 200 } },
	{ "4k v3 rc16 raw data file",
	  { .version = 3, .cluster_bits = 12, .refcount_order = 4,
	    .clusters = 64, .preset = MIX, .data_file = true,
	    .data_raw = true } },
	{ "512 v2 rc16 AES snapshot",
	  { .version = 2, .cluster_bits = 9, .refcount_order = 4,
	    .clusters = 160, .preset = MIX, .snapshot = true,
	    .crypt = GUESTCRYPT_AES } },
	{ "4k v3 rc16 LUKS",
	  { .version = 3, .cluster_bits = 12, .refcount_order = 4,
	    .clusters = 64, .preset = MIX, .crypt = GUESTCRYPT_LUKS } },
	{ "4k v3 rc16 LUKS snapshot backing",
	  { .version = 3, .cluster_bits = 12, .refcount_order = 4,
	    .clusters = 64, .preset = MIX, .snapshot = true,
	    .backing_sectors = 200, .crypt = GUESTCRYPT_LUKS } },
	{ "16k v3 rc16 extended LUKS snapshot",
	  { .version = 3, .cluster_bits = 14, .refcount_order = 4,
	    .clusters = 40, .preset = SUBMIX, .extended = true,
	    .snapshot = true, .crypt = GUESTCRYPT_LUKS } },
	{ "4k v3 rc16 LUKS data file",
	  { .version = 3, .cluster_bits = 12, .refcount_order = 4,
	    .clusters = 64, .preset = MIX, .data_file = true,
	    .crypt = GUESTCRYPT_LUKS } },
};

unsigned workload_configs(void)
{
	return sizeof(configs) / sizeof(*configs);
}

const char *workload_config_name(unsigned config)
{
	return configs[config].name;
}

const struct imgmake *workload_config(unsigned config)
{
	return &configs[config].m;
}

bool workload_has_bitmaps(unsigned config)
{
	return configs[config].m.bitmaps || configs[config].m.ext_fill;
}

/* Places in clusters, with a part in eighths of a cluster (0, 8: whole). */
static const struct {
	enum workload_type type;
	unsigned cluster, from8, len8;
} alphabet[] = {
	{ WORKLOAD_FLUSH, 0, 0, 0 },
	{ WORKLOAD_REOPEN, 0, 0, 0 },
	{ WORKLOAD_WRITE, 0, 0, 8 },	  /* data, whole */
	{ WORKLOAD_WRITE, 1, 0, 8 },	  /* compressed, whole */
	{ WORKLOAD_WRITE, 1, 2, 1 },	  /* compressed, part */
	{ WORKLOAD_WRITE, 2, 0, 8 },	  /* empty, whole */
	{ WORKLOAD_WRITE, 2, 3, 1 },	  /* empty, part */
	{ WORKLOAD_WRITE, 4, 1, 1 },	  /* zero, part */
	{ WORKLOAD_WRITE, 12, 0, 2 },	  /* zero with a cluster, part */
	{ WORKLOAD_WRITE, 0, 4, 16 },	  /* data, compressed, empty */
	{ WORKLOAD_WRITE, 62, 0, 32 },	  /* over the edge of an L2 table */
	{ WORKLOAD_WRITE, 140, 0, 8 },	  /* no L2 table yet */
	{ WORKLOAD_DISCARD, 0, 0, 8 },
	{ WORKLOAD_DISCARD, 1, 0, 8 },
	{ WORKLOAD_DISCARD, 8, 0, 32 },
	{ WORKLOAD_ZERO, 0, 0, 8 },
	{ WORKLOAD_ZERO, 1, 1, 4 },
	{ WORKLOAD_SNAP_CREATE, 0, 0, 0 },
	{ WORKLOAD_SNAP_APPLY, 0, 0, 0 },
	{ WORKLOAD_SNAP_DELETE, 0, 0, 0 },
	{ WORKLOAD_RESIZE, 1, 3, 0 },	 /* inside a cluster */
	{ WORKLOAD_RESIZE, 9, 0, 0 },
	{ WORKLOAD_RESIZE, 1000, 0, 0 }, /* as large as it was */
	{ WORKLOAD_WRITE_FLUSH_1, 5, 0, 1 },
	{ WORKLOAD_WRITE_FLUSH_2, 0, 0, 1 },
	{ WORKLOAD_WRITE, 100, 0, 80 }, /* ten clusters, a new L2 table */
	{ WORKLOAD_BITMAP_ADD, 0, 0, 0 },
	{ WORKLOAD_BITMAP_REMOVE, 0, 0, 0 },
	{ WORKLOAD_WRITE, 3, 1, 0 },	/* one sector; subclusters before it */
	{ WORKLOAD_DISCARD, 3, 1, 1 },	/* a part of a cluster */
	{ WORKLOAD_BITMAP_CLEAR, 0, 0, 0 },   /* which bitmap: bitmapops.h */
	{ WORKLOAD_BITMAP_CLEAR, 1, 0, 0 },
	{ WORKLOAD_BITMAP_DISABLE, 0, 0, 0 },
	{ WORKLOAD_BITMAP_ENABLE, 1, 0, 0 },
	{ WORKLOAD_BITMAP_MERGE, 0, 0, 0 },   /* d to a */
	{ WORKLOAD_BITMAP_MERGE, 4, 0, 0 },   /* a to d */
};

uint64_t workload_alphabet(void)
{
	return sizeof(alphabet) / sizeof(*alphabet);
}

static void add(struct workload *w, enum workload_type type, uint64_t sec,
		uint64_t n)
{
	const struct imgmake *m = &configs[w->config].m;
	uint64_t all = m->clusters << (m->cluster_bits - 9);

	if (w->n == WORKLOAD_MAX)
		return;
	if (bitmapops_has(type))
		n = 0; /* sec is no place */
	else if (type == WORKLOAD_RESIZE)
		sec = sec > all ? all : sec ? sec : 1;
	else
		sec %= all;
	w->op[w->n++] = (struct workload_op){ type, sec,
					      sec + n > all ? all - sec : n };
}

bool workload_exhaustive(struct workload *w, unsigned config, unsigned len,
			 uint64_t index)
{
	uint64_t n = workload_alphabet(), left = index;
	unsigned spc = 1U << (configs[config].m.cluster_bits - 9);

	memset(w, 0, sizeof(*w));
	w->config = config;
	w->seed = index;
	w->fail_sync = -1;
	for (unsigned i = 0; i < len; i++, left /= n) {
		unsigned a = left % n;
		uint64_t sec = (uint64_t)alphabet[a].cluster * spc +
			       alphabet[a].from8 * spc / 8;
		uint64_t k = (uint64_t)alphabet[a].len8 * spc / 8;

		if (bitmapops_has(alphabet[a].type))
			sec = alphabet[a].cluster;
		add(w, alphabet[a].type, sec, k ? k : 1);
	}
	add(w, WORKLOAD_FLUSH, 0, 0);
	snprintf(w->name, sizeof(w->name), "all:%u:%u:%llu", config, len,
		 (unsigned long long)index);
	return left == 0;
}

static enum workload_type random_type(uint64_t *s)
{
	unsigned r = (unsigned)(dice_throw(s) % 100);

	if (r < 50)
		return WORKLOAD_WRITE;
	if (r < 62)
		return WORKLOAD_DISCARD;
	if (r < 70)
		return WORKLOAD_ZERO;
	if (r < 84)
		return WORKLOAD_FLUSH;
	if (r < 88)
		return WORKLOAD_COMMIT_ALL;
	if (r < 90)
		return WORKLOAD_REOPEN;
	if (r < 93)
		return WORKLOAD_SNAP_CREATE + r % 3;
	if (r < 95)
		return WORKLOAD_RESIZE;
	return r < 97 ? WORKLOAD_WRITE_FLUSH_1 : WORKLOAD_WRITE_FLUSH_2;
}

/* More come than go. */
static enum workload_type random_bitmap_op(uint64_t *s)
{
	unsigned r = (unsigned)(dice_throw(s) % 8);

	return r < 3 ? WORKLOAD_BITMAP_ADD : WORKLOAD_BITMAP_REMOVE + r - 3;
}

void workload_random(struct workload *w, unsigned config, uint64_t seed)
{
	uint64_t s = seed * 31 + config, spc, ops, clusters, len, at;

	memset(w, 0, sizeof(*w));
	w->config = config;
	w->seed = seed;
	w->fail_sync = -1;
	spc = 1ULL << (configs[config].m.cluster_bits - 9);
	clusters = configs[config].m.clusters;
	ops = dice_throw(&s);
	ops = 20 + ops % (dice_throw(&s) % 4 ? 40 : 180);
	for (uint64_t i = 0; i < ops; i++) {
		enum workload_type t = random_type(&s);

		if (workload_has_bitmaps(config) && dice_throw(&s) % 8 == 0)
			t = random_bitmap_op(&s);
		/* most of it where something is already */
		at = dice_throw(&s) % 3 ? dice_throw(&s) % 16 :
					  dice_throw(&s) % clusters;
		at = at * spc + (dice_throw(&s) % 2 ? dice_throw(&s) % spc : 0);
		len = dice_throw(&s) % 4 ? 1 + dice_throw(&s) % (2 * spc) :
				     spc * (1 + dice_throw(&s) % 8);
		/* and of a few subclusters */
		if (configs[config].m.extended && dice_throw(&s) % 2)
			len = 1 + dice_throw(&s) % (spc / 8);
		add(w, t, at, len);
	}
	add(w, WORKLOAD_FLUSH, 0, 0);
	snprintf(w->name, sizeof(w->name), "random:%u:%llu", config,
		 (unsigned long long)seed);
}

void workload_print(const struct workload *w)
{
	static const char *const names[] = {
		"write", "zero", "discard", "flush", "commit", "reopen",
		"snapshot", "apply", "delete", "resize",
		"write+flush1", "write+flush2", "add bitmap",
		"remove bitmap", "clear bitmap", "enable bitmap",
		"disable bitmap", "merge bitmap",
	};

	printf("workload %s: image \"%s\"\n", w->name,
	       configs[w->config].name);
	for (unsigned i = 0; i < w->n; i++)
		printf("  %u: %s sector %llu + %llu\n", i + 1,
		       names[w->op[i].type], (unsigned long long)w->op[i].sec,
		       (unsigned long long)w->op[i].n);
}
