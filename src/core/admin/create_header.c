/* create_header: the first cluster of a new image; see create_work.h. */
#include "core/admin/create_work.h"

#include <errno.h>
#include <string.h>

#include "base/num.h"
#include "core/format/feature.h"
#include "core/format/header.h"
#include "core/format/headerext.h"
#include "core/format/qcow2.h"

static void header_fields(const struct create_work *c, struct header *h)
{
	const struct create_opts *o = c->opts;

	*h = (struct header){
		.version = o->version,
		.cluster_bits = c->g.cluster_bits,
		.size = c->g.size,
		.crypt_method = c->luks.len ? QCOW2_CRYPT_LUKS :
					      QCOW2_CRYPT_NONE,
		.l1_entries = (uint32_t)c->row.l1_entries,
		.l1_offset = c->row.l1 << c->g.cluster_bits,
		.reftable_offset = c->row.reftable << c->g.cluster_bits,
		.reftable_clusters = (uint32_t)c->row.n_reftable,
		.refcount_order = c->g.refcount_order,
		.header_len = o->version == 2 ? QCOW2_V2_HEADER_LEN :
						QCOW2_OUR_HEADER_LEN,
		.compression = (uint8_t)o->compression,
	};
	if (o->compression != QCOW2_COMPRESSION_ZLIB)
		h->incompatible |= QCOW2_INCOMPAT_COMPRESSION;
	if (o->extended_l2)
		h->incompatible |= QCOW2_INCOMPAT_EXTL2;
	if (o->data_file)
		h->incompatible |= QCOW2_INCOMPAT_DATA_FILE;
	if (o->data_file_raw)
		h->autoclear |= QCOW2_AUTOCLEAR_DATA_FILE_RAW;
	if (o->lazy_refcounts)
		h->compatible |= QCOW2_COMPAT_LAZY_REFCOUNTS;
}

/* Put the extensions and the backing name behind the header in BUF of CAP
 * bytes. The table of feature names is a comfort: it goes when room is short. */
static int append_rest(const struct create_work *c, struct header *h, void *buf,
		       size_t cap)
{
	const struct create_opts *o = c->opts;
	size_t name_len = o->backing_file ? strlen(o->backing_file) : 0;
	size_t pos = h->header_len;
	uint32_t len;
	const void *names = feature_name_table(&len);
	uint8_t area[16];
	int ret = 0;

	lukshdr_put_area(area, c->row.luks << c->g.cluster_bits, c->luks.len);
	if (c->luks.len)
		ret = headerext_append(buf, cap, &pos, QCOW2_EXT_CRYPTO, area,
				       sizeof(area));
	if (!ret && o->backing_file)
		ret = headerext_append(buf, cap, &pos,
				       QCOW2_EXT_BACKING_FORMAT,
				       o->backing_format,
				       (uint32_t)strlen(o->backing_format));
	if (!ret && o->data_file)
		ret = headerext_append(buf, cap, &pos, QCOW2_EXT_DATA_FILE,
				       o->data_file,
				       (uint32_t)strlen(o->data_file));
	if (!ret && h->version >= 3 &&
	    pos + 8 + num_round_up(len, 8) + 8 + name_len <= cap)
		ret = headerext_append(buf, cap, &pos, QCOW2_EXT_FEATURE_NAMES,
				       names, len);
	if (!ret)
		ret = headerext_append(buf, cap, &pos, QCOW2_EXT_END, NULL, 0);
	if (ret || name_len > cap - pos)
		return err_set(c->err, -EINVAL, "the names of its files do "
			       "not fit a header cluster of %zu bytes; use a "
			       "larger cluster_size or a shorter name", cap);
	if (name_len) {
		memcpy((uint8_t *)buf + pos, o->backing_file, name_len);
		h->backing_offset = pos;
		h->backing_size = (uint32_t)name_len;
	}
	return 0;
}

int create_header_make(const struct create_work *c, void *buf)
{
	struct header h;
	int ret;

	header_fields(c, &h);
	ret = append_rest(c, &h, buf, (size_t)c->g.cluster_size);
	if (!ret)
		header_encode(&h, buf);
	return ret;
}
