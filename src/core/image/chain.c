#include "core/image/chain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "core/host/hostlock.h"
#include "core/image/open.h"
#include "core/image/target.h"

int chain_add(struct chain *chain, struct hostfile *file, struct err *err)
{
	struct host_stat st;
	int r = hostfile_stat(file, &st);

	if (r < 0)
		return err_set_sys(err, r, "cannot stat");
	for (unsigned i = 0; st.ino && i < chain->n; i++)
		if (chain->id[i].dev == st.dev && chain->id[i].ino == st.ino)
			return err_set(err, -ELOOP,
				       "the chain of files loops: this file is in it twice");
	if (chain->n == QCOW2_MAX_CHAIN)
		return err_set(err, -EMLINK,
			       "the chain is longer than %u files",
			       QCOW2_MAX_CHAIN);
	chain->id[chain->n].dev = st.dev;
	chain->id[chain->n].ino = st.ino;
	chain->n++;
	return 0;
}

/* What the header or the options say; t->name stays NULL for no backing. */
static int find_target(struct target *t, const struct header *h,
		       const struct headerext_list *ext, const uint8_t *cluster,
		       const struct image_opts *opts, struct err *err)
{
	const struct headerext *fmt =
		headerext_find(ext, QCOW2_EXT_BACKING_FORMAT);

	t->what = "backing file";
	t->option = "backing_file=PATH:FORMAT";
	t->policy = opts->backing;
	t->write = opts->write_depth == 1 ? HOSTFILE_RDWR : 0;
	if (opts->backing_file) {
		t->by_user = true;
		t->name = strdup(opts->backing_file);
		if (opts->backing_format)
			t->format = strdup(opts->backing_format);
		else if (fmt && h->backing_offset)
			t->format = target_dup(fmt->data, fmt->len);
	} else if (h->backing_offset && h->backing_size) {
		t->name = target_dup(cluster + h->backing_offset,
				     h->backing_size);
		if (fmt)
			t->format = target_dup(fmt->data, fmt->len);
	} else {
		return 0;
	}
	return t->name ? 0 : err_set_sys(err, -ENOMEM, "cannot open");
}

static int check_target(const struct target *t, struct err *err)
{
	char buf[256];
	int r = target_check_name(t, err);

	if (r < 0)
		return r;
	if (!t->format)
		return err_set(err, -EINVAL,
			       "the image does not record the format of its backing file '%s', and guessing is unsafe; use -o backing_file=PATH:raw or PATH:qcow2",
			       target_shown(buf, t->name));
	if (strcmp(t->format, "raw") && strcmp(t->format, "qcow2"))
		return err_set(err, -ENOTSUP,
			       "its backing file has the format '%s'; only raw and qcow2 are supported",
			       target_shown(buf, t->format));
	return 0;
}

int chain_error(int r)
{
	return r == -EUCLEAN ? -EIO : r;
}

static int read_image(void *ctx, void *buf, size_t len, uint64_t off)
{
	return chain_error(image_read(ctx, buf, len, off));
}

static int read_raw(void *ctx, void *buf, size_t len, uint64_t off)
{
	return hostfile_pread(ctx, buf, len, off, NULL);
}

static enum hostlock_role lock_role(const struct image_opts *opts)
{
	if (opts->write_depth == 1)
		return HOSTLOCK_IMAGE_RW;
	return opts->force_share ? HOSTLOCK_IMAGE_SHARED : HOSTLOCK_IMAGE_RO;
}

static int open_raw(struct chain_backing *b, struct hostfile *file,
		    const struct image_opts *opts, struct chain *chain,
		    struct err *err)
{
	struct host_stat st;
	int r = chain_add(chain, file, err);

	if (r == 0 && !opts->no_lock)
		r = hostlock_take(file, lock_role(opts), err);
	if (r == -EOPNOTSUPP && opts->write_depth != 1)
		r = 0; /* read-only: nothing of ours is at risk */
	if (r == 0)
		r = hostfile_stat(file, &st);
	if (r < 0)
		return r;
	b->raw = file;
	b->backing = (struct backing){ file, st.size, read_raw };
	return 0;
}

static int open_qcow2(struct chain_backing *b, struct hostfile *file,
		      const struct image_opts *opts, struct chain *chain,
		      struct err *err)
{
	struct image_opts below = *opts;
	int r;

	below.readonly = opts->write_depth != 1;
	below.write_depth = opts->write_depth ? opts->write_depth - 1 : 0;
	below.compress = IMAGE_COMPRESS_OFF;
	below.detect_zeroes = IMAGE_DETECT_OFF;
	below.overlay_key = NULL;
	if (opts->backing_key && !opts->overlay_key)
		below.key = opts->backing_key;
	below.backing_file = NULL;
	below.data_file = NULL;
	below.snapshot = NULL;
	below.backing_format = NULL;
	r = open_image(&b->image, file, &below, chain, err);
	if (r < 0)
		return r;
	b->backing = (struct backing){ b->image, image_size(b->image),
				       read_image };
	return 0;
}

void chain_name_culprit(struct chain *chain, int r, struct err *err,
			const struct target *t)
{
	char buf[256];

	if (r == -EPERM && !chain->refused) {
		chain->refused = true;
		return;
	}
	if (!chain->named)
		err_wrap(err, "%s '%s'", t->what, target_shown(buf, t->name));
	chain->named = true;
}

int chain_open_backing(struct image *img, const struct headerext_list *ext,
		       const uint8_t *cluster, const struct image_opts *opts,
		       struct chain *chain, struct err *err)
{
	struct chain_backing *b = &img->backing;
	struct hostfile *file = NULL;
	struct target t = { 0 };
	int r;

	r = find_target(&t, &img->header, ext, cluster, opts, err);
	if (r == 0 && t.name && img->geom.data_raw)
		r = err_set(err, -EINVAL,
			    "its data file is the disk as raw, and that goes with no backing file");
	if (r < 0 || !t.name)
		goto out;
	r = check_target(&t, err);
	if (r < 0) {
		chain->refused = true; /* its text names the file */
		goto out;
	}
	r = target_open(&file, img->file->name, &t, opts, err);
	if (r < 0)
		file = NULL;
	if (r == 0 && !strcmp(t.format, "raw"))
		r = open_raw(b, file, opts, chain, err);
	else if (r == 0)
		r = open_qcow2(b, file, opts, chain, err);
	if (r < 0) {
		hostfile_close(file);
		chain_name_culprit(chain, r, err, &t);
		goto out;
	}
	img->disk.backing = &b->backing;
out:
	free(t.name);
	free(t.format);
	return r;
}

void chain_close_backing(struct chain_backing *b)
{
	if (b->image)
		open_discard(b->image);
	hostfile_close(b->raw);
	memset(b, 0, sizeof(*b));
}

uint64_t chain_blocks(const struct chain_backing *b)
{
	struct host_stat st;

	if (b->image)
		return image_blocks(b->image);
	if (b->raw && hostfile_stat(b->raw, &st) == 0)
		return st.blocks;
	return 0;
}
