/*
 * metafix: an image built in memory with its metadata opened on it, for the
 * tests of core/meta and core/data, and an oracle that reads the file's bytes
 * as the specification has them.
 *
 * Calls: metafix_build(), content through FX->b, metafix_open(), the test,
 * metafix_close(). What META does is logged in FX->rec and may be made to fail
 * by FX->fault; FX->b goes on to see the file past both.
 */
#pragma once

#include "core/format/header.h"
#include "core/meta/l2map.h"
#include "core/meta/meta.h"
#include "lib/hostfault.h"
#include "lib/hostmem.h"
#include "lib/hostrecord.h"
#include "lib/imgbuild.h"

struct metafix {
	struct hostmem *mem;
	struct hostmem *data_mem; /* NULL: no external data file */
	struct hostfile *data;
	struct hostrecord *rec;
	struct hostfault *fault;
	struct hostfile *plain; /* of b */
	struct imgbuild b;
	struct hostfile *file; /* of m */
	struct header h;
	struct geom g;
	struct meta m;
	int scan; /* of rolescan_start(); a clash does not stop a test */
	unsigned char sector0[512];
};

/* With p->data_file the file is data_mem, of the disk's size. */
void metafix_build(struct metafix *fx, const struct imgbuild_params *p);
void metafix_open(struct metafix *fx);
/* Forget all that is in memory and open what the file holds. */
void metafix_reopen(struct metafix *fx);
void metafix_close(struct metafix *fx);

/* l2map_change_locked() of N units of geom.sub_size. */
int metafix_change_locked(struct metafix *fx, uint64_t goff, uint64_t n,
			  enum l2map_what what, uint64_t hoff)
	LOCK_REQUIRES(&fx->m.lock);

/* The same, taking the lock. */
int metafix_change(struct metafix *fx, uint64_t goff, uint64_t n,
		   enum l2map_what what, uint64_t hoff);

/* N clusters for L2MAP_DATA: where they begin. Aborts when there are none. */
uint64_t metafix_take(struct metafix *fx, uint64_t n);

/* Commit; is every count in the file what refers to it? */
bool metafix_exact(struct metafix *fx);

/* The bytes of the file: a big-endian number, the refcount of a cluster (0
 * where nothing covers it). */
uint64_t metafix_be64(struct metafix *fx, uint64_t off);
uint64_t metafix_refcount(struct metafix *fx, uint64_t hidx);

/* Count what refers to each cluster, without snapshots, and compare with the
 * refcounts in the file. Returns how many are too low; *HIGH are too high. */
unsigned metafix_compare(struct metafix *fx, unsigned *high);

/* The log since the last hostrecord_clear(): how many of OP; and as a text, one
 * letter a change: W write, Z zero, P punch, T truncate, S sync. */
unsigned metafix_count(struct metafix *fx, enum hostrecord_op op);
const char *metafix_log(struct metafix *fx);
