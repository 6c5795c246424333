/*
 * cmd_create: rawcow create. Options are those of qemu-img create; different
 * from it, a file that holds anything is replaced with --force only.
 */
#include "cli/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/num.h"
#include "cli/args.h"
#include "cli/progress.h"
#include "core/admin/create.h"
#include "core/format/qcow2.h"
#include "core/image/info.h"

struct create_args {
	const char *image;
	char *backing_file, *backing_format; /* owned */
	struct create_opts opts;
	bool have_size;
	bool quiet, progress, unsafe, force, help;
};

static void usage(void)
{
	fputs("rawcow create [OPTION...] IMAGE [SIZE]\n"
	      "Make a new qcow2 image of SIZE (512, 64k, 10G); without SIZE, as "
	      "big as its\nbacking file.\n\n"
	      "  -o OPT=VALUE,...\n"
	      "     compat=0.10|1.1 (or v2|v3)      1.1\n"
	      "     cluster_size=512..2M            64k\n"
	      "     refcount_bits=1..64             16\n"
	      "     preallocation=off|metadata|falloc|full\n"
	      "     compression_type=zlib|zstd      zlib\n"
	      "     lazy_refcounts=on|off           off\n"
	      "     backing_file=FILE,backing_fmt=raw|qcow2\n"
	      "  -b, --backing FILE      backing file; a relative name counts "
	      "from IMAGE's folder\n"
	      "  -F, --backing-format    its format: raw or qcow2, never "
	      "guessed\n"
	      "  -u, --backing-unsafe    do not look at the backing file; needs "
	      "SIZE\n"
	      "      --force             replace a file that is not empty\n"
	      "  -p, --progress          show progress on a terminal\n"
	      "  -q, --quiet             print nothing but errors\n"
	      "  -f, --format=qcow2      accepted, since there is no other\n"
	      "  -h, --help              this text\n", stdout);
}

/* --- options --------------------------------------------------------------- */

static int set_string(char **dst, const char *value, struct err *err)
{
	free(*dst);
	*dst = strdup(value);
	return *dst ? 0 : err_set(err, -ENOMEM, "no memory for options");
}

static int set_word(const char *key, const char *value,
		    const char *const *words, unsigned *out, struct err *err)
{
	int i = args_word(key, value, words, err);

	if (i < 0)
		return i;
	*out = (unsigned)i;
	return 0;
}

static int set_compat(struct create_args *a, const char *value,
		      struct err *err)
{
	static const char *const words[] = { "0.10", "1.1", "v2", "v3", NULL };
	unsigned i;
	int ret = set_word("compat", value, words, &i, err);

	if (!ret)
		a->opts.version = 2 + i % 2;
	return ret;
}

static int set_refcount_bits(struct create_args *a, const char *value,
			     struct err *err)
{
	uint64_t v;
	int ret = args_size("refcount_bits", value, &v, err);

	if (ret)
		return ret;
	if (!num_is_pow2(v) || v > 64)
		return err_set(err, -EINVAL, "refcount_bits %" PRIu64 " is not "
			       "a power of two from 1 to 64", v);
	a->opts.refcount_bits = (unsigned)v;
	return 0;
}

static int set_cluster_size(struct create_args *a, const char *value,
			    struct err *err)
{
	int ret = args_size("cluster_size", value, &a->opts.cluster_size, err);

	if (!ret && !a->opts.cluster_size)
		ret = err_set(err, -EINVAL, "cluster_size 0 is not a power of "
			      "two from 512 to 2M");
	return ret;
}

static int set_preallocation(struct create_args *a, const char *value,
			     struct err *err)
{
	static const char *const words[] = { "off", "metadata", "falloc",
					     "full", NULL };
	unsigned i;
	int ret = set_word("preallocation", value, words, &i, err);

	if (!ret)
		a->opts.prealloc = (enum create_prealloc)i;
	return ret;
}

static int set_size(struct create_args *a, const char *value, struct err *err)
{
	a->have_size = true;
	return args_size("size", value, &a->opts.size, err);
}

/* Options of QEMU that have no meaning here unless they are off. */
static int refuse_later(const char *key, const char *value, struct err *err)
{
	static const char *const later[] = { "extended_l2", "data_file",
					     "data_file_raw", "encryption",
					     NULL };

	for (int i = 0; later[i]; i++)
		if (!strcmp(key, later[i]) && !strcmp(value, "off"))
			return 0;
		else if (!strcmp(key, later[i]))
			return err_set(err, -ENOTSUP, "%s is not supported yet;"
				       " leave it out", key);
	if (!strncmp(key, "encrypt.", 8))
		return err_set(err, -ENOTSUP,
			       "encryption is not supported yet; leave it out");
	return err_set(err, -EINVAL,
		       "option '%.40s' is not known; see rawcow create -h", key);
}

static int set_option(void *ctx, const char *key, const char *value,
		      struct err *err)
{
	static const char *const compressions[] = { "zlib", "zstd", NULL };
	struct create_args *a = ctx;

