/*
 * checksnap: the snapshot table (specification: "Snapshots"), record by record.
 * A record that is broken is left out of what a repair writes, one whose extra
 * data is too long or too short gets what QEMU writes there, and a table that
 * runs into nothing ends before that.
 */
#include "core/admin/checkwalk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/num.h"
#include "core/format/qcow2.h"
#include "core/format/snaptable.h"

#define RECORD 40U /* the fixed part */
#define EXTRA 24U  /* what QEMU writes */
#define EXTRA_MIN 16U /* in version 3 */

enum action { KEEP, FIX_EXTRA, DROP };

struct record {
	uint64_t off, len; /* in the file; LEN with padding */
	enum action action;
};

struct checksnap_list {
	struct record *rec;
	size_t n, cap;
	uint64_t bytes;
};

/* A record in memory: where its parts are. */
struct parts {
	uint64_t extra, strings; /* bytes */
};

static struct parts parts_of(const uint8_t *head)
{
	return (struct parts){ .extra = be32_load(head + 36),
			       .strings = (uint64_t)be16_load(head + 12) +
					  be16_load(head + 14) };
}

/* The record RAW with extra data as it should be, to OUT. */
static void fix_extra(const struct checkwalk *w, const uint8_t *raw,
		      uint8_t *out)
{
	struct parts p = parts_of(raw);

	memcpy(out, raw, RECORD);
	be32_store(out + 36, EXTRA);
	be64_store(out + RECORD, be32_load(raw + 32));
	be64_store(out + RECORD + 8, w->g.size);
	be64_store(out + RECORD + 16, UINT64_MAX);
	/* only whole fields of it count */
	memcpy(out + RECORD, raw + RECORD,
	       (size_t)num_round_down(NUM_MIN(p.extra, EXTRA), 8));
	memcpy(out + RECORD + EXTRA, raw + RECORD + p.extra, p.strings);
}

static uint64_t fixed_len(const uint8_t *raw)
{
	return num_round_up(RECORD + EXTRA + parts_of(raw).strings, 8);
}

static bool extra_sound(struct checkwalk *w, uint64_t off, uint32_t number,
			uint64_t extra)
{
	if (extra > QCOW2_MAX_SNAPSHOT_EXTRA)
		checkwalk_report(w, PROBLEM_SNAPSHOT_EXTRA, off,
				 "snapshot record %" PRIu32 " has %" PRIu64
				 " bytes of extra data, above the limit of %u",
				 number, extra, QCOW2_MAX_SNAPSHOT_EXTRA);
	else if (w->g.version >= 3 && extra < EXTRA_MIN)
		checkwalk_report(w, PROBLEM_SNAPSHOT_EXTRA, off,
				 "snapshot record %" PRIu32 " has %" PRIu64
				 " bytes of extra data, and version 3 asks for "
				 "%u", number, extra, EXTRA_MIN);
	else
		return true;
	return false;
}

/* The record at OFF ends the table: report it. */
static int cut(struct checkwalk *w, uint64_t off, uint32_t number,
	       const char *why)
{
	checkwalk_report(w, PROBLEM_SNAPSHOT, off, "snapshot record %" PRIu32
			 " of %" PRIu32 ": %s", number, w->h.nb_snapshots, why);
	w->rewrite_snapshots = true;
	return -ENODATA;
}

/* Judge the record RAW, and walk its L1 table. */
static int judge(struct checkwalk *w, struct record *rec, const uint8_t *raw,
		 uint32_t number)
{
	autofree uint8_t *fixed = mem_array(1, (size_t)fixed_len(raw));
	struct err err = { "" };
	struct snapshot s;
	size_t pos = 0;
	int ret;

	if (!fixed)
		return -ENOMEM;
	if (!extra_sound(w, rec->off, number, parts_of(raw).extra))
		rec->action = FIX_EXTRA;
	fix_extra(w, raw, fixed);
	ret = snaptable_decode(&s, fixed, (size_t)fixed_len(raw), &pos, &w->g,
			       w->file_size, &err);
	if (ret == -ENOMEM)
		return ret;
	if (ret == 0) {
		ret = checktab_l1(w, s.l1_offset, s.l1_entries, rec->off);
		snaptable_fini(&s);
	} else {
		checkwalk_report(w, PROBLEM_SNAPSHOT, rec->off,
				 "snapshot record %" PRIu32 ": %s", number,
				 err.text);
		rec->action = DROP;
		ret = 0;
	}
	w->rewrite_snapshots |= rec->action != KEEP;
	return ret;
}

