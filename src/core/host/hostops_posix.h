/*
 * hostops_posix: the table of operations over a file descriptor. Only
 * hostfile.c uses it.
 */
#pragma once

#include "core/host/hostfile.h"

extern const struct host_ops hostops_posix_table;

/* Open as hostfile_open() says; *CTX goes to the table's close. */
int hostops_posix_open(void **ctx, int dirfd, const char *path, unsigned flags,
		       struct err *err);
int hostops_posix_fd(const void *ctx);
