#include "fuse/opts_set.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

#define CACHE_MIN (64 << 10)
#define CACHE_MAX (1ULL << 40)

/* opts_set_word() writes enums through this type */
_Static_assert(sizeof(enum opts_cache) == sizeof(unsigned) &&
	       sizeof(enum image_backing) == sizeof(unsigned) &&
	       sizeof(enum image_detect) == sizeof(unsigned), "enums");

static void *field(struct opts *o, const struct opts_item *it)
{
	return (char *)o + it->at;
}

static int refuse(struct err *err, const struct opts_item *it,
		  const char *value, const char *allowed)
{
	char safe[128];

	if (!value)
		return err_set(err, -EINVAL, "-o %s needs a value: %s", it->name,
			       allowed);
	return err_set(err, -EINVAL, "-o %s=%s: allowed is %s", it->name,
		       err_escape(safe, sizeof(safe), value, strlen(value)),
		       allowed);
}

static int no_value(const struct opts_item *it, const char *value,
		    struct err *err)
{
	if (!value)
		return 0;
	return err_set(err, -EINVAL, "-o %s takes no value", it->name);
}

/* Free *DST and make it a copy of TEXT. */
static int copy(char **dst, const char *text, struct err *err)
{
	free(*dst);
	*dst = strdup(text);
	return *dst ? 0 : err_set(err, -ENOMEM, "out of memory");
}

int opts_set_true(struct opts *o, const struct opts_item *it,
		  const char *value, struct err *err)
{
	*(bool *)field(o, it) = true;
	return no_value(it, value, err);
}

int opts_set_false(struct opts *o, const struct opts_item *it,
		   const char *value, struct err *err)
{
	*(bool *)field(o, it) = false;
	return no_value(it, value, err);
}

int opts_set_rw(struct opts *o, const struct opts_item *it, const char *value,
		struct err *err)
{
	o->img.readonly = false;
	o->rw = !o->helper;
	return no_value(it, value, err);
}

int opts_set_debug(struct opts *o, const struct opts_item *it,
		   const char *value, struct err *err)
{
	o->debug = o->foreground = true;
	return no_value(it, value, err);
}

/* --- words ---------------------------------------------------------------- */

static int find_word(const struct opts_item *it, const char *value,
		     unsigned *out, struct err *err)
{
	char allowed[128] = "";
	size_t n = 0;

	for (const struct opts_word *w = it->words; w->name; w++) {
		if (value && !strcmp(w->name, value)) {
			*out = w->value;
			return 0;
		}
		n += (size_t)snprintf(allowed + n, sizeof(allowed) - n, "%s%s",
				      n ? ", " : "", w->name);
	}
	return refuse(err, it, value, allowed);
}

int opts_set_word(struct opts *o, const struct opts_item *it,
		  const char *value, struct err *err)
{
	return find_word(it, value, field(o, it), err);
}

int opts_set_bool(struct opts *o, const struct opts_item *it,
		  const char *value, struct err *err)
{
	unsigned v = 0;
	int rc = find_word(it, value, &v, err);

	if (!rc)
		*(bool *)field(o, it) = v;
	return rc;
}

int opts_set_compress(struct opts *o, const struct opts_item *it,
		      const char *value, struct err *err)
{
	unsigned v = IMAGE_COMPRESS_ON;
	int rc = value ? find_word(it, value, &v, err) : 0;

	if (!rc)
		o->img.compress = (enum image_compress)v;
	return rc;
}

/* --- numbers -------------------------------------------------------------- */

int opts_set_number(struct opts *o, const struct opts_item *it,
		    const char *value, struct err *err)
{
	char allowed[64];
	uint64_t v = 0;
	char *end = NULL;

	snprintf(allowed, sizeof(allowed), "%" PRIu64 " to %" PRIu64, it->min,
		 it->max);
	errno = 0;
	if (value && *value >= '0' && *value <= '9')
		v = strtoull(value, &end, 10);
	if (!end || *end || errno || v < it->min || v > it->max)
		return refuse(err, it, value, allowed);
	*(unsigned *)field(o, it) = (unsigned)v;
	return 0;
}

