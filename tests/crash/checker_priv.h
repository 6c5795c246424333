/*
 * checker_priv: what the files of the checker share. Each walk claims what it
 * meets, and returns 0, or -1 with c->text. FILE is the length of the image.
 */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "checker.h"

#define COPIED (1ULL << 63)
#define STREAM (1ULL << 62)
#define ENTRY_OFF 0x00fffffffffffe00ULL
#define STREAM_PART 2ULL /* in a map: reserved in an entry */

static inline uint32_t rd32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
	       (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t rd64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return __builtin_bswap64(v);
}

static inline void *grow(void *p, size_t n)
{
	p = realloc(p, n ? n : 1);
	if (!p)
		abort();
	return p;
}

static inline uint64_t csize(const struct checker *c)
{
	return 1ULL << c->h.cluster_bits;
}

/* Units in a cluster. */
static inline unsigned units(const struct checker *c)
{
	return 1U << (c->h.cluster_bits - c->h.unit_bits);
}

/* Set c->text. Returns -1. */
int checker_fault(struct checker *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Give [OFF, OFF + LEN) a role of its own. */
int checker_claim(struct checker *c, enum checker_role role, uint64_t off,
		  uint64_t len, uint64_t file, const char *what);

/* checker_tree.c: the active tree (1), or one of a snapshot (2...); then those
 * of all snapshots, and their table. */
int checker_tree(struct checker *c, const uint8_t *img, uint64_t l1_off,
		 uint32_t entries, uint16_t tree, uint64_t file);
int checker_tree_snapshots(struct checker *c, const uint8_t *img,
			   uint64_t file);

/* checker_bitmap.c: what the header's extension X names. */
int checker_bitmap_walk(struct checker *c, const uint8_t *img,
			const uint8_t *x, uint64_t file);

/* checker_count.c: the refcount structures; and, when all is claimed, whether
 * the counts suffice, and COPIED stands where it may. */
int checker_count_walk(struct checker *c, const uint8_t *img, uint64_t file);
int checker_count_compare(struct checker *c, const uint8_t *img);
