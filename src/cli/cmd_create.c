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
#include "core/image/keys.h"

struct create_args {
	const char *image, *size_word;
	char *backing_file, *backing_format, *data_file; /* owned */
	struct create_opts opts;
	char *luks_words[5]; /* owned: what opts.luks says */
	unsigned iter_ms;
	bool encrypt;
	struct keys keys;
	bool have_size;
	bool quiet, progress, unsafe, force;
};

/* --- options --------------------------------------------------------------- */

static int take_compat(void *field, const char *name, const char *value,
		       struct err *err)
{
	static const char *const words[] = { "0.10", "1.1", "v2", "v3", NULL };
	int i = args_word(name, value, words, err);

	if (i < 0)
		return i;
	*(unsigned *)field = 2 + (unsigned)i % 2;
	return 0;
}

static int take_refcount_bits(void *field, const char *name, const char *value,
			      struct err *err)
{
	uint64_t v;
	int ret = args_size(&v, name, value, err);

	if (ret)
		return ret;
	if (!num_is_pow2(v) || v > 64)
		return err_set(err, -EINVAL, "refcount_bits %" PRIu64 " is not "
			       "a power of two from 1 to 64", v);
	*(unsigned *)field = (unsigned)v;
	return 0;
}

static int take_cluster_size(void *field, const char *name, const char *value,
			     struct err *err)
{
	uint64_t *size = field;
	int ret = args_size(size, name, value, err);

	if (!ret && !*size)
		ret = err_set(err, -EINVAL, "cluster_size 0 is not a power of "
			      "two from 512 to 2M");
	return ret;
}

static int take_compression(void *field, const char *name, const char *value,
			    struct err *err)
{
	static const char *const words[] = { "zlib", "zstd", NULL };
	int i = args_word(name, value, words, err);

	if (i < 0)
		return i;
	*(unsigned *)field = (unsigned)i;
	return 0;
}

static int take_size(void *into, const char *name, const char *value,
		     struct err *err)
{
	struct create_args *a = into;

	a->have_size = true;
	return args_size(&a->opts.size, name, value, err);
}

/* QEMU's old name for legacy AES. */
static int take_encryption(void *field, const char *name, const char *value,
			   struct err *err)
{
	bool on;
	int ret = args_on_off(&on, name, value, err);

	(void)field;
	return ret || !on ? ret
			  : err_set(err, -ENOTSUP,
				    "encryption=on is the old AES, which is weak; use encrypt.format=luks");
}

static int take_format(void *field, const char *name, const char *value,
		       struct err *err)
{
	if (!strcmp(value, "aes"))
		return err_set(err, -ENOTSUP, "%s=aes makes images with weak "
			       "encryption; use %s=luks", name, name);
	if (strcmp(value, "luks"))
		return err_set(err, -EINVAL, "%s: allowed is luks", name);
	*(bool *)field = true;
	return 0;
}

static int take_iter_time(void *field, const char *name, const char *value,
			  struct err *err)
{
	uint64_t v;
	int ret = args_size(&v, name, value, err);

	if (!ret && (!v || v > 60000))
		ret = err_set(err, -EINVAL, "%s: allowed is 1 to 60000 "
			      "milliseconds", name);
	if (!ret)
		*(unsigned *)field = (unsigned)v;
	return ret;
}

/* QEMU's way to name a passphrase; ours is an option of the command. */
static int refuse_secret(void *field, const char *name, const char *value,
			 struct err *err)
{
	(void)field;
	(void)value;
	return err_set(err, -EINVAL, "%s: give the passphrase with --key-file "
		       "FILE", name);
}

#define AT(f) offsetof(struct create_args, f)

static const struct args_opt keys[] = {
	{ 0, "compat", "0.10|1.1|v2|v3", take_compat, AT(opts.version), NULL },
	{ 0, "cluster_size", "512..2M", take_cluster_size,
	  AT(opts.cluster_size), NULL },
	{ 0, "refcount_bits", "1..64", take_refcount_bits,
	  AT(opts.refcount_bits), NULL },
	{ 0, "preallocation", "off|metadata|falloc|full", args_prealloc,
	  AT(opts.prealloc), NULL },
	{ 0, "compression_type", "zlib|zstd", take_compression,
	  AT(opts.compression), NULL },
	{ 0, "lazy_refcounts", "on|off", args_on_off, AT(opts.lazy_refcounts),
	  NULL },
	{ 0, "extended_l2", "on|off", args_on_off, AT(opts.extended_l2), NULL },
	{ 0, "backing_file", "FILE", args_string, AT(backing_file), NULL },
	{ 0, "backing_fmt", "raw|qcow2", args_string, AT(backing_format),
	  NULL },
	{ 0, "data_file", "FILE", args_string, AT(data_file), NULL },
	{ 0, "data_file_raw", "on|off", args_on_off,
	  AT(opts.data_file_raw), NULL },
	{ 0, "size", "SIZE", take_size, 0, NULL },
	{ 0, "encryption", NULL, take_encryption, 0, NULL },
	{ 0, "encrypt.format", "luks", take_format, AT(encrypt), NULL },
	{ 0, "encrypt.cipher_alg", "ALG", args_string, AT(luks_words[0]),
	  NULL },
	{ 0, "encrypt.cipher_mode", "MODE", args_string, AT(luks_words[1]),
	  NULL },
	{ 0, "encrypt.ivgen_alg", "ALG", args_string, AT(luks_words[2]), NULL },
	{ 0, "encrypt.ivgen_hash_alg", "HASH", args_string, AT(luks_words[3]),
	  NULL },
	{ 0, "encrypt.hash_alg", "HASH", args_string, AT(luks_words[4]), NULL },
	{ 0, "encrypt.iter_time", "MS", take_iter_time, AT(iter_ms), NULL },
	{ 0, "encrypt.key_secret", NULL, refuse_secret, 0, NULL },
	ARGS_END
};

