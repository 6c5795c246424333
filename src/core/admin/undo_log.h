/*
 * undo_log: what is in an undo file, for undo.c, which writes it, and
 * undo_apply.c, which reads it. Private to core/admin.
 *
 * All numbers are big-endian:
 *
 *	   0  16  "rawcow undo 2\n\0\0"
 *	  16   8  length of the image before the repair
 *	  24   8  length after it; 0: the repair did not end, or an undo of it. The
 *		  old length when an interrupted repair was undone
 *	  32   8  sum of what lies behind the old end, after the repair
 *	  40   8  inode of the image; 0: a device
 *	  48   8  sum of the samples
 *	  56   8  sum of bytes 0 to 55
 *	  64 512  samples: the sums of 64 blocks before the repair, evenly spread
 *	4096      records, one behind the other:
 *		   0   8  offset in the image
 *		   8   8  length N, at most 4096
 *		  16   8  sum of the old bytes and of offset and length
 *		  24   8  sum of the new bytes; 0: the repair has not ended by
 *			  itself
 *		  32   N  the old bytes
 *
 * A sum is FNV-1a of 64 bits. Each block of 4096 bytes is saved once. The record
 * is stable before the block is written; one that is torn ends the list, and its
 * block was not written.
 *
 * Device numbers change from boot to boot, so how an image is known again whose
 * repair was interrupted is its inode, and what it holds where no record says
 * that the repair has been: the samples.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/host/hostfile.h"

#define UNDO_BLOCK 4096U
#define UNDO_FIRST 4096U /* offset of the first record */
#define UNDO_RECORD 32U	 /* bytes in front of a record's old bytes */
#define UNDO_SAMPLES 64U
#define UNDO_SUM 0xcbf29ce484222325ULL /* of nothing */

struct undo_log_head {
	uint64_t old_size, new_size; /* new_size 0: the repair did not end */
	uint64_t tail;		     /* sum of what lies behind old_size */
	uint64_t ino;		     /* of the image; 0: a device */
	uint64_t sample[UNDO_SAMPLES];
};

/* What identifies an image with ST. */
static inline uint64_t undo_log_ino(const struct host_stat *st)
{
	return st->block_device ? 0 : st->ino;
}

/* The offset of the block of an image of SIZE that sample I is of. */
uint64_t undo_log_sample_at(uint64_t size, unsigned i);

/* *SUM of that block of IMAGE. 0 or -errno. */
int undo_log_take_sample(struct hostfile *image, uint64_t size, unsigned i,
			 uint64_t *sum);

/* Write the samples, once. 0 or -errno. */
int undo_log_put_samples(struct hostfile *log, const struct undo_log_head *h);
/* Write the head, F. 0 or -errno. */
int undo_log_put_head(struct hostfile *log, const struct undo_log_head *h);
/* -EMEDIUMTYPE: LOG is no undo file; -errno. */
int undo_log_get_head(struct hostfile *log, struct undo_log_head *h);

/* The sum SO_FAR, with LEN bytes at BUF behind it. */
uint64_t undo_log_sum(uint64_t so_far, const void *buf, size_t len);

/* Of the record at P, with its old bytes: what its first sum should be. */
uint64_t undo_log_record_sum(const uint8_t *p);

/* *SUM of LEN bytes of FILE at OFF. 0 or -errno. */
int undo_log_sum_range(struct hostfile *file, uint64_t off, uint64_t len,
		       uint64_t *sum);