	if (!strcmp(key, "compat"))
		return set_compat(a, value, err);
	if (!strcmp(key, "cluster_size"))
		return set_cluster_size(a, value, err);
	if (!strcmp(key, "refcount_bits"))
		return set_refcount_bits(a, value, err);
	if (!strcmp(key, "preallocation"))
		return set_preallocation(a, value, err);
	if (!strcmp(key, "compression_type"))
		return set_word(key, value, compressions, &a->opts.compression,
				err);
	if (!strcmp(key, "lazy_refcounts"))
		return args_bool(key, value, &a->opts.lazy_refcounts, err);
	if (!strcmp(key, "backing_file"))
		return set_string(&a->backing_file, value, err);
	if (!strcmp(key, "backing_fmt"))
		return set_string(&a->backing_format, value, err);
	if (!strcmp(key, "size"))
		return set_size(a, value, err);
	return refuse_later(key, value, err);
}

static int take_words(struct create_args *a, int n, char **words,
		      struct err *err)
{
	if (n < 1 || n > 2)
		return err_set(err, -EINVAL, "create takes an image and a size;"
			       " see rawcow create -h");
	a->image = words[0];
	return n == 2 ? set_size(a, words[1], err) : 0;
}

static int parse(struct create_args *a, int argc, char **argv, struct err *err)
{
	enum { OPT_FORCE = ARGS_LONG };
	static const struct option longs[] = {
		{ "backing", required_argument, NULL, 'b' },
		{ "backing-format", required_argument, NULL, 'F' },
		{ "backing-unsafe", no_argument, NULL, 'u' },
		{ "force", no_argument, NULL, OPT_FORCE },
		{ "progress", no_argument, NULL, 'p' },
		{ "quiet", no_argument, NULL, 'q' },
		{ "format", required_argument, NULL, 'f' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 }
	};
	int ret = 0;
	int opt;

	while (!ret && (opt = args_next(argc, argv, ":o:b:F:upqf:h", longs,
					err)) != -1) {
		switch (opt) {
		case 'o':
			ret = args_list(optarg, set_option, a, err);
			break;
		case 'b':
			ret = set_string(&a->backing_file, optarg, err);
			break;
		case 'F':
			ret = set_string(&a->backing_format, optarg, err);
			break;
		case 'u':
			a->unsafe = true;
			break;
		case OPT_FORCE:
			a->force = true;
			break;
		case 'p':
			a->progress = true;
			break;
		case 'q':
			a->quiet = true;
			break;
		case 'f':
			ret = args_format(optarg, err);
			break;
		case 'h':
			a->help = true;
			return 0;
		default:
			return -EINVAL;
		}
	}
	return ret ? ret : take_words(a, argc - optind, argv + optind, err);
}

/* --- backing file ---------------------------------------------------------- */

static int size_of_backing(struct hostfile *f, const char *format,
			   uint64_t *size, struct err *err)
{
	struct host_stat st;
	struct info info;
	int ret;

	if (!strcmp(format, "qcow2")) {
		ret = info_read(&info, f, err);
		if (!ret)
			*size = info.geom.size;
		if (!ret)
			info_fini(&info);
		return ret;
	}
	ret = hostfile_stat(f, &st);
	if (ret)
		return err_set_sys(err, ret, "cannot stat");
	*size = num_round_up(st.size, QCOW2_SECTOR);
	return 0;
}

/* With --force the image may exist: it would be emptied as its own backing. */
static int not_the_image(struct hostfile *f, const char *image,
			 struct err *err)
{
	struct host_stat hs;
	struct stat st;

	if (stat(image, &st) < 0 || hostfile_stat(f, &hs) < 0 ||
	    st.st_dev != hs.dev || st.st_ino != hs.ino)
		return 0;
	return err_set(err, -EINVAL, "it is the image itself; choose another "
		       "name for one of them");
}

/* The backing file must be there and be what -F says; it gives the size. No
 * lock: a running guest's image may well become a backing file. */
static int look_at_backing(struct create_args *a, struct err *err)
{
	autofree char *path = cmd_beside(a->image, a->backing_file);
	struct hostfile *f;
	uint64_t size = 0;
	int ret;

	if (!path)
		return err_set(err, -ENOMEM, "no memory for a name");
	if (cmd_is_url(a->backing_file))
		return err_set(err, -EINVAL, "the backing file must be a plain "
			       "path; write ./NAME if there is a colon in it");
	ret = hostfile_open(&f, AT_FDCWD, path, HOSTFILE_BLKDEV_OK, err);
	if (!ret) {
		ret = not_the_image(f, a->image, err);
		if (!ret)
			ret = size_of_backing(f, a->backing_format, &size, err);
		hostfile_close(f);
	}
	if (ret) {
		err_wrap(err, "backing file");
		return ret;
	}
	if (!a->have_size)
		a->opts.size = size;
	a->have_size = true;
	return 0;
}