static const struct args_opt options[] = {
	{ 'b', "backing", "FILE", args_string, AT(backing_file),
	  "a relative name counts from IMAGE's folder" },
	{ 'F', "backing-format", "FMT", args_string, AT(backing_format),
	  "its format: raw or qcow2, never guessed" },
	{ 'u', "backing-unsafe", NULL, args_flag, AT(unsafe),
	  "do not look at the backing file; needs SIZE" },
	{ 0, "force", NULL, args_flag, AT(force),
	  "replace a file that is not empty" },
	ARGS_PROGRESS(AT(progress)),
	ARGS_QUIET(AT(quiet)),
	ARGS_FORMAT,
	ARGS_KEY_SOURCES(AT(keys)),
	ARGS_KEYS,
	ARGS_END
};

static int check_args(void *into, struct err *err)
{
	struct create_args *a = into;

	return a->size_word ? take_size(a, "size", a->size_word, err) : 0;
}

static const struct args_spec spec = {
	.usage = "create [OPTION...] IMAGE [SIZE]",
	.what = "Make a new qcow2 image of SIZE (512, 64k, 10G); without SIZE, "
		"as big as its\nbacking file.",
	.opts = options,
	.keys = keys,
	.min_words = 1,
	.max_words = 2,
	.wants = "an image and a size",
	.words = { AT(image), AT(size_word) },
	.check = check_args,
};

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

/* A file to be filled. MADE: it was not there before. */
struct target {
	const char *path;
	struct hostfile *f; /* NULL: not open */
	bool made;
};

/* Take the locks, then empty it: an old one loses its content only when they
 * are ours. A device is taken as it is. */
static int take_over(struct hostfile *f, bool *made, struct err *err)
{
	struct host_stat st;
	int ret = hostlock_take(f, HOSTLOCK_CREATE, err);

	if (ret && ret != -EOPNOTSUPP) {
		*made = false; /* another program's by now */
		return ret;
	}
	ret = hostfile_stat(f, &st);
	if (!ret && !st.block_device)
		ret = hostfile_truncate(f, 0);
	return ret ? err_set_sys(err, ret, "cannot empty the file") : 0;
}

static int open_target(struct target *t, bool force, unsigned flags,
		       struct err *err)
{
	struct stat st;
	int ret;

	t->made = stat(t->path, &st) < 0 && errno == ENOENT;
	if (!t->made && !force &&
	    ((S_ISREG(st.st_mode) && st.st_size) || S_ISBLK(st.st_mode)))
		return err_set(err, -EEXIST, "the file exists and is not empty;"
			       " choose another name, or --force");
	ret = hostfile_open(&t->f, AT_FDCWD, t->path,
			    flags | HOSTFILE_RDWR |
				    (t->made ? HOSTFILE_CREATE : 0), err);
	if (ret)
		t->made = false;
	else
		ret = take_over(t->f, &t->made, err);
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

/* The passphrase of a new image: from a file, or asked for twice. */
static int get_key(struct create_args *a, struct create_luks_opts *luks,
		   struct err *err)
{
	bool any = a->iter_ms || a->keys.file || a->keys.fd >= 0;
	int ret = 0;

