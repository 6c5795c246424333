/*
 * reader: what can be read in a qcow2 image, from the specification alone. It
 * shares no code with src/, so that a repair is not judged by what it uses.
 * No encryption, deflate; a data file has some content of its own everywhere.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/hostmem.h"

#define READER_SNAPSHOTS 16

/* A tree of tables: the disk's or a snapshot's. */
struct reader_tree {
	char id[32]; /* "": the disk */
	uint64_t l1_offset;
	uint32_t l1_entries;
	uint64_t size; /* bytes */
};

struct reader {
	struct hostmem *m;
	uint32_t version, cluster_bits;
	unsigned entry_size; /* bytes of an L2 entry: 8 or 16 */
	uint64_t cluster_size, file_size;
	bool backing, data_file;
	struct reader_tree tree[1 + READER_SNAPSHOTS];
	unsigned n; /* trees that can be reached */
};

void reader_open(struct reader *r, struct hostmem *m);

/*
 * Guest cluster GIDX of tree T, to OUT (a cluster). False: it cannot be reached
 * (its entries are broken or lead nowhere). What would come from a backing file
 * reads as 0xbb.
 */
bool reader_cluster(const struct reader *r, unsigned t, uint64_t gidx,
		    unsigned char *out);

/* Does all that can be reached in BEFORE read the same in AFTER? If not, TEXT
 * (SIZE bytes) says where. Unless TABLES, what maps a table as data is left out:
 * it changes when that table does. */
bool reader_same(struct hostmem *before, struct hostmem *after, bool tables,
		 char *text, unsigned long size);
