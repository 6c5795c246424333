/* The facade: opening, closing, facts. Requests are in image_io.c and image_map.c. */
#include "core/image/image.h"

#include <errno.h>
#include <fcntl.h>

#include "base/num.h"
#include "core/format/qcow2.h"
#include "core/image/open.h"
#include "core/image/target.h"

int image_open_file(struct image **out, struct hostfile *file,
		    const struct image_opts *opts, struct err *err)
{
	struct chain chain = { .n = 0 };
	int r = open_image(out, file, opts, &chain, err);

	if (r < 0)
		err_wrap(err, "%s", file->name);
	return r;
}

int image_open(struct image **out, const char *path,
	       const struct image_opts *opts, struct err *err)
{
	unsigned flags = HOSTFILE_BLKDEV_OK;
	struct hostfile *file;
	int r;

	if (opts->force_share && !opts->readonly)
		return err_set(err, -EINVAL,
			       "%s: force_share works only with ro", path);
	if (opts->snapshot && !opts->readonly)
		return err_set(err, -EINVAL,
			       "%s: a snapshot can only be read: use ro", path);
	if (!opts->readonly)
		flags |= HOSTFILE_RDWR;
	r = hostfile_open(&file, AT_FDCWD, path, flags, err);
	if (r < 0)
		return target_offer_ro(r, opts, err);
	r = image_open_file(out, file, opts, err);
	if (r < 0)
		hostfile_close(file);
	return r;
}

static int save(struct image *img)
{
	int r;

	if (img->state.readonly)
		return 0;
	r = writeback_all(&img->meta);
	return r < 0 ? r : bitmaps_close(img);
}

int image_close(struct image *img)
{
	int r = 0;

	committer_stop(&img->committer);
	/* those behind it, too, that were opened to write */
	for (struct image *i = img; i; i = i->backing.image) {
		int saved = save(i);

		r = r < 0 ? r : saved;
	}
	open_discard(img);
	return r;
}

void image_abandon(struct image *img)
{
	open_discard(img);
}

uint64_t image_size(const struct image *img)
{
	/* the one field that is looked at outside the gate, too */
	return __atomic_load_n(&img->geom.size, __ATOMIC_RELAXED);
}

void image_set_size(struct image *img, uint64_t size)
{
	__atomic_store_n(&img->geom.size, num_round_down(size, QCOW2_SECTOR),
			 __ATOMIC_RELAXED);
}

uint64_t image_cluster_size(const struct image *img)
{
	return img->geom.cluster_size;
}

bool image_encrypted(const struct image *img)
{
	for (; img; img = img->backing.image)
		if (img->disk.crypt)
			return true;
	return false;
}

bool image_readonly(const struct image *img)
{
	return img->state.readonly;
}

const char *image_readonly_reason(const struct image *img)
{
	return img->state.reason;
}

uint64_t image_blocks(struct image *img)
{
	struct host_stat st;
	uint64_t n = chain_blocks(&img->backing);

	if (hostfile_stat(img->file, &st) == 0)
		n += st.blocks;
	if (img->data_file && hostfile_stat(img->data_file, &st) == 0)
		n += st.blocks;
	return NUM_MIN(n, num_div_ceil(image_size(img), 512));
}

int64_t image_mtime_ns(struct image *img)
{
	struct host_stat st;
	int64_t t = hostfile_stat(img->file, &st) == 0 ? st.mtime_ns : 0;

	if (img->data_file && hostfile_stat(img->data_file, &st) == 0)
		t = NUM_MAX(t, st.mtime_ns);
	return t;
}

struct hostfile *image_file(const struct image *img)
{
	return img->file;
}

bool image_failed(const struct image *img)
{
	return atomic_load(&img->meta.failed);
}

bool image_corrupt(const struct image *img)
{
	return atomic_load(&img->meta.corrupt);
}

int image_start_committer(struct image *img, unsigned seconds)
{
	if (img->state.readonly)
		return 0;
	return committer_start(&img->committer, img, seconds);
}

void image_counters(struct image *img, struct image_counters *out)
{
	struct meta *m = &img->meta;

	out->commits = atomic_load(&m->wb.commits);
	out->syncs = atomic_load(&m->wb.syncs);
	out->dirty_bytes = 0;
	if (img->state.readonly)
		return;
	lock_take(&m->lock);
	out->dirty_bytes = (tablecache_dirty_count(m->l2) +
			    tablecache_dirty_count(m->refcount.blocks)) *
			   img->geom.slice_size;
	lock_drop(&m->lock);
}