	for (int i = 0; i < 5; i++)
		any = any || a->luks_words[i];
	if (any && !a->encrypt)
		return err_set(err, -EINVAL, "a passphrase and encrypt.* need "
			       "-o encrypt.format=luks");
	if (!a->encrypt)
		return 0;
	if (a->keys.file || a->keys.fd >= 0)
		ret = keys_load(&a->keys, a->image, NULL, err);
	else
		ret = secret_prompt(&a->keys.key, "Passphrase for the new "
				    "image", true, err);
	*luks = (struct create_luks_opts){
		.cipher_alg = a->luks_words[0],
		.cipher_mode = a->luks_words[1],
		.ivgen_alg = a->luks_words[2],
		.ivgen_hash_alg = a->luks_words[3],
		.hash_alg = a->luks_words[4],
		.iter_ms = a->iter_ms,
		.secret = a->keys.key,
	};
	a->opts.luks = luks;
	if (ret == -ENOTTY)
		ret = err_set(err, ret, "encryption needs a passphrase; give "
			      "it with --key-file FILE");
	return ret;
}

/* The image is open already, so that the two cannot be the same file; nor may
 * the data file be the backing file, which would be emptied. */
static int check_data_path(const struct create_args *a, const char *path,
			   struct err *err)
{
	autofree char *back = a->backing_file ?
				      cmd_beside(a->image, a->backing_file) :
				      NULL;
	struct stat st, other;

	if (cmd_is_url(a->data_file))
		return err_set(err, -EINVAL, "the data file must be a plain "
			       "path; write ./NAME if there is a colon in it");
	if (stat(path, &st) < 0)
		return 0;
	if ((stat(a->image, &other) == 0 && st.st_dev == other.st_dev &&
	     st.st_ino == other.st_ino) ||
	    (back && stat(back, &other) == 0 && st.st_dev == other.st_dev &&
	     st.st_ino == other.st_ino))
		return err_set(err, -EINVAL, "the data file is the image or its "
			       "backing file; choose another name");
	return 0;
}

static int open_data_file(struct create_args *a, struct target *t,
			  struct err *err)
{
	int ret;

	a->opts.data_file = a->data_file;
	if (!a->data_file)
		return 0;
	ret = t->path ? check_data_path(a, t->path, err) :
			err_set(err, -ENOMEM, "no memory for a name");
	if (!ret)
		ret = open_target(t, a->force, HOSTFILE_BLKDEV_OK, err);
	if (ret)
		err_wrap(err, "data file '%s'", a->data_file);
	a->opts.data = t->f;
	return ret;
}

/* While the locks are held, so that it is nobody else's by now. */
static int close_target(struct target *t, int ret, struct err *err)
{
	if (ret && t->made)
		unlink(t->path);
	if (t->f)
		hostfile_close(t->f);
	return !ret && t->made ? sync_folder(t->path, err) : ret;
}

static int make(struct create_args *a, struct err *err)
{
	autofree char *path = a->data_file ?
				      cmd_beside(a->image, a->data_file) : NULL;
	struct target image = { .path = a->image }, data = { .path = path };
	struct progress p;
	int ret = open_target(&image, a->force, 0, err);

	if (!ret)
		ret = open_data_file(a, &data, err);
	if (!ret) {
		progress_begin(&p, a->progress && !a->quiet);
		a->opts.progress = progress_update;
		a->opts.progress_arg = &p;
		ret = create_image(image.f, &a->opts, err);
		progress_end(&p);
	}
	ret = close_target(&data, ret, err);
	return close_target(&image, ret, err);
}

static void print_summary(const struct create_args *a)
{
	const struct create_opts *o = &a->opts;
	char name[1024];

	printf("Formatting '%s', fmt=qcow2 cluster_size=%" PRIu64
	       " extended_l2=%s compression_type=%s size=%" PRIu64,
	       err_escape(name, sizeof(name), a->image, strlen(a->image)),
	       o->cluster_size ? o->cluster_size : 65536,
	       o->extended_l2 ? "on" : "off",
	       o->compression == QCOW2_COMPRESSION_ZSTD ? "zstd" : "zlib",
	       num_round_up(o->size, QCOW2_SECTOR));
	if (o->backing_file)
		printf(" backing_file=%s backing_fmt=%s",
		       err_escape(name, sizeof(name), o->backing_file,
				  strlen(o->backing_file)),
		       o->backing_format);
	if (o->data_file)
		printf(" data_file=%s data_file_raw=%s",
		       err_escape(name, sizeof(name), o->data_file,
				  strlen(o->data_file)),
		       o->data_file_raw ? "on" : "off");
	if (o->version == 2)
		printf(" compat=0.10");
	if (o->luks)
		printf(" encrypt.format=luks");
	printf(" lazy_refcounts=%s refcount_bits=%u\n",
	       o->lazy_refcounts ? "on" : "off",
	       o->refcount_bits ? o->refcount_bits : 16);
}

static int run(struct create_args *a, struct err *err)
{
	struct create_luks_opts luks;
	int ret = settle_backing(a, err);

	if (!ret)
		ret = get_key(a, &luks, err);
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
	struct create_args a = { .keys = KEYS_INIT };
	struct err err = { "" };
	int status;

	if (cmd_parse(&spec, &a, argc, argv, &status))
		status = run(&a, &err);
	keys_fini(&a.keys);
	for (int i = 0; i < 5; i++)
		free(a.luks_words[i]);
	free(a.backing_file);
	free(a.backing_format);
	free(a.data_file);
	return status;
}
