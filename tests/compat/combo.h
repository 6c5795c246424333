/*
 * combo: the combinations of image properties that the compat tests go
 * through, and images of each, made by qemu-img in the current folder.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum combo_backing {
	COMBO_BACKING_NONE,
	COMBO_BACKING_RAW,
	COMBO_BACKING_QCOW2,
	COMBO_BACKING_SHORTER, /* than the image, ends inside a cluster */
	COMBO_BACKINGS
};

enum combo_compressed {
	COMBO_PLAIN,
	COMBO_ZLIB,
	COMBO_ZSTD,
	COMBO_COMPRESSEDS
};

struct combo {
	unsigned version, cluster_bits, refcount_bits;
	enum combo_backing backing;
	enum combo_compressed compressed;
	bool snapshot;
	bool extended; /* L2 entries, cluster_bits 14 at least */
	uint64_t size; /* bytes, a multiple of 512 and of nothing more */
};

/* How many there are; the order is mixed, but always the same, so that any
 * first part is a fair sample. */
size_t combo_count(void);
void combo_get(size_t k, struct combo *c);
const char *combo_text(const struct combo *c, char buf[128]);

/*
 * Make "img" (and "back", its backing file) with some content. 0, or -1 with
 * the tool's words on stderr.
 */
int combo_make(const struct combo *c, uint64_t seed);

/* Run a program, its output to "tool.out". Its exit status, -1 if it could
 * not be run. The list ends with NULL. */
int combo_run(const char *prog, ...) __attribute__((sentinel));
int combo_runv(const char *const args[]);
/* Print tool.out on stderr. */
void combo_show(void);

/* Make a folder for the test and go there; PATH gets its name. */
void combo_enter(char path[64]);

/* Whole files; abort on an error. */
void *combo_load(const char *path, size_t len);
void combo_save(const char *path, const void *buf, size_t len);
uint64_t combo_hash(const char *path); /* 0: there is none */

uint64_t combo_random(uint64_t *state);
/* Bytes that differ by seed; half of the 4 KiB pieces compress well. */
void combo_fill(void *buf, size_t len, uint64_t seed);
