#include "core/image/open.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "core/format/feature.h"
#include "core/format/qcow2.h"
#include "core/host/hostlock.h"
#include "core/image/claim.h"
#include "core/image/datafile.h"
#include "core/image/snaplist.h"
#include "core/image/unlock.h"

#define L2_CACHE_DEFAULT (32ULL << 20)
#define REFCOUNT_CACHE_DEFAULT (8ULL << 20)
#define CLUSTER_CACHE_DEFAULT (16ULL << 20)
#define CACHE_MAX (1ULL << 40)

/* The first cluster, or as much of the largest one as the file has. */
static int read_first_cluster(struct hostfile *file, uint8_t **buf, size_t *len,
			      uint64_t *file_size, struct err *err)
{
	size_t max = (size_t)1 << QCOW2_CLUSTER_BITS_MAX;
	struct host_stat st;
	size_t got;
	int r = hostfile_stat(file, &st);

	if (r < 0)
		return err_set_sys(err, r, "cannot stat");
	max = (size_t)NUM_MIN((uint64_t)max, st.size);
	*buf = mem_array(max + QCOW2_SECTOR, 1);
	if (!*buf)
		return err_set_sys(err, -ENOMEM, "cannot open");
	r = hostfile_pread(file, *buf, max, 0, &got);
	if (r < 0)
		return err_set_sys(err, r, "cannot read the header");
	*len = got;
	*file_size = st.size;
	return 0;
}

/* The snapshot table may not lie outside the file, or rawcow would have
 * accepted a truncated image; its content is the check's business. */
static int check_snapshot_place(const struct header *h, uint64_t file_size,
				struct err *err)
{
	if (!h->nb_snapshots ||
	    num_range_inside(h->snapshots_offset, 1, file_size))
		return 0;
	return err_set(err, -EUCLEAN,
		       "the snapshot table at host offset %#" PRIx64
		       " lies outside the file",
		       h->snapshots_offset);
}

/* Put the snapshot's roots and size in the place of the disk's. */
static int show_snapshot(struct image *img, const char *name_or_id,
			 uint64_t file_size, struct err *err)
{
	const struct snapshot *s;
	struct snaplist list;
	size_t i;
	int r = snaplist_read(&list, img->file, &img->header, &img->geom,
			      file_size, err);

	if (r == 0)
		r = snaplist_find(&list, name_or_id, &i, err);
	if (r < 0)
		goto out;
	s = &list.snap[i];
	if (s->l1_entries < geom_l1_entries(&img->geom, s->disk_size)) {
		r = err_set(err, -EUCLEAN,
			    "the snapshot's L1 table is too short for its disk; run 'rawcow check'");
		goto out;
	}
	img->header.l1_offset = s->l1_offset;
	img->header.l1_entries = s->l1_entries;
	img->header.size = s->disk_size;
	img->geom.size = num_round_down(s->disk_size, QCOW2_SECTOR);
out:
	snaplist_fini(&list);
	return r;
}

struct parsed {
	uint8_t *cluster; /* first cluster; owned */
	size_t len;
	uint64_t file_size;
	struct headerext_list ext; /* points into cluster */
};

static int parse(struct image *img, struct parsed *p,
		 const struct image_opts *opts, struct err *err)
{
	int r = read_first_cluster(img->file, &p->cluster, &p->len,
				   &p->file_size, err);

	if (r == 0)
		r = header_decode(&img->header, p->cluster, p->len,
				  p->file_size, err);
	if (r == 0)
		r = headerext_decode(&p->ext, &img->header, p->cluster, p->len,
				     err);
	if (r == 0)
		r = feature_refusal(&img->header, &p->ext, err);
	if (r == 0)
		r = check_snapshot_place(&img->header, p->file_size, err);
	if (r < 0)
		return r;
	header_geom(&img->header, &img->geom);
	img->of_snapshot = opts->snapshot != NULL;
	if (opts->snapshot && img->geom.data_file)
		return err_set(err, -ENOTSUP,
			       "an image with an external data file has no internal snapshots");
	return opts->snapshot ? show_snapshot(img, opts->snapshot, p->file_size,
					      err)
			      : 0;
}

