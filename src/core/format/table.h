/*
 * table: what every table that an image points to must satisfy (L1 tables,
 * the refcount table, the snapshot table).
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

/*
 * LEN bytes at OFF, called FIELD in the text: OFF is a multiple of
 * CLUSTER_SIZE, not 0 (the header is there), and the bytes lie in a file of
 * FILE_SIZE. An empty table (LEN 0) need only be aligned. 0 or -EUCLEAN.
 */
int table_check(const char *field, uint64_t off, uint64_t len,
		uint64_t cluster_size, uint64_t file_size, struct err *err);
