/*
 * check: walk the whole image, give every host cluster its role, count its
 * references, and compare with the refcounts and COPIED flags. Reads only;
 * repair.h changes what it found.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "core/admin/problem.h"
#include "core/host/hostfile.h"

struct check_result {
	uint64_t corruptions;  /* problems that endanger data */
	uint64_t harmless;     /* corruptions that endanger nothing else */
	uint64_t leaks;	       /* clusters whose count is too high */
	uint64_t check_errors; /* parts that could not be read */
	/* as qemu-img's JSON names them */
	uint64_t total_clusters, allocated_clusters, fragmented_clusters,
		compressed_clusters;
	uint64_t image_end_offset;
};

struct check_opts {
	/* called for each problem found, in walk order; may be NULL */
	void (*report)(void *arg, const struct problem *p);
	void *report_arg;
	void (*progress)(void *arg, unsigned permille); /* may be NULL */
	void *progress_arg;
	/* all but L2 tables, data and bitmaps has been read; may be NULL */
	void (*roots_read)(void *arg);
	void *roots_arg;
};

/*
 * Check the image in FILE, which nobody writes meanwhile. 0 when the walk
 * could be made, whatever it found; -errno with text when the image cannot be
 * opened as qcow2 or memory (two words a cluster of the file) lacks.
 */
int check_image(struct hostfile *file, const struct check_opts *opts,
		struct check_result *res, struct err *err);
