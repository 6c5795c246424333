/* Bitmaps: so many, and with so long tables in holes of the file, that looking at
 * them all would take forever. */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hostile.h"

#define CL 512ULL
#define ENTRY 32 /* bytes of a directory entry with a name of 8 */

/* Behind everything else: a hole. */
#define TABLES (1ULL << 30)

/* ARG bitmaps, in use, each with a table of VALUE entries. */
static void bitmaps(struct bench *t)
{
	struct imgbuild_params p = {.cluster_bits = 9, .size = 4 << 20};
	uint32_t n = t->row->arg, entries = (uint32_t)t->row->value;
	uint64_t table = (entries * 8ULL + CL - 1) / CL * CL;
	unsigned char ext[24] = {0}, *e;
	struct imgbuild *b = &t->b;
	uint64_t dir;

	hostile_start(t, &p);
	dir = imgbuild_alloc(b, (n * (uint64_t)ENTRY + CL - 1) / CL);
	imgbuild_ext(b, 0x23852875U, ext, sizeof(ext));
	imgbuild_header_set(b, IMGBUILD_AUTOCLEAR, 1);
	hostile_finish(t);
	imgbuild_poke(b, b->ext_end - 24, 4, n);
	imgbuild_poke(b, b->ext_end - 16, 8, n * (uint64_t)ENTRY);
	imgbuild_poke(b, b->ext_end - 8, 8, dir);
	e = calloc(n, ENTRY);
	for (uint32_t i = 0; i < n; i++) {
		uint64_t off = htobe64(TABLES + i * table);
		uint32_t len = htobe32(entries);
		char name[9];

		memcpy(e + i * ENTRY, &off, 8);
		memcpy(e + i * ENTRY + 8, &len, 4);
		memcpy(e + i * ENTRY + 12, "\0\0\0\1\1\37\0\10", 8);
		snprintf(name, sizeof(name), "%08x", i);
		memcpy(e + i * ENTRY + 24, name, 8);
	}
	if (hostfile_pwrite_full(t->f, e, n * (size_t)ENTRY, dir) < 0 ||
	    hostfile_truncate(t->f, TABLES + n * table) < 0)
		abort();
	free(e);
}

const struct row hostile_bitmap_rows[] = {
	{.name = "1000 bitmap tables of 8 MiB in a hole",
	 .make = bitmaps,
	 .arg = 1000,
	 .value = 1 << 20,
	 .want = {0, BROKEN, 0, 0, 0, -EROFS, "64 MiB"}},
	{.name = "8 bitmap tables of 8 MiB in a hole",
	 .make = bitmaps,
	 .arg = 8,
	 .value = 1 << 20,
	 .want = {0, BROKEN, 0, 0, 0, 0, NULL}},
	{.name = "65535 bitmaps",
	 .make = bitmaps,
	 .arg = 65535,
	 .value = 1,
	 .want = {0, BROKEN, 0, 0, 0, 0, NULL}},
	{0},
};
