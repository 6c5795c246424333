/*
 * The -o list: one table of names, each with what it does. "-" and "_" in a
 * name are the same letter, and names are QEMU's where QEMU has the option.
 */
#include "fuse/opts.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/size.h"

#define CACHE_MIN (64 << 10)
#define CACHE_MAX (1ULL << 40)
#define COMMIT_MAX 86400
#define IDLE_MAX (365 * 86400)
#define THREADS_MAX 1024

struct word {
	const char *name;
	int value;
};

struct item {
	const char *name;
	/* VALUE is NULL when there was none */
	int (*set)(struct opts *o, const struct item *it, const char *value,
		   struct err *err);
	size_t at; /* field of struct opts */
	const struct word *words;
	uint64_t min, max;
};

static void *field(struct opts *o, const struct item *it)
{
	return (char *)o + it->at;
}

static int refuse(struct err *err, const struct item *it, const char *value,
		  const char *allowed)
{
	char safe[128];

	if (!value)
		return err_set(err, -EINVAL, "-o %s needs a value: %s", it->name,
			       allowed);
	return err_set(err, -EINVAL, "-o %s=%s: allowed is %s", it->name,
		       err_escape(safe, sizeof(safe), value, strlen(value)),
		       allowed);
}

static int no_value(const struct item *it, const char *value, struct err *err)
{
	if (!value)
		return 0;
	return err_set(err, -EINVAL, "-o %s takes no value", it->name);
}

static int set_true(struct opts *o, const struct item *it, const char *value,
		    struct err *err)
{
	*(bool *)field(o, it) = true;
	return no_value(it, value, err);
}

static int set_false(struct opts *o, const struct item *it, const char *value,
		     struct err *err)
{
	*(bool *)field(o, it) = false;
	return no_value(it, value, err);
}

static int find_word(const struct item *it, const char *value, int *out,
		     struct err *err)
{
	char allowed[128] = "";
	size_t n = 0;

	for (const struct word *w = it->words; w->name; w++) {
		if (value && !strcmp(w->name, value)) {
			*out = w->value;
			return 0;
		}
		n += (size_t)snprintf(allowed + n, sizeof(allowed) - n, "%s%s",
				      n ? ", " : "", w->name);
	}
	return refuse(err, it, value, allowed);
}

static int set_cache(struct opts *o, const struct item *it, const char *value,
		     struct err *err)
{
	int v = 0;
	int rc = find_word(it, value, &v, err);

	if (!rc)
		o->cache = (enum opts_cache)v;
	return rc;
}

static int set_backing(struct opts *o, const struct item *it,
		       const char *value, struct err *err)
{
	int v = 0;
	int rc = find_word(it, value, &v, err);

	if (!rc)
		o->img.backing = (enum image_backing)v;
	return rc;
}

static int set_detect(struct opts *o, const struct item *it, const char *value,
		      struct err *err)
{
	int v = 0;
	int rc = find_word(it, value, &v, err);

	if (!rc)
		o->img.detect_zeroes = (enum image_detect)v;
	return rc;
}

static int set_compress(struct opts *o, const struct item *it,
			const char *value, struct err *err)
{
	int v = IMAGE_COMPRESS_ON;
	int rc = value ? find_word(it, value, &v, err) : 0;

	if (!rc)
		o->img.compress = (enum image_compress)v;
	return rc;
}

static int set_bool_word(struct opts *o, const struct item *it,
			 const char *value, struct err *err)
{
	int v = 0;
	int rc = find_word(it, value, &v, err);

	if (!rc)
		*(bool *)field(o, it) = v;
	return rc;
}

static int set_number(struct opts *o, const struct item *it, const char *value,
		      struct err *err)
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

static int set_size(struct opts *o, const struct item *it, const char *value,
		    struct err *err)
{
	uint64_t v;

	if (!value || size_parse(value, &v) < 0 || v < CACHE_MIN ||
	    v > CACHE_MAX)
		return refuse(err, it, value, "64k to 1T");
	*(uint64_t *)field(o, it) = v;
	return 0;
}

