#include "core/format/headerext.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/be.h"
#include "base/num.h"
#include "core/format/qcow2.h"

struct disk_headerext {
	struct be32 type; /* 0 */
	struct be32 len;  /* 4 */
};
_Static_assert(sizeof(struct disk_headerext) == 8, "size");
_Static_assert(sizeof(((struct headerext_list *)0)->ext) ==
	       QCOW2_MAX_EXTENSIONS * sizeof(struct headerext), "limit");

static int check_ext(const struct headerext_list *list, uint32_t type,
		     uint32_t len, size_t space, struct err *err)
{
	if (len > space)
		return err_set(err, -EUCLEAN,
			       "header extension 0x%08" PRIx32 " is %" PRIu32 " bytes long, and there is room for %zu",
			       type, len, space);
	if (headerext_find(list, type))
		return err_set(err, -EUCLEAN,
			       "header extension 0x%08" PRIx32 " appears twice, the limit is once",
			       type);
	if (list->n == QCOW2_MAX_EXTENSIONS)
		return err_set(err, -EUCLEAN,
			       "there are more than %u header extensions, the limit",
			       QCOW2_MAX_EXTENSIONS);
	if (type == QCOW2_EXT_BACKING_FORMAT && len > QCOW2_MAX_BACKING_FORMAT)
		return err_set(err, -EUCLEAN,
			       "the backing format name is %" PRIu32 " bytes long, above the limit of %u",
			       len, QCOW2_MAX_BACKING_FORMAT);
	if (type == QCOW2_EXT_DATA_FILE && len > QCOW2_MAX_DATA_FILE_NAME)
		return err_set(err, -EUCLEAN,
			       "the data file's name is %" PRIu32 " bytes long, above the limit of %u",
			       len, QCOW2_MAX_DATA_FILE_NAME);
	return 0;
}

/* One extension at list->end, or the end marker. */
static int take_ext(struct headerext_list *list, const uint8_t *buf,
		    size_t end, struct err *err)
{
	size_t data = list->end + sizeof(struct disk_headerext);
	struct disk_headerext d;
	uint32_t type;
	uint32_t len;
	int r;

	memcpy(&d, buf + list->end, sizeof(d));
	type = be32_get(d.type);
	len = be32_get(d.len);
	list->marked = type == QCOW2_EXT_END;
	if (list->marked) {
		list->end = data;
		return 0;
	}
	r = check_ext(list, type, len, end - data, err);
	if (r)
		return r;
	list->ext[list->n++] = (struct headerext){ type, len, buf + data };
	/* The padding of the last one may be what the name overlays. */
	list->end = NUM_MIN(end, data + num_round_up(len, 8));
	return 0;
}

int headerext_decode(struct headerext_list *list, const struct header *h,
		     const void *buf, size_t len, struct err *err)
{
	size_t end = NUM_MIN(len, (size_t)1 << h->cluster_bits);
	int r = 0;

	if (h->backing_offset)
		end = NUM_MIN(end, h->backing_offset);
	memset(list, 0, sizeof(*list));
	list->end = h->header_len;
	/* Too little room for a marker ends the list as a marker does. */
	while (!r && !list->marked && list->end < end &&
	       end - list->end >= sizeof(struct disk_headerext))
		r = take_ext(list, buf, end, err);
	return r;
}

const struct headerext *headerext_find(const struct headerext_list *list,
				       uint32_t type)
{
	for (unsigned i = 0; i < list->n; i++)
		if (list->ext[i].type == type)
			return &list->ext[i];
	return NULL;
}

int headerext_append(void *buf, size_t cap, size_t *pos, uint32_t type,
		     const void *data, uint32_t len)
{
	struct disk_headerext d = { be32_make(type), be32_make(len) };
	uint64_t padded = num_round_up(len, 8);
	uint8_t *p;

	if (!num_range_inside(*pos, sizeof(d) + padded, cap))
		return -ENOSPC;
	p = (uint8_t *)buf + *pos;
	memcpy(p, &d, sizeof(d));
	if (len)
		memcpy(p + sizeof(d), data, len);
	memset(p + sizeof(d) + len, 0, (size_t)(padded - len));
	*pos += sizeof(d) + (size_t)padded;
	return 0;
}
