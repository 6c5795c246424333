/*
 * fuselib: the one place that includes libfuse, with the interface version
 * that we are written for. Headers of an older libfuse (3.10 and later) work
 * as well: what they lack is left out by FUSELIB_HAS().
 */
#pragma once

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#define FUSELIB_HAS(major, minor) (FUSE_VERSION >= (major) * 100 + (minor))
