/*
 * order: changes of the image under a running mount, each a job of the work
 * thread (jobs.h): what programs have written is saved first, and what the
 * kernel has cached of what changed is dropped before the answer.
 */
#pragma once

#include "fuse/ops.h"

/* Do ORDER (copied) and answer the ioctl REQ. */
void order_take(struct ops_server *s, fuse_req_t req,
		const struct ctl_order *order);

/* mkdir NAME, rmdir NAME in snapshots/: make or delete that snapshot, and
 * answer REQ. */
void order_mkdir(struct ops_server *s, fuse_req_t req, const char *name);
void order_rmdir(struct ops_server *s, fuse_req_t req, const char *name);

/* A write beyond the end was refused: have the kernel correct its size. */
void order_fix_size(struct ops_server *s);

/* The disk has got larger than what was written: so shall the file for the kernel.
 * Never smaller, as order_fix_size() may make it: what programs have written
 * behind that meanwhile stays. */
void order_widen(struct ops_server *s);