static uint64_t budget(uint64_t asked, uint64_t by_default)
{
	return asked ? NUM_MIN(asked, CACHE_MAX) : by_default;
}

/* An image has one codec for all of its clusters. */
static int choose_compress(struct image *img, const struct image_opts *opts,
			   struct err *err)
{
	const struct codec *codec = codec_get(img->geom.compression);
	bool zstd = img->geom.compression == QCOW2_COMPRESSION_ZSTD;

	if (opts->compress == IMAGE_COMPRESS_OFF || img->state.readonly)
		return 0;
	if (img->geom.data_file)
		return err_set(err, -ENOTSUP,
			       "compress: an image with an external data file cannot hold compressed clusters");
	if (img->header.crypt_method)
		return err_set(err, -ENOTSUP,
			       "compress: the image is encrypted, and qcow2 does not encrypt compressed clusters; leave compress out");
	if (!codec)
		return err_set(err, -ENOTSUP,
			       "compress: rawcow was built without zstd, the codec of this image");
	if ((opts->compress == IMAGE_COMPRESS_ZLIB && zstd) ||
	    (opts->compress == IMAGE_COMPRESS_ZSTD && !zstd))
		return err_set(err, -EINVAL,
			       "compress: this image's compression type is %s; use -o compress=%s, or an image created with -o compression_type=%s",
			       codec->name, codec->name, zstd ? "zlib" : "zstd");
	img->disk.compress = true;
	return 0;
}

/* The tables, and what requests need around them. */
static int set_up(struct image *img, const struct parsed *p,
		  const struct image_opts *opts, struct err *err)
{
	struct meta_budget b = {
		.l2 = budget(opts->l2_cache_size, L2_CACHE_DEFAULT),
		.refcount = budget(opts->refcount_cache_size,
				   REFCOUNT_CACHE_DEFAULT),
	};
	struct disk *d = &img->disk;
	int r;

	r = clustercache_new(&d->cache, img->geom.cluster_size,
			     budget(opts->cluster_cache_size,
				    CLUSTER_CACHE_DEFAULT));
	if (r < 0)
		return err_set_sys(err, r, "cannot open");
	r = meta_open(&img->meta, img->file, &img->geom, &img->header,
		      p->cluster, !img->state.readonly, &b, err);
	if (r < 0)
		return r;
	d->meta = &img->meta;
	r = img->state.readonly ? 0 : claim_all(img, &p->ext, p->file_size, err);
	if (r < 0)
		return r;
	d->geom = &img->geom;
	d->file = img->file;
	d->data = img->geom.data_file ? NULL : img->file;
	d->codec = codec_get(img->geom.compression);
	img->meta.alloc.punch = !opts->discard_ignore;
	img->discard_ignore = opts->discard_ignore;
	img->no_flush = opts->no_flush;
	img->detect_zeroes = opts->detect_zeroes;
	return choose_compress(img, opts, err);
}

/* Without a key the disk is still marked, so that nobody takes what the file
 * holds for data. */
static int set_up_crypt(struct image *img, const struct parsed *p,
			const struct image_opts *opts, struct err *err)
{
	const struct header *h = &img->header;
	struct cipher *cipher = NULL;
	int r = 0;

	if (!h->crypt_method)
		return 0;
	if (img->geom.data_raw)
		return err_set(err, -ENOTSUP,
			       "the image is encrypted, and its external data file is to be raw, which exclude each other; convert it with 'qemu-img convert'");
	if (!opts->no_key)
		r = unlock_image(&cipher, img->file, h, &p->ext, opts->overlay_key ? opts->overlay_key :
							   opts->key, err);
	if (r < 0)
		return r;
	crypt_init(&img->crypt, cipher, h->crypt_method == QCOW2_CRYPT_AES);
	img->disk.crypt = &img->crypt;
	return 0;
}

static enum hostlock_role lock_role(const struct image *img,
				    const struct image_opts *opts)
{
	if (!img->state.readonly)
		return HOSTLOCK_IMAGE_RW;
	return opts->force_share ? HOSTLOCK_IMAGE_SHARED : HOSTLOCK_IMAGE_RO;
}

static int lock_file(struct image *img, const struct image_opts *opts,
		     struct err *err)
{
	int r;