static int settle_backing(struct create_args *a, struct err *err)
{
	static const char *const formats[] = { "raw", "qcow2", NULL };
	int ret = 0;

	a->opts.backing_file = a->backing_file;
	a->opts.backing_format = a->backing_format;
	if (a->backing_file && !a->backing_format)
		return err_set(err, -EINVAL, "the backing file's format is not "
			       "given; say -F raw or -F qcow2");
	if (a->backing_format)
		ret = NUM_MIN(args_word("backing format", a->backing_format,
					formats, err), 0);
	if (!ret && a->backing_file && !a->unsafe)
		ret = look_at_backing(a, err);
	if (!ret && !a->have_size)
		ret = err_set(err, -EINVAL, "the size is not given; write it "
			      "behind the image's name");
	return ret;
}

/* --- the file -------------------------------------------------------------- */

/* *MADE: the file was not there before. An old one loses its content only when
 * its locks are ours. */
static int open_target(struct hostfile **out, const struct create_args *a,
		       bool *made, struct err *err)
{
	struct stat st;
	struct hostfile *f;
	int ret;

	*made = stat(a->image, &st) < 0 && errno == ENOENT;
	if (!*made && S_ISREG(st.st_mode) && st.st_size && !a->force)
		return err_set(err, -EEXIST, "the file exists and is not empty;"
			       " choose another name, or --force");
	ret = hostfile_open(&f, AT_FDCWD, a->image,
			    HOSTFILE_RDWR | (*made ? HOSTFILE_CREATE : 0), err);
	if (ret) {
		*made = false;
		return ret;
	}
	ret = hostlock_take(f, HOSTLOCK_CREATE, err);
	if (ret == -EOPNOTSUPP)
		ret = 0;
	if (ret)
		*made = false; /* another program's by now */
	if (!ret) {
		ret = hostfile_truncate(f, 0);
		if (ret)
			err_set_sys(err, ret, "cannot empty the file");
	}
	if (ret)
		hostfile_close(f);
	else
		*out = f;
	return ret;
}

/* A new file is durable when its name is. */
static int sync_folder(const char *path, struct err *err)
{
	autofree char *dir = cmd_beside(path, ".");
	int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int ret = 0;

	/* a folder that may be searched but not read cannot be synced */
	if (fd < 0)
		return 0;
	if (fsync(fd) < 0 && errno != EINVAL)
		ret = err_set_sys(err, -errno, "cannot sync the folder");
	close(fd);
	return ret;
}

static int make(struct create_args *a, struct err *err)
{
	struct hostfile *f = NULL;
	struct progress p;
	bool made = false;
	int ret = open_target(&f, a, &made, err);

	if (!ret) {
		progress_begin(&p, a->progress && !a->quiet);
		a->opts.progress = progress_update;
		a->opts.progress_arg = &p;
		ret = create_image(f, &a->opts, err);
		progress_end(&p);
	}
	/* while the locks are held, so that it is nobody else's by now */
	if (ret && made)
		unlink(a->image);
	if (f)
		hostfile_close(f);
	if (!ret && made)
		ret = sync_folder(a->image, err);
	return ret;
}

static void print_summary(const struct create_args *a)
{
	const struct create_opts *o = &a->opts;
	char name[1024];

	printf("Formatting '%s', fmt=qcow2 cluster_size=%" PRIu64
	       " compression_type=%s size=%" PRIu64,
	       err_escape(name, sizeof(name), a->image, strlen(a->image)),
	       o->cluster_size ? o->cluster_size : 65536,
	       o->compression == QCOW2_COMPRESSION_ZSTD ? "zstd" : "zlib",
	       num_round_up(o->size, QCOW2_SECTOR));
	if (o->backing_file)
		printf(" backing_file=%s backing_fmt=%s",
		       err_escape(name, sizeof(name), o->backing_file,
				  strlen(o->backing_file)),
		       o->backing_format);
	if (o->version == 2)
		printf(" compat=0.10");
	printf(" lazy_refcounts=%s refcount_bits=%u\n",
	       o->lazy_refcounts ? "on" : "off",
	       o->refcount_bits ? o->refcount_bits : 16);
}

static int run(struct create_args *a, struct err *err)
{
	int ret = settle_backing(a, err);

	if (!ret)
		ret = make(a, err);
	if (ret)
		return cmd_fail(a->image, err);
	if (!a->quiet)
		print_summary(a);
	return fflush(stdout) ? 1 : 0;
}

int cmd_create(int argc, char **argv)
{
	struct create_args a = { 0 };
	struct err err = { "" };
	int status;

	if (parse(&a, argc, argv, &err) < 0)
		status = cmd_fail(NULL, &err);
	else if (a.help) {
		usage();
		status = fflush(stdout) ? 1 : 0;
	} else
		status = run(&a, &err);
	free(a.backing_file);
	free(a.backing_format);
	return status;
}
