/*
 * The -o list: one table of names, each with what it does. "-" and "_" in a
 * name are the same letter, and names are QEMU's where QEMU has the option.
 */
#include "fuse/opts.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "fuse/opts_set.h"

#define COMMIT_MAX 86400
#define IDLE_MAX (365 * 86400)
#define POLL_MAX 1000 /* microseconds */
#define THREADS_MAX 1024

/* --- options that set nothing here ---------------------------------------- */

static int pass_on(struct opts *o, const struct opts_item *it,
		   const char *value, struct err *err)
{
	if (opts_pass(o, it->name, value))
		return err_set(err, -ENOMEM, "out of memory");
	return 0;
}

static int swallow(struct opts *o, const struct opts_item *it,
		   const char *value, struct err *err)
{
	(void)o;
	(void)it;
	(void)value;
	(void)err;
	return 0;
}

static int not_yet(struct opts *o, const struct opts_item *it,
		   const char *value, struct err *err)
{
	(void)o;
	(void)value;
	return err_set(err, -EINVAL,
		       "-o %s is not supported by this version of rawcow",
		       it->name);
}

/* --- the table ------------------------------------------------------------ */

static const struct opts_word cache_words[] = {
	{ "writeback", OPTS_CACHE_WRITEBACK },
	{ "writethrough", OPTS_CACHE_WRITETHROUGH },
	{ "none", OPTS_CACHE_NONE },
	{ "directsync", OPTS_CACHE_DIRECTSYNC },
	{ "unsafe", OPTS_CACHE_UNSAFE },
	{ NULL, 0 },
};
static const struct opts_word backing_words[] = {
	{ "dir", IMAGE_BACKING_DIR },
	{ "none", IMAGE_BACKING_NONE },
	{ "any", IMAGE_BACKING_ANY },
	{ NULL, 0 },
};
static const struct opts_word locking_words[] = {
	{ "on", false }, { "off", true }, { NULL, 0 } /* no_lock */
};
static const struct opts_word discard_words[] = {
	{ "unmap", false }, { "ignore", true }, { NULL, 0 }
};

static const struct opts_word detect_words[] = {
	{ "off", IMAGE_DETECT_OFF },
	{ "on", IMAGE_DETECT_ON },
	{ "unmap", IMAGE_DETECT_UNMAP },
	{ NULL, 0 },
};
static const struct opts_word compress_words[] = {
	{ "zlib", IMAGE_COMPRESS_ZLIB },
	{ "zstd", IMAGE_COMPRESS_ZSTD },
	{ NULL, 0 },
};

#define AT(f) offsetof(struct opts, f)
#define SIMPLE(n, fn) { n, fn, 0, NULL, 0, 0, NULL }
#define FLAG(n, fn, f) { n, fn, AT(f), NULL, 0, 0, NULL }
#define WORD(n, fn, f, words) { n, fn, AT(f), words, 0, 0, NULL }
#define NUMBER(n, f, lo, hi) { n, opts_set_number, AT(f), NULL, lo, hi, NULL }
#define TEXT(n, f, wants) { n, opts_set_text, AT(f), NULL, 0, 0, wants }

static const struct opts_item items[] = {
	FLAG("ro", opts_set_true, img.readonly),
	SIMPLE("rw", opts_set_rw),
	WORD("cache", opts_set_word, cache, cache_words),
	WORD("backing", opts_set_word, img.backing, backing_words),
	SIMPLE("backing_file", opts_set_backing_file),
	TEXT("data_file", data_file, "PATH"),
	SIMPLE("snapshot", opts_set_snapshot),
	SIMPLE("cow", opts_set_cow),
	TEXT("key_file", key_file, "a file"),
	SIMPLE("key_fd", opts_set_key_fd),
	FLAG("key_file_strip", opts_set_true, keys.strip),
	TEXT("backing_key_file", backing_key_file, "a file"),
	FLAG("growable", opts_set_true, growable),
	FLAG("shrinkable", opts_set_true, shrinkable),
	NUMBER("idle_timeout", idle_timeout, 1, IDLE_MAX),
	FLAG("norecovery", opts_set_true, norecovery),
	NUMBER("commit_interval", commit_interval, 1, COMMIT_MAX),
	FLAG("l2_cache_size", opts_set_size, img.l2_cache_size),
	FLAG("refcount_cache_size", opts_set_size, img.refcount_cache_size),
	FLAG("cluster_cache_size", opts_set_size, img.cluster_cache_size),
	NUMBER("max_threads", max_threads, 1, THREADS_MAX),
	FLAG("clone_fd", opts_set_true, clone_fd),
	NUMBER("busy_poll", busy_poll, 0, POLL_MAX),
	WORD("locking", opts_set_bool, img.no_lock, locking_words),
	FLAG("force_share", opts_set_true, img.force_share),
	WORD("discard", opts_set_bool, img.discard_ignore, discard_words),
	WORD("detect_zeroes", opts_set_word, img.detect_zeroes, detect_words),
	WORD("compress", opts_set_compress, img.compress, compress_words),
	SIMPLE("uid", opts_set_uid),
	SIMPLE("gid", opts_set_gid),
	SIMPLE("umask", opts_set_umask),
	FLAG("allow_other", opts_set_true, allow_other),
	FLAG("allow_root", opts_set_true, allow_root),
	FLAG("nonempty", opts_set_true, nonempty),
	SIMPLE("debug", opts_set_debug),

	/* the kernel's and libfuse's own */
	SIMPLE("suid", pass_on), SIMPLE("nosuid", swallow),
	SIMPLE("dev", pass_on), SIMPLE("nodev", swallow),
	SIMPLE("exec", pass_on), SIMPLE("noexec", pass_on),
	SIMPLE("sync", pass_on), SIMPLE("async", pass_on),
	SIMPLE("dirsync", pass_on), SIMPLE("atime", pass_on),
	SIMPLE("noatime", pass_on), NUMBER("max_read", max_read, 0, UINT_MAX),
	SIMPLE("default_permissions", swallow), SIMPLE("fsname", pass_on),
	SIMPLE("subtype", swallow),
	SIMPLE("auto_unmount", pass_on), SIMPLE("context", pass_on),
	SIMPLE("fscontext", pass_on), SIMPLE("defcontext", pass_on),
	SIMPLE("rootcontext", pass_on),

	/* the kernel never changes times of access here, and libfuse refuses some */
	SIMPLE("diratime", swallow), SIMPLE("nodiratime", swallow),
	SIMPLE("relatime", swallow), SIMPLE("norelatime", swallow),
	SIMPLE("strictatime", swallow), SIMPLE("nostrictatime", swallow),
	SIMPLE("lazytime", swallow), SIMPLE("nolazytime", swallow),

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

/* --- the list ------------------------------------------------------------- */

static bool same_name(const char *a, const char *b)
{
	for (; *a && *b; a++, b++)
		if ((*a == '-' ? '_' : *a) != (*b == '-' ? '_' : *b))
			return false;
	return *a == *b;
}

static const struct opts_item *find_item(const char *name)
{
	for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++)
		if (same_name(items[i].name, name))
			return &items[i];
	return NULL;
}

static int apply(struct opts *o, char *text, struct err *err)
{
	char safe[128];
	const struct opts_item *it;
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
	return err_set(err, -EINVAL, "unknown option -o %s; see rawcow mount -h",
		       safe);
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