int opts_set_size(struct opts *o, const struct opts_item *it,
		  const char *value, struct err *err)
{
	uint64_t v;

	if (!value || size_parse(value, &v) < 0 || v < CACHE_MIN ||
	    v > CACHE_MAX)
		return refuse(err, it, value, "64k to 1T");
	*(uint64_t *)field(o, it) = v;
	return 0;
}

int opts_set_umask(struct opts *o, const struct opts_item *it,
		   const char *value, struct err *err)
{
	char *end = NULL;
	unsigned long v = 0;

	if (value && *value >= '0' && *value <= '7')
		v = strtoul(value, &end, 8);
	if (!end || *end || v > 0777)
		return refuse(err, it, value, "000 to 777, octal");
	o->umask = (mode_t)v;
	o->has_umask = true;
	return 0;
}

static bool parse_id(const char *value, uint32_t *out)
{
	char *end;
	unsigned long long v = strtoull(value, &end, 10);

	*out = (uint32_t)v;
	return *value >= '0' && *value <= '9' && !*end && v < UINT32_MAX;
}

int opts_set_uid(struct opts *o, const struct opts_item *it, const char *value,
		 struct err *err)
{
	const struct passwd *pw;

	if (value && parse_id(value, &o->uid))
		return 0;
	pw = value ? getpwnam(value) : NULL;
	if (!pw)
		return refuse(err, it, value, "a user's name or number");
	o->uid = pw->pw_uid;
	return 0;
}

int opts_set_gid(struct opts *o, const struct opts_item *it, const char *value,
		 struct err *err)
{
	const struct group *gr;

	if (value && parse_id(value, &o->gid))
		return 0;
	gr = value ? getgrnam(value) : NULL;
	if (!gr)
		return refuse(err, it, value, "a group's name or number");
	o->gid = gr->gr_gid;
	return 0;
}

int opts_set_fd(const char *text)
{
	uint32_t fd;

	if (!parse_id(text, &fd) || fd > INT_MAX ||
	    fcntl((int)fd, F_GETFD) < 0)
		return -1;
	fcntl((int)fd, F_SETFD, FD_CLOEXEC);
	return (int)fd;
}

int opts_set_key_fd(struct opts *o, const struct opts_item *it,
		    const char *value, struct err *err)
{
	int fd = value ? opts_set_fd(value) : -1;

	if (fd < 0)
		return refuse(err, it, value,
			      "the number of an open file descriptor");
	o->keys.fd = fd;
	return 0;
}

/* --- names ---------------------------------------------------------------- */

int opts_set_text(struct opts *o, const struct opts_item *it,
		  const char *value, struct err *err)
{
	if (!value || !*value)
		return refuse(err, it, NULL, it->wants);
	return copy(field(o, it), value, err);
}

int opts_set_snapshot(struct opts *o, const struct opts_item *it,
		      const char *value, struct err *err)
{
	if (!value || !*value)
		return refuse(err, it, NULL, "a snapshot's name or id");
	return copy(&o->snapshot, value, err);
}

int opts_set_backing_file(struct opts *o, const struct opts_item *it,
			  const char *value, struct err *err)
{
	char *colon;
	int rc;

	if (!value || !*value || !strcmp(value, ":raw") ||
	    !strcmp(value, ":qcow2"))
		return refuse(err, it, NULL, "PATH, PATH:raw or PATH:qcow2");
	rc = copy(&o->backing_file, value, err);
	if (rc)
		return rc;
	o->img.backing_format = NULL;
	colon = strrchr(o->backing_file, ':');
	if (!colon)
		return 0;
	if (!strcmp(colon, ":raw"))
		o->img.backing_format = "raw";
	else if (!strcmp(colon, ":qcow2"))
		o->img.backing_format = "qcow2";
	else
		return 0;
	*colon = '\0';
	return 0;
}

int opts_set_cow(struct opts *o, const struct opts_item *it, const char *value,
		 struct err *err)
{
	if (value && !*value)
		return refuse(err, it, NULL, "a file, or no value at all");
	o->cow = true;
	if (value)
		return copy(&o->cow_file, value, err);
	free(o->cow_file);
	o->cow_file = NULL;
	return 0;
}
