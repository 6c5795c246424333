#include "core/admin/create_check.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/num.h"
#include "core/codec/codec.h"
#include "core/format/qcow2.h"

static int check_ranges(const struct create_opts *o, struct err *err)
{
	if (o->version != 2 && o->version != 3)
		return err_set(err, -EINVAL,
			       "version %u does not exist; use 2 or 3",
			       o->version);
	if (!num_is_pow2(o->cluster_size) ||
	    o->cluster_size < 1U << QCOW2_CLUSTER_BITS_MIN ||
	    o->cluster_size > 1U << QCOW2_CLUSTER_BITS_MAX)
		return err_set(err, -EINVAL,
			       "cluster_size %" PRIu64 " is not a power of two "
			       "from 512 to 2M",
			       o->cluster_size);
	if (!num_is_pow2(o->refcount_bits) || o->refcount_bits > 64)
		return err_set(err, -EINVAL,
			       "refcount_bits %u is not a power of two from 1 "
			       "to 64",
			       o->refcount_bits);
	if (o->size > QCOW2_MAX_SIZE)
		return err_set(err, -EFBIG,
			       "a disk of %" PRIu64 " bytes is "
			       "too big for qcow2",
			       o->size);
	return 0;
}

static int check_version2(const struct create_opts *o, struct err *err)
{
	const char *what = NULL;

	if (o->version != 2)
		return 0;
	if (o->refcount_bits != 16)
		what = "refcount_bits other than 16";
	else if (o->compression != QCOW2_COMPRESSION_ZLIB)
		what = "compression_type other than zlib";
	else if (o->lazy_refcounts)
		what = "lazy_refcounts";
	else if (o->extended_l2)
		what = "extended_l2";
	else if (o->luks && o->prealloc != CREATE_PREALLOC_OFF)
		what = "preallocation of an encrypted image";
	else if (o->data_file)
		what = "data_file";
	if (what)
		return err_set(err, -EINVAL,
			       "%s needs version 3; use compat=1.1", what);
	return 0;
}

static int check_extended(const struct create_opts *o, struct err *err)
{
	if (!o->extended_l2 ||
	    o->cluster_size >= 1U << QCOW2_EXTL2_CLUSTER_BITS_MIN)
		return 0;
	return err_set(err, -EINVAL,
		       "extended_l2 needs clusters of 16k at least, and "
		       "cluster_size is %" PRIu64,
		       o->cluster_size);
}

static int check_backing(const struct create_opts *o, struct err *err)
{
	if (!o->backing_file) {
		if (o->backing_format)
			return err_set(err, -EINVAL,
				       "a backing format without "
				       "a backing file; name the file as well");
		return 0;
	}
	if (!o->backing_format)
		return err_set(err, -EINVAL,
			       "a backing file without a format; "
			       "say raw or qcow2");
	if (strcmp(o->backing_format, "raw") &&
	    strcmp(o->backing_format, "qcow2"))
		return err_set(err, -EINVAL,
			       "backing format '%s' is not known;"
			       " use raw or qcow2",
			       o->backing_format);
	if (!*o->backing_file ||
	    strlen(o->backing_file) > QCOW2_MAX_BACKING_NAME)
		return err_set(err, -EINVAL,
			       "the backing file's name must "
			       "have 1 to %u bytes",
			       QCOW2_MAX_BACKING_NAME);
	/* with subclusters a place does not hide what is behind it */
	if (o->prealloc != CREATE_PREALLOC_OFF && !o->extended_l2)
		return err_set(err, -EINVAL,
			       "preallocation would hide the "
			       "backing file; leave one of them out, or add "
			       "extended_l2=on");
	return 0;
}

static int check_data_file(const struct create_opts *o, struct err *err)
{
	if (!o->data_file)
		return o->data_file_raw
			       ? err_set(err, -EINVAL,
					 "data_file_raw without a "
					 "data_file; name the file as well")
			       : 0;
	if (!*o->data_file || strlen(o->data_file) > QCOW2_MAX_DATA_FILE_NAME)
		return err_set(err, -EINVAL,
			       "the data file's name must have 1 "
			       "to %u bytes",
			       QCOW2_MAX_DATA_FILE_NAME);
	if (o->data_file_raw && o->luks)
		return err_set(err, -EINVAL,
			       "data_file_raw and encryption "
			       "exclude each other: raw is not encrypted");
	if (o->data_file_raw && o->backing_file)
		return err_set(err, -EINVAL,
			       "data_file_raw and a backing file "
			       "exclude each other: a raw data file is all of "
			       "the disk");
	return 0;
}

int create_check(const struct create_opts *o, struct err *err)
{
	int ret = check_ranges(o, err);

	if (!ret)
		ret = check_version2(o, err);
	if (!ret)
		ret = check_extended(o, err);
	if (!ret)
		ret = check_backing(o, err);
	if (!ret)
		ret = check_data_file(o, err);
	if (!ret && !codec_get(o->compression))
		ret = err_set(err, -EINVAL,
			      "compression type %u is not built "
			      "in; use zlib",
			      o->compression);
	return ret;
}