static bool parse_id(const char *value, uint32_t *out)
{
	char *end;
	unsigned long long v = strtoull(value, &end, 10);

	*out = (uint32_t)v;
	return *value >= '0' && *value <= '9' && !*end && v < UINT32_MAX;
}

static int set_uid(struct opts *o, const struct item *it, const char *value,
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

static int set_gid(struct opts *o, const struct item *it, const char *value,
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

static int set_umask(struct opts *o, const struct item *it, const char *value,
		     struct err *err)
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

static int set_backing_file(struct opts *o, const struct item *it,
			    const char *value, struct err *err)
{
	char *colon;

	if (!value || !*value)
		return refuse(err, it, NULL, "PATH, PATH:raw or PATH:qcow2");
	free(o->backing_file);
	o->backing_file = strdup(value);
	if (!o->backing_file)
		return err_set(err, -ENOMEM, "out of memory");
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

static int set_data_file(struct opts *o, const struct item *it,
			 const char *value, struct err *err)
{
	if (!value || !*value)
		return refuse(err, it, NULL, "PATH");
	free(o->data_file);
	o->data_file = strdup(value);
	return o->data_file ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static int set_snapshot(struct opts *o, const struct item *it,
			const char *value, struct err *err)
{
	if (!value || !*value)
		return refuse(err, it, NULL, "a snapshot's name or id");
	free(o->snapshot);
	o->snapshot = strdup(value);
	if (!o->snapshot)
		return err_set(err, -ENOMEM, "out of memory");
	o->img.readonly = true;
	return 0;
}

static int set_key_file(struct opts *o, const struct item *it,
			const char *value, struct err *err)
{
	if (!value || !*value)
		return refuse(err, it, NULL, "a file");
	free(o->key_file);
	o->key_file = strdup(value);
	return o->key_file ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static int set_backing_key_file(struct opts *o, const struct item *it,
				const char *value, struct err *err)
{
	if (!value || !*value)
		return refuse(err, it, NULL, "a file");
	free(o->backing_key_file);
	o->backing_key_file = strdup(value);
	return o->backing_key_file ? 0 : err_set(err, -ENOMEM,
						 "out of memory");
}

static int set_key_fd(struct opts *o, const struct item *it, const char *value,
		      struct err *err)
{
	uint32_t fd;

	if (!value || !parse_id(value, &fd) || fd > INT_MAX ||
	    fcntl((int)fd, F_GETFD) < 0)
		return refuse(err, it, value,
			      "the number of an open file descriptor");
	fcntl((int)fd, F_SETFD, FD_CLOEXEC);
	o->keys.fd = (int)fd;
	return 0;
}

static int set_cow(struct opts *o, const struct item *it, const char *value,
		   struct err *err)
{
	if (value && !*value)
		return refuse(err, it, NULL, "a file, or no value at all");
	o->cow = true;
	free(o->cow_file);
	o->cow_file = value ? strdup(value) : NULL;
	return value && !o->cow_file ? err_set(err, -ENOMEM, "out of memory")
				     : 0;
}

static int pass_on(struct opts *o, const struct item *it, const char *value,
		   struct err *err)
{
	if (opts_pass(o, it->name, value))
		return err_set(err, -ENOMEM, "out of memory");
	return 0;
}

static int swallow(struct opts *o, const struct item *it, const char *value,
		   struct err *err)
{
	(void)o;
	(void)it;
	(void)value;
	(void)err;
	return 0;
}

static int set_debug(struct opts *o, const struct item *it, const char *value,
		     struct err *err)
{
	o->debug = o->foreground = true;
	return no_value(it, value, err);
}

static int not_yet(struct opts *o, const struct item *it, const char *value,
		   struct err *err)
{
	(void)o;
	(void)value;
	return err_set(err, -EINVAL,
		       "-o %s is not supported by this version of rawcow",
		       it->name);
}

static const struct word cache_words[] = {
	{ "writeback", OPTS_CACHE_WRITEBACK },
	{ "writethrough", OPTS_CACHE_WRITETHROUGH },
	{ "none", OPTS_CACHE_NONE },
	{ "directsync", OPTS_CACHE_DIRECTSYNC },
	{ "unsafe", OPTS_CACHE_UNSAFE },
	{ NULL, 0 },
};
static const struct word backing_words[] = {
	{ "dir", IMAGE_BACKING_DIR },
	{ "none", IMAGE_BACKING_NONE },
	{ "any", IMAGE_BACKING_ANY },
	{ NULL, 0 },
};
static const struct word locking_words[] = {
	{ "on", false }, { "off", true }, { NULL, 0 } /* no_lock */
};
static const struct word discard_words[] = {
	{ "unmap", false }, { "ignore", true }, { NULL, 0 }
};

static const struct word detect_words[] = {
	{ "off", IMAGE_DETECT_OFF },
	{ "on", IMAGE_DETECT_ON },
	{ "unmap", IMAGE_DETECT_UNMAP },
	{ NULL, 0 },
};
static const struct word compress_words[] = {
	{ "zlib", IMAGE_COMPRESS_ZLIB },
	{ "zstd", IMAGE_COMPRESS_ZSTD },
	{ NULL, 0 },
};

#define AT(f) offsetof(struct opts, f)
#define SIMPLE(n, fn) { n, fn, 0, NULL, 0, 0 }
#define FLAG(n, fn, f) { n, fn, AT(f), NULL, 0, 0 }
#define NUMBER(n, f, lo, hi) { n, set_number, AT(f), NULL, lo, hi }

static const struct item items[] = {
	FLAG("ro", set_true, img.readonly),
	FLAG("rw", set_false, img.readonly),
	{ "cache", set_cache, 0, cache_words, 0, 0 },
	{ "backing", set_backing, 0, backing_words, 0, 0 },
	SIMPLE("backing_file", set_backing_file),
	SIMPLE("data_file", set_data_file),
	SIMPLE("snapshot", set_snapshot),
	SIMPLE("cow", set_cow),
	SIMPLE("key_file", set_key_file), SIMPLE("key_fd", set_key_fd),
	FLAG("key_file_strip", set_true, keys.strip),
	SIMPLE("backing_key_file", set_backing_key_file),
	FLAG("growable", set_true, growable),
	FLAG("shrinkable", set_true, shrinkable),
	NUMBER("idle_timeout", idle_timeout, 1, IDLE_MAX),
	FLAG("norecovery", set_true, norecovery),
	NUMBER("commit_interval", commit_interval, 1, COMMIT_MAX),
	FLAG("l2_cache_size", set_size, img.l2_cache_size),
	FLAG("refcount_cache_size", set_size, img.refcount_cache_size),
	FLAG("cluster_cache_size", set_size, img.cluster_cache_size),
	NUMBER("max_threads", max_threads, 1, THREADS_MAX),
	FLAG("clone_fd", set_true, clone_fd),
	{ "locking", set_bool_word, AT(img.no_lock), locking_words, 0, 0 },
	FLAG("force_share", set_true, img.force_share),
	{ "discard", set_bool_word, AT(img.discard_ignore), discard_words, 0,
	  0 },
	{ "detect_zeroes", set_detect, 0, detect_words, 0, 0 },
	{ "compress", set_compress, 0, compress_words, 0, 0 },
	SIMPLE("uid", set_uid),
	SIMPLE("gid", set_gid),
	SIMPLE("umask", set_umask),
	FLAG("allow_other", set_true, allow_other),
	FLAG("allow_root", set_true, allow_root),
	FLAG("nonempty", set_true, nonempty),
	SIMPLE("debug", set_debug),

	/* the kernel's and libfuse's own */
	SIMPLE("suid", pass_on), SIMPLE("nosuid", swallow),
	SIMPLE("dev", pass_on), SIMPLE("nodev", swallow),
	SIMPLE("exec", pass_on), SIMPLE("noexec", pass_on),
	SIMPLE("sync", pass_on), SIMPLE("async", pass_on),
	SIMPLE("dirsync", pass_on), SIMPLE("atime", pass_on),
	SIMPLE("noatime", pass_on), SIMPLE("diratime", pass_on),
	SIMPLE("nodiratime", pass_on), SIMPLE("relatime", pass_on),
	SIMPLE("norelatime", pass_on), SIMPLE("strictatime", pass_on),
	SIMPLE("nostrictatime", pass_on), SIMPLE("lazytime", pass_on),
	SIMPLE("nolazytime", pass_on), SIMPLE("max_read", pass_on),
	SIMPLE("default_permissions", swallow), SIMPLE("fsname", pass_on),
	SIMPLE("subtype", swallow),
	SIMPLE("auto_unmount", pass_on), SIMPLE("context", pass_on),
	SIMPLE("fscontext", pass_on), SIMPLE("defcontext", pass_on),
	SIMPLE("rootcontext", pass_on),

	/* fstab's, of no meaning to a file system */
	SIMPLE("defaults", swallow), SIMPLE("auto", swallow),
	SIMPLE("noauto", swallow), SIMPLE("user", swallow),
	SIMPLE("nouser", swallow), SIMPLE("users", swallow),
	SIMPLE("owner", swallow), SIMPLE("group", swallow),
	SIMPLE("nofail", swallow), SIMPLE("_netdev", swallow),
	SIMPLE("comment", swallow),

	/* planned; refused so that nobody believes they work */
	SIMPLE("partition", not_yet),
	SIMPLE("io_uring", not_yet), SIMPLE("direct", not_yet),
	SIMPLE("live", not_yet),
	SIMPLE("lazy_refcounts", not_yet),
};

static bool same_name(const char *a, const char *b)
{
	for (; *a && *b; a++, b++)
		if ((*a == '-' ? '_' : *a) != (*b == '-' ? '_' : *b))
			return false;
	return *a == *b;
}

static const struct item *find_item(const char *name)
{
	for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++)
		if (same_name(items[i].name, name))
			return &items[i];
	return NULL;
}

static int apply(struct opts *o, char *text, struct err *err)
{
	char safe[128];
	const struct item *it;
	char *value = strchr(text, '=');

	if (value)
		*value++ = '\0';
	if (!*text || !strncmp(text, "x-", 2) || !strncmp(text, "X-", 2))
		return 0;
	it = find_item(text);
	if (it)
		return it->set(o, it, value, err);
	if (o->sloppy)
		return 0;
	err_escape(safe, sizeof(safe), text, strlen(text));
	return err_set(err, -EINVAL, "unknown option -o %s", safe);
}

int opts_list(struct opts *opts, const char *list, struct err *err)
{
	autofree char *word = strdup(list);
	const char *p = list;
	int rc = 0;

	if (!word)
		return err_set(err, -ENOMEM, "out of memory");
	while (!rc) {
		size_t n = 0;

		for (; *p && *p != ','; p++) {
			if (*p == '\\' && p[1])
				p++;
			word[n++] = *p;
		}
		word[n] = '\0';
		rc = apply(opts, word, err);
		if (!*p++)
			break;
	}
	return rc;
}

/* TEXT with a backslash before each comma and backslash. */
static char *escape(const char *text)
{
	char *out = malloc(2 * strlen(text) + 1);
	size_t n = 0;

	if (!out)
		return NULL;
	for (; *text; text++) {
		if (*text == ',' || *text == '\\')
			out[n++] = '\\';
		out[n++] = *text;
	}
	out[n] = '\0';
	return out;
}

int opts_pass(struct opts *opts, const char *name, const char *value)
{
	autofree char *safe = escape(value ? value : "");
	autofree char *old = opts->fuse_opts;

	opts->fuse_opts = NULL;
	if (!safe || asprintf(&opts->fuse_opts, "%s%s%s%s%s", old ? old : "",
			      old ? "," : "", name, value ? "=" : "", safe) < 0) {
		opts->fuse_opts = NULL;
		return -ENOMEM;
	}
	return 0;
}
