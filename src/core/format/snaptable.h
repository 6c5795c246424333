/*
 * snaptable: records of the snapshot table (specification: "Snapshots").
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/format/geom.h"

struct snapshot {
	uint64_t l1_offset;
	uint32_t l1_entries;
	uint32_t date_sec, date_nsec;
	uint64_t vm_clock_nsec;
	uint64_t vm_state_size; /* bytes */
	uint64_t disk_size;	/* bytes; the image's own when not recorded */
	uint64_t icount;	/* -1: none */
	uint32_t extra_len;	/* bytes of extra data in the record */
	uint32_t record_len;	/* bytes of the record with its padding */
	char *id;		/* NUL-terminated copies; bytes as stored */
	char *name;
};

/*
 * Decode one record at *POS in BUF (LEN bytes) and move *POS behind it and its
 * padding. G gives alignment, FILE_SIZE the bounds of the L1 table. The caller
 * frees with snaptable_fini(). 0; -ENODATA: the buffer ends inside the record
 * (read more); -EUCLEAN with text; -ENOMEM.
 */
int snaptable_decode(struct snapshot *s, const void *buf, size_t len,
		     size_t *pos, const struct geom *g, uint64_t file_size,
		     struct err *err);
void snaptable_fini(struct snapshot *s);

/* Bytes of the record that snaptable_encode() makes of S, padding included. */
size_t snaptable_size(const struct snapshot *s);

/* Write S as a new record, with the extra data that QEMU writes, to OUT
 * (snaptable_size() bytes). Id and name are up to 65,535 bytes each. */
void snaptable_encode(const struct snapshot *s, void *out);
