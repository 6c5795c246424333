/*
 * The command line: letters, long options, the two operands. The -o list is
 * taken apart in opts_list.c.
 */
#include "fuse/opts.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "fuse/opts_set.h"

#define COMMIT_INTERVAL_DEFAULT 5
#define BUSY_POLL_DEFAULT 100 /* microseconds */

enum { LONG_PIDFILE = 256, LONG_READY_FD };

static const struct option long_options[] = {
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ "read-only", no_argument, NULL, 'r' },
	{ "foreground", no_argument, NULL, 'f' },
	{ "pidfile", required_argument, NULL, LONG_PIDFILE },
	{ "ready-fd", required_argument, NULL, LONG_READY_FD },
	{ NULL, 0, NULL, 0 },
};

const char opts_help[] =
	"rawcow [mount] [OPTION...] IMAGE MOUNTPOINT\n"
	"Show the qcow2 file IMAGE as a raw disk: as MOUNTPOINT itself when that is a\n"
	"regular file (IMAGE too), as MOUNTPOINT/disk.raw when it is a folder.\n"
	"\n"
	"  -r, --read-only         as -o ro\n"
	"  -f, --foreground        do not go to the background\n"
	"  -d                      print every request; implies -f\n"
	"  -s                      one thread\n"
	"      --pidfile=FILE      written when the disk is ready, removed at the end\n"
	"      --ready-fd=N        write a line to descriptor N when the disk is ready\n"
	"  -o OPT[=VALUE],...      any of these, and mount options (noatime, ...):\n"
	"      ro, rw, cache=writeback|writethrough|none|directsync|unsafe,\n"
	"      backing=dir|none|any, backing_file=PATH[:raw|:qcow2], data_file=PATH,\n"
	"      key_file=FILE, key_fd=N, key_file_strip, backing_key_file=FILE,\n"
	"      snapshot=NAME|ID, cow[=FILE], growable, shrinkable, idle_timeout=S,\n"
	"      norecovery, compress[=zlib|zstd], discard=unmap|ignore,\n"
	"      detect_zeroes=off|on|unmap, commit_interval=S, locking=on|off,\n"
	"      force_share, max_threads=N, clone_fd, busy_poll=MICROSECONDS,\n"
	"      l2_cache_size=, refcount_cache_size=, cluster_cache_size=SIZE,\n"
	"      uid=, gid=, umask=, allow_other, allow_root, nonempty\n"
	"  -V, --version           version\n"
	"  -h, --help              this text\n";

static bool is_helper(const char *argv0)
{
	const char *base = strrchr(argv0, '/');

	base = base ? base + 1 : argv0;
	return !strncmp(base, "mount.", 6);
}

/* An absolute path for a file that need not exist. */
static char *absolute(const char *path)
{
	autofree char *cwd = NULL;
	char *out;

	if (path[0] == '/')
		return strdup(path);
	cwd = getcwd(NULL, 0);
	if (!cwd || asprintf(&out, "%s/%s", cwd, path) < 0)
		return NULL;
	return out;
}

static int make_absolute(char **path)
{
	char *full = absolute(*path);

	if (!full)
		return -ENOMEM;
	free(*path);
	*path = full;
	return 0;
}

static int set_ready_fd(struct opts *o, const char *text, struct err *err)
{
	int fd = opts_set_fd(text);

	if (fd < 0)
		return err_set(err, -EINVAL,
			       "--ready-fd %s: not an open file descriptor", text);
	o->ready_fd = fd;
	return 0;
}

static int set_pidfile(struct opts *o, const char *path, struct err *err)
{
	free(o->pidfile);
	o->pidfile = absolute(path);
	return o->pidfile ? 0 : err_set(err, -ENOMEM, "out of memory");
}

