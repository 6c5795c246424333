#include "core/format/header.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/be.h"
#include "base/num.h"
#include "core/format/qcow2.h"
#include "core/format/table.h"

#define SNAPSHOT_RECORD_MIN 40U
#define V2_REFCOUNT_ORDER 4U

struct disk_header {
	struct be32 magic;		/*   0 */
	struct be32 version;		/*   4 */
	struct be64 backing_offset;	/*   8 */
	struct be32 backing_size;	/*  16 */
	struct be32 cluster_bits;	/*  20 */
	struct be64 size;		/*  24 */
	struct be32 crypt_method;	/*  32 */
	struct be32 l1_entries;		/*  36 */
	struct be64 l1_offset;		/*  40 */
	struct be64 reftable_offset;	/*  48 */
	struct be32 reftable_clusters;	/*  56 */
	struct be32 nb_snapshots;	/*  60 */
	struct be64 snapshots_offset;	/*  64 */
	/* version 3 */
	struct be64 incompatible;	/*  72 */
	struct be64 compatible;		/*  80 */
	struct be64 autoclear;		/*  88 */
	struct be32 refcount_order;	/*  96 */
	struct be32 header_len;		/* 100 */
	uint8_t compression;		/* 104 */
	uint8_t padding[7];		/* 105 */
};
_Static_assert(sizeof(struct disk_header) == QCOW2_OUR_HEADER_LEN, "size");
_Static_assert(offsetof(struct disk_header, incompatible) == 72, "version 2");
_Static_assert(offsetof(struct disk_header, compression) == 104, "version 3");

static int above(struct err *err, const char *field, uint64_t value,
		 uint64_t limit)
{
	return err_set(err, -EUCLEAN,
		       "%s is %" PRIu64 ", above the limit of %" PRIu64, field,
		       value, limit);
}

static int below(struct err *err, const char *field, uint64_t value,
		 uint64_t limit)
{
	return err_set(err, -EUCLEAN,
		       "%s is %" PRIu64 ", below the least value %" PRIu64,
		       field, value, limit);
}

static void get_fields(struct header *h, const struct disk_header *d)
{
	memset(h, 0, sizeof(*h));
	h->version = be32_get(d->version);
	h->backing_offset = be64_get(d->backing_offset);
	h->backing_size = be32_get(d->backing_size);
	h->cluster_bits = be32_get(d->cluster_bits);
	h->size = be64_get(d->size);
	h->crypt_method = be32_get(d->crypt_method);
	h->l1_entries = be32_get(d->l1_entries);
	h->l1_offset = be64_get(d->l1_offset);
	h->reftable_offset = be64_get(d->reftable_offset);
	h->reftable_clusters = be32_get(d->reftable_clusters);
	h->nb_snapshots = be32_get(d->nb_snapshots);
	h->snapshots_offset = be64_get(d->snapshots_offset);
	h->refcount_order = V2_REFCOUNT_ORDER;
	h->header_len = QCOW2_V2_HEADER_LEN;
}

static void get_v3_fields(struct header *h, const struct disk_header *d)
{
	h->incompatible = be64_get(d->incompatible);
	h->compatible = be64_get(d->compatible);
	h->autoclear = be64_get(d->autoclear);
	h->refcount_order = be32_get(d->refcount_order);
	h->header_len = be32_get(d->header_len);
	if (h->header_len > offsetof(struct disk_header, compression))
		h->compression = d->compression;
}

static int check_cluster_bits(const struct header *h, struct err *err)
{
	if (h->cluster_bits < QCOW2_CLUSTER_BITS_MIN)
		return below(err, "cluster_bits", h->cluster_bits,
			     QCOW2_CLUSTER_BITS_MIN);
	if (h->cluster_bits > QCOW2_CLUSTER_BITS_MAX)
		return above(err, "cluster_bits", h->cluster_bits,
			     QCOW2_CLUSTER_BITS_MAX);
	return 0;
}

static int check_header_len(const struct header *h, size_t len,
			    struct err *err)
{
	uint64_t cluster_size = 1ULL << h->cluster_bits;

	if (h->version == 2)
		return 0;
	if (len < QCOW2_V3_HEADER_LEN)
		return err_set(err, -EUCLEAN,
			       "the file has only %zu bytes, and a version 3 header at least %u",
			       len, QCOW2_V3_HEADER_LEN);
	if (h->header_len < QCOW2_V3_HEADER_LEN)
		return below(err, "header_length", h->header_len,
			     QCOW2_V3_HEADER_LEN);
	if (h->header_len > cluster_size)
		return above(err, "header_length", h->header_len, cluster_size);
	if (!num_is_aligned(h->header_len, 8))
		return err_set(err, -EUCLEAN,
			       "header_length is %" PRIu32 ", no multiple of 8",
			       h->header_len);
	if (h->header_len > len)
		return err_set(err, -EUCLEAN,
			       "header_length is %" PRIu32 ", but the file has only %zu bytes",
			       h->header_len, len);
	return 0;
}

