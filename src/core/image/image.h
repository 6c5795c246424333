/*
 * image: one open qcow2 image with its backing chain; the facade that fuse,
 * cli and admin use. All functions but open and close may be called by several
 * threads at once.
 *
 * Durability: a write that returned 0 is durable once a later image_flush()
 * returned 0. No write path syncs. Any failed sync makes the image fail for
 * good: every later write and flush returns -EIO (docs/durability.md).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/host/hostfile.h"

enum image_detect {
	IMAGE_DETECT_OFF,
	IMAGE_DETECT_ON,    /* written zeroes become zero clusters */
	IMAGE_DETECT_UNMAP, /* and give their host clusters back */
};

/* Which codec new compressed clusters are asked to have. */
enum image_compress {
	IMAGE_COMPRESS_OFF,
	IMAGE_COMPRESS_ON, /* the image's own */
	IMAGE_COMPRESS_ZLIB,
	IMAGE_COMPRESS_ZSTD,
};

struct secret;

enum image_backing { IMAGE_BACKING_DIR, IMAGE_BACKING_NONE, IMAGE_BACKING_ANY };

struct image_opts {
	bool readonly;
	bool offer_ro; /* the user may say so by -o ro: who may not write the
			  file is told */
	/* with readonly: show this internal snapshot, by name or else by id,
	 * in the place of the disk; may be NULL */
	const char *snapshot;
	bool no_backing;  /* for work on tables alone: do not open what is
			     behind, nor the data file; what they hold must not
			     be read or written */
	/* passphrases of encrypted images: of the image, and, if it is another
	 * one, of those behind it; NULL: none. The image does not keep them */
	const struct secret *key, *backing_key;
	/* of an overlay, when that is what is opened: KEY is of the image
	 * behind it then */
	const struct secret *overlay_key;
	bool no_key; /* for work on tables alone: data cannot be read */
	bool force_share; /* with readonly: share the image with a writer */
	bool no_lock;	  /* take no byte locks at all */
	bool defer_bitmaps; /* for work on bitmaps alone (core/admin/bitmap.h):
			       none notes changes, so the disk must not be
			       written */
	enum image_backing backing; /* which backing and data files may be
				       opened */
	/* use this file instead of the one the header names; may be NULL */
	const char *backing_file;
	const char *backing_format; /* "raw" or "qcow2"; for backing_file */
	/* the file so far behind the image (1: its backing file) is opened to
	 * write as well, for who commits to it; 0: none */
	unsigned write_depth;
	/* tests: may put another table of operations around a backing or data file
	 * that was just opened; NULL: nothing */
	int (*wrap)(void *arg, struct hostfile **file);
	void *wrap_arg;
	const char *data_file; /* as backing_file, for an external data file */
	bool discard_ignore; /* keep clusters of discarded ranges: no unmap */
	enum image_detect detect_zeroes; /* UNMAP: not with discard_ignore */
	enum image_compress compress; /* write whole clusters compressed */
	/* Called for an image that is marked dirty and shall be written, which
	 * FILE is, locked: make its refcounts right and take the mark off. 0;
	 * -EUCLEAN, -ENOTSUP: it stays dirty, and opens read-only; else the
	 * image is not opened. NULL: dirty images open read-only. */
	int (*recover)(struct hostfile *file, struct err *err);
	bool no_flush;	     /* cache=unsafe: image_flush() does nothing */
	/* bytes; 0 means the default (docs/man/rawcow.1) */
	uint64_t l2_cache_size, refcount_cache_size, cluster_cache_size;
};

struct image; /* opaque */

/*
 * Open the image at PATH. Returns 0, or -errno with a one-line text that says
 * what failed, on which file, and what to do. On failure nothing is left open
 * and no file was changed. -ENOKEY: it is encrypted, and no passphrase was
 * given; -EKEYREJECTED: a wrong one. An image marked corrupt, or dirty and not
 * recovered, or with a bitmap that could not be kept right, opens read-only
 * even when not asked to: image_readonly_reason() then says why.
 */
int image_open(struct image **out, const char *path,
	       const struct image_opts *opts, struct err *err);

/*
 * As image_open() for a file that is open already, under any table of
 * operations (tests, recorder). Takes ownership of FILE on success only.
 * Relative backing names count from the folder of FILE's name.
 */
int image_open_file(struct image **out, struct hostfile *file,
		    const struct image_opts *opts, struct err *err);

/*
 * Commit everything, give matured frees back, close all files; of a backing
 * image that was opened to write (write_depth) as well. Returns the result of
 * the last commit, or of storing the bitmaps; the image is closed in any case.
 */
int image_close(struct image *img);

/* As image_close() without writing anything: what is not committed is lost,
 * as after a crash. Tests only. */
void image_abandon(struct image *img);

uint64_t image_size(const struct image *img);	      /* guest bytes */
/* Is it encrypted, or something behind it? */
bool image_encrypted(const struct image *img);
uint64_t image_cluster_size(const struct image *img); /* bytes */
bool image_readonly(const struct image *img);
/* NULL, or why the image is read-only although that was not asked for. */
const char *image_readonly_reason(const struct image *img);
/* 512-byte blocks the host holds for the image and its chain, at most the
 * virtual size; never 0 for an image with data. */
