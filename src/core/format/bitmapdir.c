#include "core/format/bitmapdir.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/be.h"
#include "base/num.h"
#include "core/format/qcow2.h"

struct disk_ext {
	struct be32 n;	      /*  0 */
	struct be32 reserved; /*  4 */
	struct be64 len;      /*  8 */
	struct be64 off;      /* 16 */
};
_Static_assert(sizeof(struct disk_ext) == BITMAPDIR_EXT_LEN, "size");

struct disk_entry {
	struct be64 table_off;	   /*  0 */
	struct be32 table_entries; /*  8 */
	struct be32 flags;	   /* 12 */
	uint8_t type;		   /* 16 */
	uint8_t granularity_bits;  /* 17 */
	struct be16 name_len;	   /* 18 */
	struct be32 extra_len;	   /* 20 */
};
_Static_assert(sizeof(struct disk_entry) == 24, "size");
_Static_assert(offsetof(struct disk_entry, flags) == BITMAPDIR_FLAGS_AT, "place");

#define TABLE_RESERVED 0xff000000000001feULL

/* A file's last cluster may be cut short. */
static bool inside(uint64_t off, uint64_t len, const struct geom *g,
		   uint64_t file_size)
{
	return num_range_inside(off, len,
				num_round_up(file_size, g->cluster_size));
}

int bitmapdir_decode_ext(struct bitmapdir *d, const void *data, uint32_t len,
			 const struct geom *g, uint64_t file_size,
			 struct err *err)
{
	struct disk_ext x;

	if (len != sizeof(x))
		return err_set(err, -EUCLEAN,
			       "the bitmaps extension has %" PRIu32 " bytes, not %zu",
			       len, sizeof(x));
	memcpy(&x, data, sizeof(x));
	*d = (struct bitmapdir){ be32_get(x.n), be64_get(x.len),
				 be64_get(x.off) };
	if (!d->n || d->n > QCOW2_MAX_BITMAPS || be32_get(x.reserved))
		return err_set(err, -EUCLEAN,
			       "the bitmaps extension counts %" PRIu32 " bitmaps (1 to %u), or has reserved bits",
			       d->n, QCOW2_MAX_BITMAPS);
	if (!d->len || d->len > QCOW2_MAX_BITMAP_DIR)
		return err_set(err, -EUCLEAN,
			       "the bitmap directory has %" PRIu64 " bytes; 1 to %u are allowed",
			       d->len, QCOW2_MAX_BITMAP_DIR);
	if (!d->off || !num_is_aligned(d->off, g->cluster_size) ||
	    !inside(d->off, d->len, g, file_size))
		return err_set(err, -EUCLEAN,
			       "the bitmap directory at %#" PRIx64 " is not aligned, or outside the file",
			       d->off);
	return 0;
}

void bitmapdir_encode_ext(const struct bitmapdir *d,
			  uint8_t out[BITMAPDIR_EXT_LEN])
{
	struct disk_ext x = { .n = be32_make(d->n),
			      .len = be64_make(d->len),
			      .off = be64_make(d->off) };

	memcpy(out, &x, sizeof(x));
}

int bitmapdir_decode(struct bitmapdir_entry *e, const void *buf, size_t len,
		     size_t *pos, struct err *err)
{
	const uint8_t *p = (const uint8_t *)buf + *pos;
	struct disk_entry d;

	if (!num_range_inside(*pos, sizeof(d), len))
		goto short_dir;
	memcpy(&d, p, sizeof(d));
	*e = (struct bitmapdir_entry){
		.table_off = be64_get(d.table_off),
		.table_entries = be32_get(d.table_entries),
		.flags = be32_get(d.flags),
		.type = d.type,
		.granularity_bits = d.granularity_bits,
		.name_len = be16_get(d.name_len),
		.extra_len = be32_get(d.extra_len),
		.extra = p + sizeof(d),
	};
	if (!num_range_inside(*pos, bitmapdir_size(e), len))
		goto short_dir;
	e->name = (const char *)e->extra + e->extra_len;
	*pos += bitmapdir_size(e);
	return 0;
short_dir:
	return err_set(err, -EUCLEAN, "it runs past the end of the directory");
}

