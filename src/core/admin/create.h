/*
 * create: a new qcow2 image, refcounts included.
 */
#pragma once

#include "base/err.h"
#include "core/admin/create_luks.h"
#include "core/host/hostfile.h"

enum create_prealloc {
	CREATE_PREALLOC_OFF,
	CREATE_PREALLOC_METADATA, /* all clusters have a place, host file
				     sparse */
	CREATE_PREALLOC_FALLOC,	  /* and the host has room for them */
	CREATE_PREALLOC_FULL,	  /* and zeroes were written */
};

struct create_opts {
	uint64_t size;		 /* bytes, rounded up to 512 */
	unsigned version;	 /* 2 or 3; 0: 3 */
	uint64_t cluster_size;	 /* bytes; 0: 64 KiB */
	unsigned refcount_bits;	 /* 1..64, a power of two; 0: 16 */
	unsigned compression;	 /* enum qcow2_compression */
	bool lazy_refcounts;	 /* sets the compatible bit only */
	bool extended_l2;	 /* subclusters; clusters of 16 KiB at least */
	const char *backing_file; /* as it is stored in the header, or NULL */
	const char *backing_format; /* "raw" or "qcow2"; needed with a file */
	const struct create_luks_opts *luks; /* NULL: not encrypted */
	/* external data file: its name as it is stored, or NULL; the file itself,
	 * which is emptied and gets the disk's size; whether it is the disk as
	 * raw */
	const char *data_file;
	struct hostfile *data;
	bool data_file_raw;
	enum create_prealloc prealloc;
	/* called now and then with 0..1000 permille; may be NULL */
	void (*progress)(void *arg, unsigned permille);
	void *progress_arg;
};

/*
 * Write an empty image to FILE (writable; a device as it is): header,
 * refcounts for every cluster it uses, L1 table, preallocation. What FILE and a
 * data file held goes first. Synced on return: two F; with a data file three,
 * its own first. 0; -EINVAL an option outside its range (text says the range)
 * and -EFBIG a size that the cluster size cannot map: nothing was touched;
 * -ENOSPC, -errno of the host: the content is undefined.
 */
int create_image(struct hostfile *file, const struct create_opts *opts,
		 struct err *err);

/* As create_image(), with QEMU's locks of who makes an image held meanwhile,
 * where the file system has locks. -EAGAIN: somebody uses the file. */
int create_exclusive(struct hostfile *file, const struct create_opts *opts,
		     struct err *err);
