#include "core/format/snaptable.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/be.h"
#include "base/num.h"
#include "core/format/qcow2.h"
#include "core/format/table.h"

struct disk_snapshot {
	struct be64 l1_offset;	   /*  0 */
	struct be32 l1_entries;	   /*  8 */
	struct be16 id_len;	   /* 12 */
	struct be16 name_len;	   /* 14 */
	struct be32 date_sec;	   /* 16 */
	struct be32 date_nsec;	   /* 20 */
	struct be64 vm_clock_nsec; /* 24 */
	struct be32 vm_state_size; /* 32 */
	struct be32 extra_len;	   /* 36 */
};
_Static_assert(sizeof(struct disk_snapshot) == 40, "size");

/* The extra data, of which a record may hold any part, and more. */
struct disk_extra {
	struct be64 vm_state_size; /* 40 in the record */
	struct be64 disk_size;	   /* 48 */
	struct be64 icount;	   /* 56 */
};
_Static_assert(sizeof(struct disk_extra) == 24, "size");

#define HAS_EXTRA(len, field)                                                 \
	((len) >= offsetof(struct disk_extra, field) + sizeof(struct be64))

static void get_fields(struct snapshot *s, const struct disk_snapshot *d)
{
	memset(s, 0, sizeof(*s));
	s->l1_offset = be64_get(d->l1_offset);
	s->l1_entries = be32_get(d->l1_entries);
	s->date_sec = be32_get(d->date_sec);
	s->date_nsec = be32_get(d->date_nsec);
	s->vm_clock_nsec = be64_get(d->vm_clock_nsec);
	s->vm_state_size = be32_get(d->vm_state_size);
	s->extra_len = be32_get(d->extra_len);
	s->icount = UINT64_MAX;
}

static void get_extra(struct snapshot *s, const uint8_t *p)
{
	struct disk_extra x = { 0 };

	memcpy(&x, p, NUM_MIN(s->extra_len, sizeof(x)));
	if (HAS_EXTRA(s->extra_len, vm_state_size))
		s->vm_state_size = be64_get(x.vm_state_size);
	if (HAS_EXTRA(s->extra_len, disk_size))
		s->disk_size = be64_get(x.disk_size);
	if (HAS_EXTRA(s->extra_len, icount))
		s->icount = be64_get(x.icount);
}

static int check_fields(const struct snapshot *s, const struct geom *g,
			uint64_t file_size, struct err *err)
{
	uint64_t bytes = (uint64_t)s->l1_entries * 8;

	if (bytes > QCOW2_MAX_L1_BYTES)
		return err_set(err, -EUCLEAN,
			       "the snapshot's l1_size is %" PRIu32 ", above the limit of %u",
			       s->l1_entries, QCOW2_MAX_L1_BYTES / 8);
	if (s->disk_size > QCOW2_MAX_SIZE)
		return err_set(err, -EUCLEAN,
			       "the snapshot's disk size is %" PRIu64 ", above the limit of %llu",
			       s->disk_size, QCOW2_MAX_SIZE);
	return table_check("the snapshot's l1_table_offset", s->l1_offset,
			   bytes, g->cluster_size, file_size, err);
}

/* No more than the text: a table in a hole of the file costs no memory. */
static int copy_strings(struct snapshot *s, const uint8_t *p, size_t id_len,
			size_t name_len)
{
	s->id = strndup((const char *)p, id_len);
	s->name = strndup((const char *)p + id_len, name_len);
	if (s->id && s->name)
		return 0;
	snaptable_fini(s);
	return -ENOMEM;
}

int snaptable_decode(struct snapshot *s, const void *buf, size_t len,
		     size_t *pos, const struct geom *g, uint64_t file_size,
		     struct err *err)
{
	struct disk_snapshot d;
	const uint8_t *p;
	size_t record;
	size_t strings;
	int r;

	memset(s, 0, sizeof(*s));
	if (!num_range_inside(*pos, sizeof(d), len))
		return -ENODATA;
	p = (const uint8_t *)buf + *pos;
	memcpy(&d, p, sizeof(d));
	get_fields(s, &d);
	s->disk_size = g->size;
	if (s->extra_len > QCOW2_MAX_SNAPSHOT_EXTRA)
		return err_set(err, -EUCLEAN,
			       "the snapshot's extra data is %" PRIu32 " bytes long, above the limit of %u",
			       s->extra_len, QCOW2_MAX_SNAPSHOT_EXTRA);
	strings = sizeof(d) + s->extra_len;
	record = strings + be16_get(d.id_len) + be16_get(d.name_len);
	if (!num_range_inside(*pos, record, len))
		return -ENODATA;
	get_extra(s, p + sizeof(d));
	r = check_fields(s, g, file_size, err);
	if (!r)
		r = copy_strings(s, p + strings, be16_get(d.id_len),
				 be16_get(d.name_len));
	if (r)
		return r;
	s->record_len = (uint32_t)num_round_up(record, 8);
	*pos += s->record_len;
	return 0;
}

size_t snaptable_size(const struct snapshot *s)
{
	return (size_t)num_round_up(sizeof(struct disk_snapshot) +
					    sizeof(struct disk_extra) +
					    strlen(s->id) + strlen(s->name),
				    8);
}

void snaptable_encode(const struct snapshot *s, void *out)
{
	size_t id_len = strlen(s->id);
	size_t name_len = strlen(s->name);
	struct disk_snapshot d = {
		.l1_offset = be64_make(s->l1_offset),
		.l1_entries = be32_make(s->l1_entries),
		.id_len = be16_make((uint16_t)id_len),
		.name_len = be16_make((uint16_t)name_len),
		.date_sec = be32_make(s->date_sec),
		.date_nsec = be32_make(s->date_nsec),
		.vm_clock_nsec = be64_make(s->vm_clock_nsec),
		.vm_state_size = be32_make((uint32_t)NUM_MIN(
			s->vm_state_size, (uint64_t)UINT32_MAX)),
		.extra_len = be32_make(sizeof(struct disk_extra)),
	};
	struct disk_extra x = {
		.vm_state_size = be64_make(s->vm_state_size),
		.disk_size = be64_make(s->disk_size),
		.icount = be64_make(s->icount),
	};
	uint8_t *p = out;

	memset(p, 0, snaptable_size(s));
	memcpy(p, &d, sizeof(d));
	memcpy(p + sizeof(d), &x, sizeof(x));
	memcpy(p + sizeof(d) + sizeof(x), s->id, id_len);
	memcpy(p + sizeof(d) + sizeof(x) + id_len, s->name, name_len);
}

void snaptable_fini(struct snapshot *s)
{
	free(s->id);
	free(s->name);
	s->id = NULL;
	s->name = NULL;
}
