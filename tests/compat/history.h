/*
 * history: one image and what it should hold, while rawcow's core and QEMU's
 * tools change it in turn. histories.c chooses the steps.
 *
 * The oracle is plain memory: the disk, each snapshot's copy, and for a bitmap
 * what has changed since it was made.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/image/image.h"
#include "core/image/secret.h"

enum history_backing {
	HISTORY_BACKING_NONE,
	HISTORY_BACKING_RAW,
	HISTORY_BACKING_QCOW2,
	HISTORY_BACKING_SHORTER,
	HISTORY_BACKING_LONGER,
};

enum history_data_file {
	HISTORY_DATA_INSIDE,
	HISTORY_DATA_FILE,
	HISTORY_DATA_FILE_RAW,
};

enum history_crypt {
	HISTORY_CRYPT_NONE,
	HISTORY_CRYPT_LUKS,
	HISTORY_CRYPT_AES
};

/* What an image is made with. */
struct history_kind {
	unsigned version, cluster_bits, refcount_bits;
	bool extended_l2, zstd, lazy;
	enum history_backing backing;
	enum history_data_file data_file;
	enum history_crypt crypt;
	bool compressed; /* begins with compressed clusters */
	bool bitmap;
};

#define HISTORY_SNAPS 3
#define HISTORY_MAX (12u << 20) /* bytes of a disk at most */

struct history_snap {
	char name[8]; /* empty: a free place */
	uint64_t size;
	unsigned char *content;
};

/* What a granule of the bitmap may say. */
enum history_dirty {
	HISTORY_CLEAN,
	HISTORY_DIRTY,
	HISTORY_EITHER, /* rawcow and QEMU differ on what a resize brings */
};

struct history_bitmap {
	bool there, enabled;
	uint32_t granularity;
	uint8_t *granule; /* enum history_dirty, HISTORY_MAX / 512 of them */
};

struct history {
	struct history_kind kind;
	uint64_t rnd;
	uint64_t size;
	unsigned char *disk, *buf;
	struct history_snap snap[HISTORY_SNAPS];
	struct history_bitmap bitmap;
	unsigned names; /* made so far */
	bool verbose;
	struct secret *key; /* NULL: not encrypted */
	struct image *img; /* while rawcow has it open */
};

uint64_t history_random(struct history *h, uint64_t below);
const char *history_text(const struct history_kind *k, char buf[240]);

/* The kind of history number I; draws are the same for each I. */
void history_draw(struct history *h, uint64_t i);

/* Make "img", by QEMU or by rawcow, with all files that it needs. 0 or -1. */
int history_make(struct history *h);
void history_fini(struct history *h);

/* [OFF, OFF + LEN) of the disk has been written: what the bitmap must say. */
void history_touched(struct history *h, uint64_t off, uint64_t len);
/* The disk had OLD bytes before it got the size that it has. */
void history_resized(struct history *h, uint64_t old);

/* Open with rawcow, to write or to read. 0 or -1 with a text on stderr. */
int history_open(struct history *h, bool write);
int history_close(struct history *h);

/* One of QEMU's programs on the image; its output is in tool.out. The image's
 * options come behind ARGS, then LAST (may be NULL). 0 or -1. */
int history_qemu(struct history *h, const char *prog, const char *const args[],
		 const char *last);

/* rawcow's check finds nothing, and it reads what the oracle has; QEMU as well,
 * unless the step was its own and not ALL. With ALL every snapshot is compared,
 * too. */
int history_verify(struct history *h, bool qemu_wrote, bool all);
