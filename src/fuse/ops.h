/*
 * ops: the requests of the kernel, each answered by one function. Nothing here
 * knows the format: reads go from the image straight into the thread's reply
 * buffer, writes from libfuse's buffer straight into the image, with no lock,
 * allocation or copy of our own in between.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "core/image/image.h"
#include "fuse/bitmapdir.h"
#include "fuse/ctl.h"
#include "fuse/fuselib.h"
#include "fuse/jobs.h"
#include "fuse/node.h"
#include "fuse/own.h"
#include "fuse/snapdir.h"
#include "fuse/textfile.h"

/* The longest request, and where in it the bytes of a write begin. */
#define OPS_WRITE_MAX (1U << 20)
#define OPS_MESSAGE_MAX (OPS_WRITE_MAX + 4096)
#define OPS_MESSAGE_HEAD 80

struct ops_server {
	/* const once the session runs */
	struct image *img;
	struct own *own; /* NULL until it is started */
	struct jobs *work, *tell; /* see jobs.h */
	struct fuse_session *se;
	bool readonly;
	bool writeback; /* asked for; the kernel's write-back cache */
	bool direct_io;
	unsigned max_read; /* as libfuse was told [opts.h] */
	bool flush_each_write;
	bool growable; /* a larger size makes the image larger */
	bool shrinkable; /* and a smaller one smaller */

	struct node_table nodes;
	struct snapdir snaps;
	struct bitmapdir bitmaps;
	const struct textfile_maker *texts; /* of the files in .rawcow/ */
	struct textfiles open_texts;
	atomic_bool kernel_writeback; /* the kernel has it on */
	atomic_uint opens;	      /* open handles of files */
	_Atomic int64_t used;	      /* when the last one was opened or closed,
					 or the mount got ready: seconds,
					 monotonic */
	atomic_uint writers;	      /* open handles that may write */
	atomic_bool fixing_size;      /* a job will */
	atomic_int lost; /* why the kernel could not write a page; 0 */
	struct ctl ctl;
};

extern const struct fuse_lowlevel_ops ops_table;

void ops_server_init(struct ops_server *s);
void ops_server_fini(struct ops_server *s);

/* The time of ops_idle_seconds() begins anew. */
void ops_note_use(struct ops_server *s);
/* For how long no file has been open. */
uint64_t ops_idle_seconds(struct ops_server *s);
/* A file was opened (BY 1) or closed (-1), WRITE: so that it may write the
 * disk. */
void ops_count_open(struct ops_server *s, bool write, int by);

/* Fill ST, as CTL_IOC_STATUS does (ops_ctl.c). */
void ops_status(struct ops_server *s, struct ctl_status *st);
void ops_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg,
	       struct fuse_file_info *fi, unsigned flags, const void *in,
	       size_t in_len, size_t out_len);

/* The disk shall have SIZE bytes. 0 when it has, which is how the server itself
 * tells the kernel [own.h]. -EOPNOTSUPP, -EINVAL, -EROFS, errors of growing. */
int ops_set_size(struct ops_server *s, uint64_t size);

/* Have the kernel send its dirty pages of the disk, and forget all of them. Not
 * from a thread that serves requests. 0 or -errno, also of pages before that. */
int ops_fetch(struct ops_server *s);

void ops_seek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
	      struct fuse_file_info *fi);

/* Answer a SEEK_DATA or SEEK_HOLE. What the kernel still holds is in the image
 * by now if SENT; else all is called data. */
void ops_answer_seek(struct ops_server *s, fuse_req_t req, uint64_t off,
		     int whence, bool sent);
