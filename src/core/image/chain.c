#include "core/image/chain.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/num.h"
#include "core/host/hostlock.h"
#include "core/image/open.h"

/* What to open behind an image, or beside it. */
struct target {
	const char *what;   /* "backing file" or "data file" */
	const char *option; /* by which the user can name it */
	char *name;	/* owned */
	char *format;	/* owned; NULL: not recorded */
	bool by_user;	/* named by an option: no policy applies */
	enum image_backing policy;
	unsigned write; /* HOSTFILE_RDWR, or 0 */
};

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

/* "json:{...}" and "nbd://..." name no file: a prefix of letters, digits and
 * "+-." before the first colon, as other programs read it. */
static bool has_protocol(const char *name)
{
	size_t n = 0;

	while (isalnum((unsigned char)name[n]) || strchr("+-.", name[n])) {
		if (!name[n])
			return false;
		n++;
	}
	return n && name[n] == ':';
}

/* Untrusted name for a message. */
static const char *shown(char buf[256], const char *name)
{
	return err_escape(buf, 256, name, strlen(name));
}

static char *dup_bytes(const void *p, size_t len)
{
	char *s = mem_array(len + 1, 1);

	if (s)
		memcpy(s, p, len);
	return s;
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
			t->format = dup_bytes(fmt->data, fmt->len);
	} else if (h->backing_offset && h->backing_size) {
		t->name = dup_bytes(cluster + h->backing_offset,
				    h->backing_size);
		if (fmt)
			t->format = dup_bytes(fmt->data, fmt->len);
	} else {
		return 0;
	}
	return t->name ? 0 : err_set_sys(err, -ENOMEM, "cannot open");
}

static int check_name(const struct target *t, struct err *err)
{
	char buf[256];

	if (!t->by_user && t->policy == IMAGE_BACKING_NONE)
		return err_set(err, -EPERM,
			       "needs its %s '%s', and -o backing=none forbids opening it",
			       t->what, shown(buf, t->name));
	if (!t->by_user && has_protocol(t->name))
		return err_set(err, -EPERM,
			       "the %s '%s' is not a plain path; name the file with -o %s",
			       t->what, shown(buf, t->name), t->option);
	return 0;
}

static int check_target(const struct target *t, struct err *err)
{
	char buf[256];
	int r = check_name(t, err);

	if (r < 0)
		return r;
	if (!t->format)
		return err_set(err, -EINVAL,
			       "the image does not record the format of its backing file '%s', and guessing is unsafe; use -o backing_file=PATH:raw or PATH:qcow2",
			       shown(buf, t->name));
	if (strcmp(t->format, "raw") && strcmp(t->format, "qcow2"))
		return err_set(err, -ENOTSUP,
			       "its backing file has the format '%s'; only raw and qcow2 are supported",
			       shown(buf, t->format));
	return 0;
}

/* Resolve an absolute NAME to one relative to the folder of IMAGE_NAME when it
 * lies below it; else NULL. */
static char *relative_below(const char *image_name, const char *name)
{
	autofree char *copy = strdup(image_name);
	autofree char *folder = NULL;
	autofree char *real = NULL;
	char *slash;
	size_t n;

	if (!copy)
		return NULL;
	slash = strrchr(copy, '/');
	if (slash)
		slash[slash == copy ? 1 : 0] = '\0';
	folder = realpath(slash ? copy : ".", NULL);
	real = realpath(name, NULL);
	if (!folder || !real)
		return NULL;
	n = strlen(folder);
	if (n == 1)
		return strdup(real + 1);
	if (strncmp(real, folder, n) || real[n] != '/')
		return NULL;
	return strdup(real + n + 1);
}

static int forbidden(const struct target *t, struct err *err)
{
	char buf[256];

	return err_set(err, -EPERM,
		       "its %s '%s' lies outside the image's folder; if you trust the image, use -o backing=any",
		       t->what, shown(buf, t->name));
}

static int open_below(struct hostfile **out, int dirfd, const char *image_name,
		      const struct target *t, struct err *err)
{
	autofree char *rel = NULL;
	const char *name = t->name;
	int r;

	if (name[0] == '/') {
		rel = relative_below(image_name, name);
		if (!rel && access(name, F_OK) < 0)
			return err_set_sys(err, -errno, "cannot open");
		if (!rel)
			return forbidden(t, err);
		name = rel;
	}
	r = hostfile_open(out, dirfd, name, HOSTFILE_BENEATH | t->write, err);
	return r == -EXDEV ? forbidden(t, err) : r;
}

/* Names in the chain count from the folder of the image that has them: give
 * FILE the path by which the next name can be resolved. */
static int set_full_name(struct hostfile *file, const char *image_name,
			 const char *name, struct err *err)
{
	const char *slash = strrchr(image_name, '/');
	int folder = slash ? (int)(slash - image_name) + 1 : 0;
	char *full;

	if (name[0] == '/')
		folder = 0;
	if (asprintf(&full, "%.*s%s", folder, image_name, name) < 0) {
		hostfile_close(file);
		return err_set_sys(err, -ENOMEM, "cannot open");
	}
	free(file->name);
	file->name = full;
	return 0;
}