static int check_compression(const struct header *h, struct err *err)
{
	bool bit = h->incompatible & QCOW2_INCOMPAT_COMPRESSION;

	if (bit != (h->compression != QCOW2_COMPRESSION_ZLIB))
		return err_set(err, -EUCLEAN,
			       "compression_type is %u, but the incompatible bit for it is %s",
			       h->compression, bit ? "set" : "not set");
	if (h->compression > QCOW2_COMPRESSION_ZSTD)
		return err_set(err, -ENOTSUP,
			       "compression_type is %u, and rawcow knows only 0 (zlib) and 1 (zstd)",
			       h->compression);
	return 0;
}

static int check_features(const struct header *h, struct err *err)
{
	if (h->crypt_method > QCOW2_CRYPT_LUKS)
		return above(err, "crypt_method", h->crypt_method,
			     QCOW2_CRYPT_LUKS);
	if (h->refcount_order > QCOW2_REFCOUNT_ORDER_MAX)
		return above(err, "refcount_order", h->refcount_order,
			     QCOW2_REFCOUNT_ORDER_MAX);
	if (h->incompatible & QCOW2_INCOMPAT_EXTL2 &&
	    h->cluster_bits < QCOW2_EXTL2_CLUSTER_BITS_MIN)
		return below(err, "cluster_bits with extended L2 entries",
			     h->cluster_bits, QCOW2_EXTL2_CLUSTER_BITS_MIN);
	return check_compression(h, err);
}

/* That the name is behind the extensions is headerext_decode()'s part. */
static int check_backing(struct header *h, const void *buf, size_t len,
			 struct err *err)
{
	uint64_t end = NUM_MIN((uint64_t)len, 1ULL << h->cluster_bits);

	if (h->backing_offset > end)
		return err_set(err, -EUCLEAN,
			       "backing_file_offset is %" PRIu64 ", behind the first cluster (%" PRIu64 ")",
			       h->backing_offset, end);
	/* The size is undefined without an offset; an empty name is none. */
	if (!h->backing_offset || !h->backing_size) {
		h->backing_offset = 0;
		h->backing_size = 0;
		return 0;
	}
	if (h->backing_size > QCOW2_MAX_BACKING_NAME)
		return above(err, "backing_file_size", h->backing_size,
			     QCOW2_MAX_BACKING_NAME);
	if (h->backing_offset < h->header_len)
		return below(err, "backing_file_offset", h->backing_offset,
			     h->header_len);
	if (!num_range_inside(h->backing_offset, h->backing_size, end))
		return err_set(err, -EUCLEAN,
			       "backing_file_offset is %" PRIu64 ": the name of %" PRIu32 " bytes ends behind the first cluster (%" PRIu64 ")",
			       h->backing_offset, h->backing_size, end);
	if (memchr((const char *)buf + h->backing_offset, 0, h->backing_size))
		return err_set(err, -EUCLEAN,
			       "the backing file name has a NUL byte in its %" PRIu32 " bytes",
			       h->backing_size);
	return 0;
}

static int check_l1(const struct header *h, uint64_t file_size,
		    struct err *err)
{
	uint64_t bytes = (uint64_t)h->l1_entries * 8;
	uint64_t needed;
	struct geom g;

	if (h->size > QCOW2_MAX_SIZE)
		return above(err, "size", h->size, QCOW2_MAX_SIZE);
	if (bytes > QCOW2_MAX_L1_BYTES)
		return above(err, "l1_size", h->l1_entries,
			     QCOW2_MAX_L1_BYTES / 8);
	header_geom(h, &g);
	needed = geom_l1_entries(&g, h->size);
	if (h->l1_entries < needed)
		return err_set(err, -EUCLEAN,
			       "l1_size is %" PRIu32 ", but a disk of %" PRIu64 " bytes needs %" PRIu64 " entries",
			       h->l1_entries, h->size, needed);
	return table_check("l1_table_offset", h->l1_offset, bytes,
			   g.cluster_size, file_size, err);
}

static int check_reftable(const struct header *h, uint64_t file_size,
			  struct err *err)
{
	uint64_t bytes = (uint64_t)h->reftable_clusters << h->cluster_bits;