int bitmapdir_check(const struct bitmapdir_entry *e, const struct geom *g,
		    uint64_t file_size, struct err *err)
{
	uint64_t max = BITMAPDIR_DATA_MAX >> g->cluster_bits;

	if (!e->name_len)
		return err_set(err, -EUCLEAN, "its name is empty");
	if (!e->table_entries || e->table_entries > max)
		return err_set(err, -EUCLEAN,
			       "its table has %" PRIu32 " entries; 1 to %" PRIu64 " are allowed",
			       e->table_entries, max);
	if (!e->table_off || !num_is_aligned(e->table_off, g->cluster_size) ||
	    !inside(e->table_off, e->table_entries * 8ULL, g, file_size))
		return err_set(err, -EUCLEAN,
			       "its table at %#" PRIx64 " is not aligned, or outside the file",
			       e->table_off);
	if (e->granularity_bits > 63)
		return err_set(err, -EUCLEAN, "its granularity is 2^%u bytes",
			       e->granularity_bits);
	if (!(e->flags & BITMAPDIR_IN_USE) && e->type == BITMAPDIR_TYPE_DIRTY &&
	    e->table_entries < bitmapdir_table_need(g, e->granularity_bits))
		return err_set(err, -EUCLEAN,
			       "its table has %" PRIu32 " entries, too few for the disk",
			       e->table_entries);
	return 0;
}

int bitmapdir_add_table(uint64_t *bytes, uint64_t n, struct err *err)
{
	*bytes += n * 8;
	if (*bytes <= QCOW2_MAX_BITMAP_TABLES)
		return 0;
	return err_set(err, -EUCLEAN,
		       "the tables of all bitmaps are longer than %u MiB",
		       QCOW2_MAX_BITMAP_TABLES >> 20);
}

const char *bitmapdir_unusable(const struct bitmapdir_entry *e)
{
	if (e->type != BITMAPDIR_TYPE_DIRTY)
		return "it is of a type that rawcow does not know";
	if (e->flags & ~BITMAPDIR_FLAGS)
		return "it has flags that rawcow does not know";
	if (e->extra_len && !(e->flags & BITMAPDIR_EXTRA_COMPATIBLE))
		return "it has extra data without which it must not be used";
	if (e->granularity_bits < BITMAPDIR_GRANULARITY_MIN ||
	    e->granularity_bits > BITMAPDIR_GRANULARITY_MAX)
		return "its granularity is not between 512 and 2147483648 bytes";
	if (e->name_len > BITMAPDIR_NAME_MAX ||
	    memchr(e->name, '\0', e->name_len))
		return "its name is longer than 1023 bytes, or has a NUL";
	return NULL;
}

size_t bitmapdir_size(const struct bitmapdir_entry *e)
{
	return (size_t)num_round_up(sizeof(struct disk_entry) +
					    (uint64_t)e->extra_len + e->name_len,
				    8);
}

void bitmapdir_encode(const struct bitmapdir_entry *e, void *out)
{
	struct disk_entry d = {
		.table_off = be64_make(e->table_off),
		.table_entries = be32_make(e->table_entries),
		.flags = be32_make(e->flags),
		.type = e->type,
		.granularity_bits = e->granularity_bits,
		.name_len = be16_make(e->name_len),
		.extra_len = be32_make(e->extra_len),
	};
	uint8_t *p = out;

	memset(p, 0, bitmapdir_size(e));
	memcpy(p, &d, sizeof(d));
	if (e->extra_len)
		memcpy(p + sizeof(d), e->extra, e->extra_len);
	memcpy(p + sizeof(d) + e->extra_len, e->name, e->name_len);
}

int bitmapdir_table_decode(uint64_t raw, const struct geom *g,
			   uint64_t file_size, enum bitmapdir_kind *kind,
			   uint64_t *hoff)
{
	uint64_t off = raw & QCOW2_OFFSET_MASK;

	*hoff = off;
	*kind = off ? BITMAPDIR_DATA :
		raw & 1 ? BITMAPDIR_ONES : BITMAPDIR_ZEROES;
	if (raw & TABLE_RESERVED || (off && (raw & 1)) ||
	    !num_is_aligned(off, g->cluster_size) ||
	    (off && !inside(off, g->cluster_size, g, file_size)))
		return -EUCLEAN;
	return 0;
}

uint64_t bitmapdir_bits(uint64_t size, unsigned granularity_bits)
{
	return (size >> granularity_bits) +
	       ((size & ((1ULL << granularity_bits) - 1)) != 0);
}

uint64_t bitmapdir_bytes(uint64_t size, unsigned granularity_bits)
{
	return num_div_ceil(bitmapdir_bits(size, granularity_bits), 8);
}

uint64_t bitmapdir_table_need(const struct geom *g, unsigned granularity_bits)
{
	uint64_t n = geom_clusters(g, bitmapdir_bytes(g->size,
						      granularity_bits));

	return NUM_MAX(n, 1);
}
