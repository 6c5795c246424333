#include "core/format/table.h"

#include <errno.h>
#include <inttypes.h>

#include "base/num.h"

int table_check(const char *field, uint64_t off, uint64_t len,
		uint64_t cluster_size, uint64_t file_size, struct err *err)
{
	if (!num_is_aligned(off, cluster_size))
		return err_set(err, -EUCLEAN,
			       "%s is %" PRIu64 ", no multiple of the cluster size %" PRIu64,
			       field, off, cluster_size);
	if (!len)
		return 0;
	if (!off)
		return err_set(err, -EUCLEAN,
			       "%s is 0, where the header is (at least %" PRIu64 ")",
			       field, cluster_size);
	if (!num_range_inside(off, len, file_size))
		return err_set(err, -EUCLEAN,
			       "%s is %" PRIu64 ": its %" PRIu64 " bytes end behind the file's %" PRIu64,
			       field, off, len, file_size);
	return 0;
}