uint64_t image_blocks(struct image *img);
/* mtime of the image file or its data file, nanoseconds since the epoch. */
int64_t image_mtime_ns(struct image *img);
/* The image file itself. */
struct hostfile *image_file(const struct image *img);

/*
 * Read LEN bytes at OFF into BUF. 0, -ERANGE (not inside the disk, which another
 * thread may just have made smaller; nothing was done), -EIO (host error, broken
 * compressed data), -EUCLEAN (the image contradicts itself there), -ENOMEM. On
 * error BUF is undefined.
 */
int image_read(struct image *img, void *buf, size_t len, uint64_t off);

/*
 * Write LEN bytes at OFF. 0, -EROFS, -ENOSPC (that write alone; what was there
 * before is kept or partly overwritten), -ERANGE as image_read(), -EIO, -EUCLEAN,
 * -ENOMEM.
 */
int image_write(struct image *img, const void *buf, size_t len, uint64_t off);

/*
 * Make [OFF, OFF + LEN) read as zero; any alignment. Whole clusters change
 * metadata only. With UNMAP their host clusters are freed where the format
 * allows, else kept reserved. Errors as image_write().
 */
int image_zero(struct image *img, uint64_t off, uint64_t len, bool unmap);

/*
 * Commit: all that was acknowledged before the call is durable afterwards. At
 * most two syncs of the host file for any number of writes, one if only
 * allocated clusters were overwritten, none if nothing was written.
 * 0 or -EIO (for good).
 */
int image_flush(struct image *img);

/* Also write back what image_flush() may leave for later (freed clusters'
 * refcounts): what the timer calls. */
int image_commit_all(struct image *img);

struct image_counters {
	uint64_t commits, syncs; /* since open */
	uint64_t dirty_bytes;	 /* metadata waiting for the next commit */
};
void image_counters(struct image *img, struct image_counters *out);

/*
 * Start the thread that commits every SECONDS (> 0) and when much is dirty.
 * Call after the program has gone to the background. -EAGAIN, -ENOMEM.
 */
int image_start_committer(struct image *img, unsigned seconds);

/* Has a sync failed? Then writes fail until the image is reopened. */
bool image_failed(const struct image *img);
/* Has a contradiction been met? Then writes fail until it is repaired. */
bool image_corrupt(const struct image *img);

enum image_extent_kind {
	IMAGE_EXTENT_DATA,	 /* in this image or a backing file */
	IMAGE_EXTENT_ZERO,	 /* marked zero; or a hole of a raw file */
	IMAGE_EXTENT_HOLE,	 /* allocated nowhere in the chain: zero */
	IMAGE_EXTENT_COMPRESSED, /* data, compressed */
};

struct image_extent {
	enum image_extent_kind kind;
	uint64_t len;	  /* bytes, >= 1, inside the disk */
	unsigned depth;	  /* 0: this image, 1: its backing file, ... */
	bool has_hoff;	  /* hoff is meaningful: DATA, and ZERO or HOLE with
			     a place */
	uint64_t hoff;	  /* host offset in the file at that depth */
	bool host_hole;	  /* image_map_host() only: DATA, but the host file has
			     a hole there, so it reads as zero */
};

/* What stands at OFF, up to MAX bytes (> 0); neighbours of one kind are merged.
 * Whole unallocated L1 ranges cost one step. Errors as image_read(). */
int image_map(struct image *img, uint64_t off, uint64_t max,
	      struct image_extent *out);

/*
 * Look at the host file, too, for *EXT, an answer of image_map() or a part of
 * one: where the image looks preallocated, DATA is cut where the host's data
 * or hole ends, and host_hole says which it is. An image looks preallocated
 * when its refcounts count clearly more room than the host has given; the
 * first call for it finds that out, which may read all its refcounts. 0 or
 * -errno of the host.
 */
int image_map_host(struct image *img, struct image_extent *ext);

/* The name of the file at DEPTH of an extent; valid until image_close(). */
const char *image_name_at(const struct image *img, unsigned depth);

/* A persistent bitmap. */
struct image_bitmap {
	const char *name;     /* bytes as stored; valid during the call */
	uint64_t granularity; /* bytes of the disk that a bit stands for */
	bool enabled;	      /* it notes changes (flag "auto") */
	bool in_use;	      /* it was not stored: of no use any more */
	const char *invalid;  /* NULL, or why its bits mean nothing */
};

/*
 * Call FN for each bitmap of the disk, none for a snapshot. Stops at the first
 * result of FN that is not 0 and returns it. -EUCLEAN, -EIO, -ENOMEM with text.
 * FN is called inside a request: it must call no function of the image.
 */
int image_bitmap_list(struct image *img,
		      int (*fn)(void *arg, const struct image_bitmap *b),
		      void *arg, struct err *err);

/*
 * Call FN for each extent of the disk, from its start to its end, in turn dirty
 * and clean, as the bitmap NAME says. What programs change meanwhile may show or
 * not. Else as image_bitmap_list(); -ENOENT; -ENOTSUP: it is invalid.
 */
int image_bitmap_extents(struct image *img, const char *name,
			 int (*fn)(void *arg, uint64_t start, uint64_t len,
				   bool dirty),
			 void *arg, struct err *err);