static int next_record(struct checkwalk *w, struct checksnap_list *l,
		       uint32_t number)
{
	uint64_t off = w->h.snapshots_offset + l->bytes;
	struct record rec = { .off = off };
	autofree uint8_t *raw = NULL;
	uint8_t head[RECORD];
	struct parts p;
	int ret;

	if (!num_range_inside(off, RECORD, w->file_size))
		return cut(w, off, number, "the file ends inside it");
	if (!checkwalk_read(w, head, RECORD, off))
		return -ENODATA;
	p = parts_of(head);
	if (!num_range_inside(off, RECORD + p.extra + p.strings, w->file_size))
		return cut(w, off, number, "the file ends inside it");
	rec.len = num_round_up(RECORD + p.extra + p.strings, 8);
	if (l->bytes + rec.len > QCOW2_MAX_SNAPSHOT_TABLE)
		return cut(w, off, number, "the table is longer than 64 MiB");
	raw = mem_array(1, (size_t)rec.len);
	if (!raw)
		return -ENOMEM;
	if (!checkwalk_read(w, raw, rec.len, off))
		return -ENODATA;
	ret = mem_grow(&l->rec, &l->cap, l->n + 1, sizeof(*l->rec));
	if (ret == 0)
		ret = judge(w, &rec, raw, number);
	if (ret < 0)
		return ret;
	l->rec[l->n++] = rec;
	l->bytes += rec.len;
	return 0;
}

int checksnap_walk(struct checkwalk *w)
{
	struct checksnap_list *l;
	enum checkwalk_place place;
	int ret = 0;

	if (!w->h.nb_snapshots)
		return 0;
	l = w->snaps = mem_array(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	for (uint32_t i = 0; i < w->h.nb_snapshots && !ret; i++)
		ret = next_record(w, l, i + 1);
	if (ret < 0 && ret != -ENODATA)
		return ret;
	ret = checkwalk_name(w, w->h.snapshots_offset, l->bytes,
			     CHECKROLE_SNAPTABLE, 1, &place);
	w->rewrite_snapshots |= place == CHECKWALK_CONTESTED;
	return ret;
}

/* Append one record to OUT, *LEN bytes long. */
static int keep(struct checkwalk *w, const struct record *rec, uint8_t *out,
		uint64_t *len)
{
	autofree uint8_t *raw = mem_array(1, (size_t)rec->len);
	int ret;

	if (!raw)
		return -ENOMEM;
	ret = hostfile_pread(w->file, raw, (size_t)rec->len, rec->off, NULL);
	if (ret < 0)
		return ret;
	if (rec->action == FIX_EXTRA) {
		fix_extra(w, raw, out + *len);
		*len += fixed_len(raw);
	} else {
		memcpy(out + *len, raw, (size_t)rec->len);
		*len += rec->len;
	}
	return 0;
}

int checksnap_rewrite(struct checkwalk *w, uint8_t **out, uint64_t *len,
		      uint32_t *n)
{
	const struct checksnap_list *l = w->snaps;
	autofree uint8_t *t =
		mem_array(1, (size_t)l->bytes + l->n * EXTRA + 8);
	int ret = t ? 0 : -ENOMEM;

	*len = 0;
	*n = 0;
	for (size_t i = 0; i < l->n && !ret; i++) {
		if (l->rec[i].action == DROP)
			continue;
		++*n;
		ret = keep(w, &l->rec[i], t, len);
	}
	*out = mem_steal(&t);
	return ret;
}

void checksnap_fini(struct checkwalk *w)
{
	if (w->snaps)
		free(w->snaps->rec);
	free(w->snaps);
	w->snaps = NULL;
}
