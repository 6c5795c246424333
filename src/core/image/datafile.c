#include "core/image/datafile.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/host/hostlock.h"
#include "core/image/open.h"
#include "core/image/target.h"

static int find_target(struct target *t, const struct headerext_list *ext,
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
		return err_set(
			err, -EUCLEAN,
			"the data file's name has a NUL byte in its %u bytes",
			(unsigned)e->len);
	else
		t->name = target_dup(e->data, e->len);
	return t->name ? 0 : err_set_sys(err, -ENOMEM, "cannot open");
}

static int lock_file(struct hostfile *file, const struct image *img,
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
static int check_size(struct hostfile *file, const struct image *img,
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

static int use_file(struct image *img, const struct target *t,
		    const struct image_opts *opts, struct chain *chain,
		    struct err *err)
{
	struct hostfile *file;
	int r = target_open(&file, img->file->name, t, opts, err);

	if (r < 0)
		return r;
	r = chain_add(chain, file, err);
	if (r == 0)
		r = lock_file(file, img, opts, err);
	if (r == 0)
		r = check_size(file, img, err);
	if (r < 0) {
		hostfile_close(file);
		return r;
	}
	img->data_file = file;
	img->disk.data = file;
	img->meta.data_file = file;
	return 0;
}

int datafile_open(struct image *img, const struct headerext_list *ext,
		  const struct image_opts *opts, struct chain *chain,
		  struct err *err)
{
	struct target t = { 0 };
	int r;

	if (!img->geom.data_file)
		return opts->data_file ? err_set(err, -EINVAL,
						 "-o data_file: the image has no external data file")
				       : 0;
	t.write = img->state.readonly ? 0 : HOSTFILE_RDWR;
	r = find_target(&t, ext, opts, err);
	if (r < 0)
		return r;
	r = target_check_name(&t, err);
	if (r < 0)
		chain->refused = true; /* its text names the file */
	if (r == 0) {
		r = use_file(img, &t, opts, chain, err);
		if (r < 0)
			chain_name_culprit(chain, r, err, &t);
	}
	free(t.name);
	return r;
}