/* Letters that mean the same to us and to mount(8). */
static int common_letter(struct opts *o, int c, struct err *err)
{
	switch (c) {
	case 'o':
		return opts_list(o, optarg, err);
	case 'r':
		return opts_list(o, "ro", err);
	case 'h':
		o->action = OPTS_HELP;
		return 0;
	case 'V':
		o->action = OPTS_VERSION;
		return 0;
	case LONG_PIDFILE:
		return set_pidfile(o, optarg, err);
	case LONG_READY_FD:
		return set_ready_fd(o, optarg, err);
	default:
		break;
	}
	return err_set(err, -EINVAL, "unknown option; see rawcow mount -h");
}

static int own_letter(struct opts *o, int c, struct err *err)
{
	switch (c) {
	case 'f':
		o->foreground = true;
		return 0;
	case 'd':
		o->foreground = o->debug = true;
		return 0;
	case 's':
		o->single_thread = true;
		return 0;
	default:
		return common_letter(o, c, err);
	}
}

static int helper_letter(struct opts *o, int c, struct err *err)
{
	switch (c) {
	case 'f':
		if (o->action == OPTS_MOUNT)
			o->action = OPTS_NOTHING;
		return 0;
	case 's':
		o->sloppy = true;
		return 0;
	case 'w':
		return opts_list(o, "rw", err);
	case 'n': /* no mtab: there is none */
	case 'v':
	case 't':
		return 0;
	case 'N':
		return err_set(err, -EINVAL,
			       "-N: another mount namespace is not supported");
	default:
		return common_letter(o, c, err);
	}
}

static int bad_option(char **argv, int c, struct err *err)
{
	const char *arg = argv[optind - 1];
	char letter[] = { '-', (char)optopt, '\0' };

	/* a letter may stand among others; a long one is alone in its word, and
	 * known if what is wrong is its value */
	if (optopt > 0 && optopt < 256 && strncmp(arg, "--", 2))
		arg = letter;
	if (c == ':')
		return err_set(err, -EINVAL,
			       "option %s needs a value; see rawcow mount -h",
			       arg);
	return err_set(err, -EINVAL, optopt && arg != letter ?
			       "option %s takes no value; see rawcow mount -h" :
			       "unknown option %s; see rawcow mount -h",
		       arg);
}

static int parse_letters(struct opts *o, int argc, char **argv,
			 struct err *err)
{
	/* sloppy must be known before the list is read, wherever it stands */
	const char *letters = o->helper ? ":o:rhVfswnvt:N:" : ":o:rhVfds";
	int c;
	int rc = 0;

	for (int i = 1; o->helper && i < argc; i++)
		if (!strcmp(argv[i], "-s"))
			o->sloppy = true;
	optind = 0;
	opterr = 0;
	while (!rc && (c = getopt_long(argc, argv, letters, long_options,
				       NULL)) != -1) {
		if (c == '?' || c == ':')
			return bad_option(argv, c, err);
		rc = o->helper ? helper_letter(o, c, err) :
				 own_letter(o, c, err);
	}
	return rc;
}

static int resolve(char **out, const char *what, const char *path,
		   struct err *err)
{
	*out = realpath(path, NULL);
	if (*out)
		return 0;
	if (errno == ENOTCONN)
		return err_set(err, -ENOTCONN,
			       "%s %s: its server is gone; run: fusermount3 -uz %s",
			       what, path, path);
	return err_set_sys(err, -errno, "%s %s", what, path);
}

static int set_operands(struct opts *o, int n, char **arg, struct err *err)
{
	int rc;

	if (n < 2)
		return err_set(err, -EINVAL, "%s is missing; usage: rawcow "
			       "IMAGE MOUNTPOINT [-o OPT,...]",
			       n ? "MOUNTPOINT" : "IMAGE");
	if (n > 2)
		return err_set(err, -EINVAL, "unexpected argument '%s'", arg[2]);
	rc = resolve(&o->image, "image", arg[0], err);
	if (rc)
		return rc;
	/* we use our mount ourselves, and must know where it is */
	if (!strncmp(arg[1], "/dev/fd/", 8))
		return err_set(err, -EINVAL, "mount point %s: -o "
			       "drop_privileges of mount.fuse3 is not supported; "
			       "take away what it has mounted: fusermount3 -uz",
			       arg[1]);
	return resolve(&o->mountpoint, "mount point", arg[1], err);
}