static int open_named(struct hostfile **out, const struct image *img,
		      const struct target *t, struct err *err)
{
	int dirfd;
	int r;

	if (t->by_user)
		return hostfile_open(out, AT_FDCWD, t->name,
				     HOSTFILE_BLKDEV_OK | t->write, err);
	r = hostfile_open_folder(&dirfd, img->file->name, err);
	if (r < 0)
		return r;
	if (t->policy == IMAGE_BACKING_ANY)
		r = hostfile_open(out, dirfd, t->name,
				  HOSTFILE_BLKDEV_OK | t->write, err);
	else
		r = open_below(out, dirfd, img->file->name, t, err);
	close(dirfd);
	return r < 0 ? r : set_full_name(*out, img->file->name, t->name, err);
}

static int open_file(struct hostfile **out, const struct image *img,
		     const struct target *t, const struct image_opts *opts,
		     struct err *err)
{
	int r = open_named(out, img, t, err);

	if (r < 0 || !opts->wrap)
		return r;
	r = opts->wrap(opts->wrap_arg, out);
	if (r < 0)
		hostfile_close(*out);
	return r;
}

static int read_image(void *ctx, void *buf, size_t len, uint64_t off)
{
	return image_read(ctx, buf, len, off);
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

/* Of a long chain only the file at fault is named. A refusal by policy names
 * what it refuses itself, and needs the image that asked for it. */
static void name_culprit(struct chain *chain, int r, struct err *err,
			 const struct target *t)
{
	char buf[256];

	if (r == -EPERM && !chain->refused) {
		chain->refused = true;
		return;
	}
	if (!chain->named)
		err_wrap(err, "%s '%s'", t->what, shown(buf, t->name));
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
	r = open_file(&file, img, &t, opts, err);
	if (r < 0)
		file = NULL;
	if (r == 0 && !strcmp(t.format, "raw"))
		r = open_raw(b, file, opts, chain, err);
	else if (r == 0)
		r = open_qcow2(b, file, opts, chain, err);
	if (r < 0) {
		hostfile_close(file);
		name_culprit(chain, r, err, &t);
		goto out;
	}
	img->disk.backing = &b->backing;
out:
	free(t.name);
	free(t.format);
	return r;
}

/* --- the external data file ---------------------------------------------------- */

static int find_data_file(struct target *t, const struct headerext_list *ext,
			  const struct image_opts *opts, struct err *err)
{
	const struct headerext *e = headerext_find(ext, QCOW2_EXT_DATA_FILE);

	t->what = "data file";
	t->option = "data_file=PATH";
	t->policy = opts->backing;
	t->by_user = opts->data_file;
	if (opts->data_file)
		t->name = strdup(opts->data_file);
	else if (!e || !e->len)
		return err_set(err, -EINVAL,
			       "the image does not name its data file; do it with -o data_file=PATH");
	else if (memchr(e->data, 0, e->len))
		return err_set(err, -EUCLEAN,
			       "the data file's name has a NUL byte in its %u bytes",
			       (unsigned)e->len);
	else
		t->name = dup_bytes(e->data, e->len);
	return t->name ? 0 : err_set_sys(err, -ENOMEM, "cannot open");
}

static int lock_data_file(struct hostfile *file, const struct image *img,
			  const struct image_opts *opts, struct err *err)
{
	enum hostlock_role role = HOSTLOCK_DATA_RW;
	int r;

	if (opts->no_lock)
		return 0;
	if (img->state.readonly)
		role = opts->force_share ? HOSTLOCK_IMAGE_SHARED
					 : HOSTLOCK_DATA_RO;
	r = hostlock_take(file, role, err);
	if (r != -EOPNOTSUPP)
		return r;
	return img->state.readonly
		       ? 0
		       : err_set(err, r,
				 "the filesystem has no file locks to keep other writers out; use -o locking=off if you are sure that there are none");
}

/* A raw data file is all of the disk. Of another one clusters may be missing
 * that nothing has been written to. */
static int check_data_size(struct hostfile *file, const struct image *img,
			   struct err *err)
{
	struct host_stat st;
	int r = hostfile_stat(file, &st);

	if (r < 0)
		return err_set_sys(err, r, "cannot stat");
	if (!img->geom.data_raw || st.size >= img->geom.size)
		return 0;
	return err_set(err, -EUCLEAN,
		       "it has %" PRIu64 " bytes, but the disk has %" PRIu64
		       ": its end is missing",
		       st.size, img->geom.size);
}

static int use_data_file(struct image *img, const struct target *t,
			 const struct image_opts *opts, struct chain *chain,
			 struct err *err)
{
	struct hostfile *file;
	int r = open_file(&file, img, t, opts, err);

	if (r < 0)
		return r;
	r = chain_add(chain, file, err);
	if (r == 0)
		r = lock_data_file(file, img, opts, err);
	if (r == 0)
		r = check_data_size(file, img, err);
	if (r < 0) {
		hostfile_close(file);
		return r;
	}
	img->data_file = file;
	img->disk.data = file;
	img->meta.data_file = file;
	return 0;
}

int chain_open_data_file(struct image *img, const struct headerext_list *ext,
			 const struct image_opts *opts, struct chain *chain,
			 struct err *err)
{
	struct target t = { 0 };
	int r;

	if (!img->geom.data_file)
		return opts->data_file
			       ? err_set(err, -EINVAL,
					 "-o data_file: the image has no external data file")
			       : 0;
	t.write = img->state.readonly ? 0 : HOSTFILE_RDWR;
	r = find_data_file(&t, ext, opts, err);
	if (r < 0)
		return r;
	r = check_name(&t, err);
	if (r < 0)
		chain->refused = true; /* its text names the file */
	if (r == 0) {
		r = use_data_file(img, &t, opts, chain, err);
		if (r < 0)
			name_culprit(chain, r, err, &t);
	}
	free(t.name);
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
