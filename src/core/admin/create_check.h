/*
 * create_check: which options of a new image the format knows, and which go
 * together.
 */
#pragma once

#include "core/admin/create.h"

/* O with its defaults filled in. -EINVAL, or -EFBIG for a disk that is too big,
 * with text that says what would do instead. */
int create_check(const struct create_opts *o, struct err *err);
