#include "fuse/overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/admin/create.h"
#include "core/image/info.h"

/* What an overlay must know of the image below. */
struct base {
	uint64_t size;
	bool encrypted;
	struct secret *random; /* of an overlay that vanishes; owned */
};

/* Also says whether it can be opened at all. */
static int look_at_base(const struct opts *o, struct base *b, struct err *err)
{
	struct image_opts ro = o->img;
	struct image *img;
	int r;

	ro.readonly = true;
	ro.no_key = o->img.key; /* whether it fits is seen soon enough */
	r = image_open(&img, o->image, &ro, err);
	if (r < 0)
		return r;
	b->size = image_size(img);
	b->encrypted = image_encrypted(img);
	return image_close(img);
}

/* Make F, empty, an overlay over the image: encrypted where the image is, for
 * what is written was secret before. */
static int make(const struct opts *o, struct hostfile *f, const struct base *b,
		struct err *err)
{
	const struct create_luks_opts luks = {
		.secret = b->random ? b->random : o->img.key,
		.iter_ms = b->random ? 1 : 0, /* nobody can guess it */
	};
	struct create_opts c = { .size = b->size,
				 .luks = b->encrypted ? &luks : NULL,
				 .backing_file = o->image,
				 .backing_format = "qcow2" };

	return o->img.no_lock ? create_image(f, &c, err)
			      : create_exclusive(f, &c, err);
}

/* Does the overlay in file PATH lie over the image? */
static bool is_ours(const struct opts *o, const char *path,
		    const struct info *info)
{
	const char *slash = strrchr(path, '/');
	char name[PATH_MAX];
	struct stat a, b;

	if (!info->backing_name || !info->backing_format ||
	    strcmp(info->backing_format, "qcow2"))
		return false;
	if (info->backing_name[0] == '/' || !slash)
		snprintf(name, sizeof(name), "%s", info->backing_name);
	else
		snprintf(name, sizeof(name), "%.*s/%s", (int)(slash - path),
			 path, info->backing_name);
	return stat(name, &a) == 0 && stat(o->image, &b) == 0 &&
	       a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static int check_ours(const struct opts *o, struct hostfile *f,
		      struct err *err)
{
	struct info info;
	int r = info_read(&info, f, err);

	if (r < 0)
		return r;
	if (!is_ours(o, o->cow_file, &info))
		r = err_set(err, -EEXIST,
			    "it exists, and is no overlay over this image; name a file that does not exist");
	info_fini(&info);
	return r;
}

/* *FRESH: the file was not there before, and is ours: of two that begin at once
 * the one that comes too late must not take it away from the other. */
static int open_named(const struct opts *o, struct hostfile **f,
		      const struct base *b, bool *fresh, struct err *err)
{
	struct host_stat st = { 0 };
	int r;

	*fresh = access(o->cow_file, F_OK) < 0;
	r = hostfile_open(f, AT_FDCWD, o->cow_file,
			  HOSTFILE_RDWR | HOSTFILE_CREATE, err);
	if (r < 0)
		return r;
	r = hostfile_stat(*f, &st);
	if (r < 0)
		err_set_sys(err, r, "cannot stat");
	else
		r = st.size ? check_ours(o, *f, err) : make(o, *f, b, err);
	if (r == -EAGAIN || st.size)
		*fresh = false;
	if (r == 0)
		return 0;
	err_wrap(err, "-o cow=%s", o->cow_file);
	hostfile_close(*f);
	if (*fresh)
		unlink(o->cow_file);
	return r;
}

static int open_nameless(const struct opts *o, struct hostfile **f,
			 struct base *b, struct err *err)
{
	const char *dir = getenv("TMPDIR");
	char path[PATH_MAX];
	int r, fd;

	if (b->encrypted) {
		r = secret_random(&b->random, err);
		if (r < 0)
			return r;
	}
	snprintf(path, sizeof(path), "%s/rawcow-XXXXXX",
		 dir && *dir == '/' ? dir : "/var/tmp");
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return err_set_sys(err, -errno, "-o cow: cannot make %s", path);
	r = hostfile_open(f, AT_FDCWD, path, HOSTFILE_RDWR, err);
	unlink(path);
	close(fd);
	if (r < 0)
		return r;
	r = make(o, *f, b, err);
	if (r < 0)
		hostfile_close(*f);
	return r;
}

/* Open overlay F over the image. */
static int open_over(struct image **out, const struct opts *o,
		     struct hostfile *f, const struct base *b, struct err *err)
{
	struct image_opts img = o->img;

	/* the user has named it: no policy stands against it */
	img.backing_file = o->image;
	img.backing_format = "qcow2";
	img.overlay_key = b->random ? b->random : img.key;
	return image_open_file(out, f, &img, err);
}

int overlay_open(struct image **out, const struct opts *o, bool *fresh,
		 struct err *err)
{
	struct base b = { 0 };
	struct hostfile *f;
	int r = look_at_base(o, &b, err);

	*fresh = false;
	if (r < 0)
		return r;
	r = o->cow_file ? open_named(o, &f, &b, fresh, err)
			: open_nameless(o, &f, &b, err);
	if (r == 0) {
		r = open_over(out, o, f, &b, err);
		if (r < 0)
			hostfile_close(f);
		if (r < 0 && r != -EAGAIN && *fresh)
			unlink(o->cow_file);
		*fresh &= r == 0;
	}
	secret_free(b.random);
	return r;
}