	if (opts->no_lock)
		return 0;
	r = hostlock_take(img->file, lock_role(img, opts), err);
	if (r != -EOPNOTSUPP)
		return r;
	if (!img->state.readonly)
		return err_set(err, r,
			       "the filesystem has no file locks to keep other writers out; use -o locking=off if you are sure that there are none");
	log_line(LOG_LEVEL_WARN,
		 "%s: the filesystem has no file locks; another program may change the image",
		 img->file->name);
	return 0;
}

/* A dirty image that shall be written is repaired first. What cannot be
 * repaired so stays marked, and downgrade() follows. */
static int recover(struct image *img, struct parsed *p,
		   const struct image_opts *opts, struct err *err)
{
	uint64_t marks = img->header.incompatible &
			 (QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT);
	int r;

	if (img->state.readonly || !opts->recover ||
	    marks != QCOW2_INCOMPAT_DIRTY)
		return 0;
	r = opts->recover(img->file, err);
	if (r == -EUCLEAN || r == -ENOTSUP)
		return 0;
	if (r < 0)
		return r;
	free(p->cluster);
	*p = (struct parsed){ 0 };
	return parse(img, p, opts, err);
}

/* A bitmap that could not note changes must not miss any: false. */
static bool keeps_bitmaps(struct image *img, const struct parsed *p,
			  const struct image_opts *opts)
{
	struct err err = { "" };

	if (img->state.readonly ||
	    bitmaps_open(img, &p->ext, opts->defer_bitmaps, &err) == 0)
		return true;
	img->state.readonly = true;
	img->state.reason = img->bitmaps.why.text;
	return false;
}

/* An image that is marked, or whose bitmaps would get wrong, opens read-only:
 * give back the writer's locks. */
static int downgrade(struct image *img, const struct parsed *p,
		     const struct image_opts *opts, struct err *err)
{
	enum hostlock_role before = lock_role(img, opts);

	if (!state_downgrade(&img->state, &img->header) &&
	    keeps_bitmaps(img, p, opts))
		return 0;
	if (opts->no_lock)
		return 0;
	hostlock_drop(img->file, before);
	return lock_file(img, opts, err);
}

int open_image(struct image **out, struct hostfile *file,
	       const struct image_opts *opts, struct chain *chain,
	       struct err *err)
{
	struct image *img = mem_array(1, sizeof(*img));
	struct parsed p = { 0 };
	int r;

	if (!img)
		return err_set_sys(err, -ENOMEM, "cannot open");
	img->file = file;
	gate_init(&img->gate);
	view_set_init(&img->views);
	state_init(&img->state, opts->readonly || !file->writable);
	inflight_init(&img->disk.inflight);
	committer_init(&img->committer);
	r = chain_add(chain, file, err);
	if (r == 0)
		r = lock_file(img, opts, err);
	if (r == 0)
		r = parse(img, &p, opts, err);
	if (r == 0) /* before anything is changed: the key may be wrong */
		r = set_up_crypt(img, &p, opts, err);
	if (r == 0)
		r = recover(img, &p, opts, err);
	if (r == 0)
		r = downgrade(img, &p, opts, err);
	if (r == 0)
		r = set_up(img, &p, opts, err);
	if (r == 0 && !opts->no_backing)
		r = datafile_open(img, &p.ext, opts, chain, err);
	if (r == 0 && !opts->no_backing)
		r = chain_open_backing(img, &p.ext, p.cluster, opts, chain,
				       err);
	free(p.cluster);
	if (r < 0) {
		img->file = NULL; /* stays the caller's */
		open_discard(img);
		return r;
	}
	*out = img;
	return 0;
}

void open_discard(struct image *img)
{
	committer_fini(&img->committer);
	chain_close_backing(&img->backing);
	if (img->disk.meta)
		meta_fini(&img->meta);
	clustercache_free(img->disk.cache);
	inflight_fini(&img->disk.inflight);
	bitmaps_fini(&img->bitmaps);
	if (img->disk.crypt)
		crypt_fini(img->disk.crypt);
	state_fini(&img->state);
	gate_fini(&img->gate);
	hostfile_close(img->data_file);
	view_set_fini(&img->views);
	hostfile_close(img->file);
	free(img);
}
