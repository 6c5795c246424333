/*
 * import: logs in the format of dm-log-writes, as QEMU's blklogwrites driver
 * writes them.
 */
#pragma once

#include "enumerate.h"

/*
 * Enumerate the states that the log file LOG leads to from the image file
 * IMAGE. Without marks the data oracle allows for each guest sector what it
 * read as at the beginning, at a flush, or at the end; so a workload for it
 * writes each sector once. What the log's first flush after a write made
 * durable is not known. Prints what it finds; 0, 1 when a state is bad, 2 when
 * a file cannot be read.
 */
int import_check(const char *log, const char *image);