	if (!h->reftable_clusters)
		return below(err, "refcount_table_clusters", 0, 1);
	if (bytes > QCOW2_MAX_REFTABLE_BYTES)
		return above(err, "refcount_table_clusters",
			     h->reftable_clusters,
			     QCOW2_MAX_REFTABLE_BYTES >> h->cluster_bits);
	return table_check("refcount_table_offset", h->reftable_offset, bytes,
			   1ULL << h->cluster_bits, file_size, err);
}

static int check_snapshots(const struct header *h, uint64_t file_size,
			   struct err *err)
{
	uint64_t bytes = (uint64_t)h->nb_snapshots * SNAPSHOT_RECORD_MIN;

	if (h->nb_snapshots > QCOW2_MAX_SNAPSHOTS)
		return above(err, "nb_snapshots", h->nb_snapshots,
			     QCOW2_MAX_SNAPSHOTS);
	return table_check("snapshots_offset", h->snapshots_offset, bytes,
			   1ULL << h->cluster_bits, file_size, err);
}

static int check_tables(const struct header *h, uint64_t file_size,
			struct err *err)
{
	int r = check_l1(h, file_size, err);

	if (!r)
		r = check_reftable(h, file_size, err);
	if (!r)
		r = check_snapshots(h, file_size, err);
	return r;
}

int header_decode(struct header *h, const void *buf, size_t len,
		  uint64_t file_size, struct err *err)
{
	struct disk_header d = { 0 };
	int r;

	if (len < QCOW2_V2_HEADER_LEN)
		return err_set(err, -EMEDIUMTYPE,
			       "not a qcow2 image: it has %zu bytes, and a header has at least %u",
			       len, QCOW2_V2_HEADER_LEN);
	memcpy(&d, buf, NUM_MIN(len, sizeof(d)));
	if (be32_get(d.magic) != QCOW2_MAGIC)
		return err_set(err, -EMEDIUMTYPE,
			       "not a qcow2 image: it starts with 0x%08" PRIx32 ", not 0x%08x",
			       be32_get(d.magic), QCOW2_MAGIC);
	get_fields(h, &d);
	if (h->version != 2 && h->version != 3)
		return err_set(err, -ENOTSUP,
			       "the qcow2 version is %" PRIu32 ", and rawcow knows only 2 and 3",
			       h->version);
	if (h->version == 3)
		get_v3_fields(h, &d);
	r = check_cluster_bits(h, err);
	if (!r)
		r = check_header_len(h, len, err);
	if (!r)
		r = check_features(h, err);
	if (!r)
		r = check_backing(h, buf, len, err);
	if (!r)
		r = check_tables(h, file_size, err);
	return r;
}

static void put_fields(struct disk_header *d, const struct header *h)
{
	d->magic = be32_make(QCOW2_MAGIC);
	d->version = be32_make(h->version);
	d->backing_offset = be64_make(h->backing_offset);
	d->backing_size = be32_make(h->backing_size);
	d->cluster_bits = be32_make(h->cluster_bits);
	d->size = be64_make(h->size);
	d->crypt_method = be32_make(h->crypt_method);
	d->l1_entries = be32_make(h->l1_entries);
	d->l1_offset = be64_make(h->l1_offset);
	d->reftable_offset = be64_make(h->reftable_offset);
	d->reftable_clusters = be32_make(h->reftable_clusters);
	d->nb_snapshots = be32_make(h->nb_snapshots);
	d->snapshots_offset = be64_make(h->snapshots_offset);
	d->incompatible = be64_make(h->incompatible);
	d->compatible = be64_make(h->compatible);
	d->autoclear = be64_make(h->autoclear);
	d->refcount_order = be32_make(h->refcount_order);
	d->header_len = be32_make(h->header_len);
	d->compression = h->compression;
}

void header_encode(const struct header *h, void *buf)
{
	size_t len = NUM_MIN(h->header_len, sizeof(struct disk_header));
	struct disk_header d;

	memcpy(&d, buf, len);
	put_fields(&d, h);
	memcpy(buf, &d, len);
}

bool header_data_raw(const struct header *h)
{
	return h->incompatible & QCOW2_INCOMPAT_DATA_FILE &&
	       h->autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW &&
	       !h->backing_offset && h->crypt_method == QCOW2_CRYPT_NONE;
}

void header_geom(const struct header *h, struct geom *g)
{
	geom_init(g, h->version, h->cluster_bits, h->refcount_order,
		  h->compression, h->size);
	if (h->incompatible & QCOW2_INCOMPAT_EXTL2)
		geom_extend(g);
	g->data_file = h->incompatible & QCOW2_INCOMPAT_DATA_FILE;
	g->data_raw = header_data_raw(h);
}
