#include "core/image/target.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

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

const char *target_shown(char buf[256], const char *name)
{
	return err_escape(buf, 256, name, strlen(name));
}

char *target_dup(const void *p, size_t len)
{
	char *s = mem_array(len + 1, 1);

	if (s)
		memcpy(s, p, len);
	return s;
}

int target_check_name(const struct target *t, struct err *err)
{
	char buf[256];

	if (!t->by_user && t->policy == IMAGE_BACKING_NONE)
		return err_set(err, -EPERM,
			       "needs its %s '%s', and -o backing=none forbids opening it",
			       t->what, target_shown(buf, t->name));
	if (!t->by_user && has_protocol(t->name))
		return err_set(err, -EPERM,
			       "the %s '%s' is not a plain path; name the file with -o %s",
			       t->what, target_shown(buf, t->name), t->option);
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
		       t->what, target_shown(buf, t->name));
}

/* NAME as the folder of the image has it; NULL: -ENOMEM. */
static char *full_name(const char *image_name, const char *name)
{
	const char *slash = strrchr(image_name, '/');
	int folder = slash ? (int)(slash - image_name) + 1 : 0;
	char *full;

	if (name[0] == '/')
		folder = 0;
	return asprintf(&full, "%.*s%s", folder, image_name, name) < 0 ? NULL :
									 full;
}

/* What is below may be named by an absolute path, or by a symbolic link to
 * one. */
static int open_below(struct hostfile **out, int dirfd, const char *image_name,
		      const struct target *t, struct err *err)
{
	autofree char *full = full_name(image_name, t->name);
	autofree char *rel = NULL;
	unsigned flags = HOSTFILE_BENEATH | t->write;
	int r = -EXDEV;

	if (!full)
		return err_set_sys(err, -ENOMEM, "cannot open");
	if (t->name[0] != '/')
		r = hostfile_open(out, dirfd, t->name, flags, err);
	if (r != -EXDEV)
		return r;
	if (err)
		err->text[0] = '\0';
	rel = relative_below(image_name, full);
	if (!rel && access(full, F_OK) < 0)
		return err_set_sys(err, -errno, "cannot open");
	if (rel)
		r = hostfile_open(out, dirfd, rel, flags, err);
	return r == -EXDEV ? forbidden(t, err) : r;
}

/* Names in the chain count from the folder of the image that has them: give
 * FILE the path by which the next name can be resolved. */
static int set_full_name(struct hostfile *file, const char *image_name,
			 const char *name, struct err *err)
{
	char *full = full_name(image_name, name);

	if (!full) {
		hostfile_close(file);
		return err_set_sys(err, -ENOMEM, "cannot open");
	}
	free(file->name);
	file->name = full;
	return 0;
}

static int open_named(struct hostfile **out, const char *image_name,
		      const struct target *t, struct err *err)
{
	int dirfd;
	int r;

	if (t->by_user)
		return hostfile_open(out, AT_FDCWD, t->name,
				     HOSTFILE_BLKDEV_OK | t->write, err);
	r = hostfile_open_folder(&dirfd, image_name, err);
	if (r < 0)
		return r;
	if (t->policy == IMAGE_BACKING_ANY)
		r = hostfile_open(out, dirfd, t->name,
				  HOSTFILE_BLKDEV_OK | t->write, err);
	else
		r = open_below(out, dirfd, image_name, t, err);
	close(dirfd);
	return r < 0 ? r : set_full_name(*out, image_name, t->name, err);
}

int target_open(struct hostfile **out, const char *image_name,
		const struct target *t, const struct image_opts *opts,
		struct err *err)
{
	int r = open_named(out, image_name, t, err);

	/* -EPERM is the policy */
	if (r < 0 && r != -EPERM && t->write)
		return target_offer_ro(r, opts, err);
	if (r < 0 || !opts->wrap)
		return r;
	r = opts->wrap(opts->wrap_arg, out);
	if (r < 0)
		hostfile_close(*out);
	return r;
}

int target_offer_ro(int r, const struct image_opts *opts, struct err *err)
{
	if (opts->offer_ro && !opts->readonly &&
	    (r == -EACCES || r == -EPERM || r == -EROFS))
		err_append(err, "; with -o ro it is opened read-only");
	return r;
}
