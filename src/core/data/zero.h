/*
 * zero: ranges that read as zero afterwards, as metadata where the format can
 * say it. The caller is inside an epoch. No sync.
 */
#pragma once

#include "core/data/disk.h"

/*
 * Make [GOFF, GOFF + LEN), inside the disk, read as zero; any alignment. With
 * UNMAP the host clusters are freed, else those that the image owns alone stay
 * reserved. Errors as write_range().
 */
int zero_range(struct disk *d, uint64_t goff, uint64_t len, bool unmap);