/* Give the ready descriptor a number that is nobody else's: those of the shell's
 * standard files get another meaning in the background. */
static int take_ready_fd(struct opts *o, struct err *err)
{
	int fd = o->ready_fd;

	if (fd < 0)
		return 0;
	if (fd == o->keys.fd)
		return err_set(err, -EINVAL, "-o key_fd and --ready-fd are the "
			       "same descriptor, %d", fd);
	o->ready_fd = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (o->ready_fd < 0)
		return err_set_sys(err, -errno, "--ready-fd %d", fd);
	if (fd > STDERR_FILENO)
		close(fd);
	return 0;
}

/* Rules between options. */
static int check_together(struct opts *o, struct err *err)
{
	if (o->snapshot && o->rw && !o->img.readonly)
		return err_set(err, -EINVAL, "-o snapshot and rw exclude each "
			       "other: a snapshot can only be read; with "
			       "mount(8), which adds rw, say ro");
	o->img.readonly |= o->snapshot != NULL;
	if (o->allow_other && o->allow_root)
		return err_set(err, -EINVAL, "-o allow_other and allow_root "
			       "exclude each other");
	if (o->img.force_share && !o->img.readonly)
		return err_set(err, -EINVAL, "-o force_share needs -o ro: two "
			       "writers would destroy the image");
	if (o->img.detect_zeroes == IMAGE_DETECT_UNMAP && o->img.discard_ignore)
		return err_set(err, -EINVAL, "-o detect_zeroes=unmap needs -o "
			       "discard=unmap; detect_zeroes=on keeps the "
			       "clusters");
	if (o->cow && (o->img.readonly || o->backing_file || o->data_file))
		return err_set(err, -EINVAL, "-o cow does not go with ro, "
			       "snapshot, backing_file or data_file");
	if (o->cow_file && make_absolute(&o->cow_file) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	o->img.snapshot = o->snapshot;
	o->img.backing_file = o->backing_file;
	o->img.data_file = o->data_file;
	o->keys.file = o->key_file;
	o->keys.backing_file = o->backing_key_file;
	o->img.no_flush = o->cache == OPTS_CACHE_UNSAFE;
	return take_ready_fd(o, err);
}

/* More threads than that only queue for the host's lock on the file. */
static unsigned default_threads(void)
{
	long n = 2 * sysconf(_SC_NPROCESSORS_ONLN);

	return n < 4 ? 4 : n > 10 ? 10 : (unsigned)n;
}

int opts_parse(struct opts *opts, int argc, char **argv, struct err *err)
{
	int rc;

	*opts = (struct opts){
		.ready_fd = -1,
		.keys = KEYS_INIT,
		.commit_interval = COMMIT_INTERVAL_DEFAULT,
		.max_threads = default_threads(),
		.busy_poll = BUSY_POLL_DEFAULT,
		.uid = getuid(),
		.gid = getgid(),
		.helper = is_helper(argv[0]),
	};
	rc = parse_letters(opts, argc, argv, err);
	if (!rc)
		rc = check_together(opts, err);
	if (rc || opts->action == OPTS_HELP || opts->action == OPTS_VERSION)
		return rc;
	return set_operands(opts, argc - optind, argv + optind, err);
}

void opts_fini(struct opts *opts)
{
	free(opts->image);
	free(opts->mountpoint);
	free(opts->pidfile);
	free(opts->backing_file);
	free(opts->data_file);
	free(opts->snapshot);
	free(opts->key_file);
	free(opts->backing_key_file);
	keys_fini(&opts->keys);
	free(opts->cow_file);
	free(opts->fuse_opts);
}
