/*
 * check: walk the whole image, give every host cluster its role, count its
 * references, and compare with the refcounts and COPIED flags. Reads only,
 * unless a repair is asked for.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "core/admin/problem.h"
#include "core/host/hostfile.h"

enum check_repair {
	CHECK_REPAIR_NONE,
	CHECK_REPAIR_LEAKS, /* lower counts that are too high */
	CHECK_REPAIR_ALL,   /* and raise those too low, and COPIED flags */
};

struct check_result {
	uint64_t corruptions;  /* problems that endanger data */
	uint64_t leaks;	       /* clusters whose count is too high */
	uint64_t check_errors; /* parts that could not be read */
	/* as qemu-img's JSON names them */
	uint64_t total_clusters, allocated_clusters, fragmented_clusters,
		compressed_clusters;
	uint64_t image_end_offset;
};

struct check_opts {
	/* FILE is writable then. What remains wrong, a second check tells. */
	enum check_repair repair;
	/* called for each problem found, in walk order; may be NULL */
	void (*report)(void *arg, const struct problem *p);
	void *report_arg;
	void (*progress)(void *arg, unsigned permille); /* may be NULL */
	void *progress_arg;
};

/*
 * Check the image in FILE, which nobody writes meanwhile. 0 when the walk
 * could be made, whatever it found; -errno with text when the image cannot be
 * opened as qcow2 or memory (two words a cluster of the file) lacks.
 */
int check_image(struct hostfile *file, const struct check_opts *opts,
		struct check_result *res, struct err *err);

/*
 * The image in FILE, writable, was found free of errors: take the marks "dirty"
 * and "corrupt" off (version 3), with F before and after. *HAD says whether
 * there were any. 0 or -errno with text.
 */
int check_clear_marks(struct hostfile *file, bool *had, struct err *err);
