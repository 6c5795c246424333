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

#include "base/mem.h"
#include "base/num.h"
#include "cli/createargs.h"
#include "cli/newfile.h"
#include "cli/progress.h"
#include "core/format/qcow2.h"
#include "core/image/info.h"

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
static int look_at_backing(struct createargs *a, struct err *err)
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

static int settle_backing(struct createargs *a, struct err *err)
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

/* --- encryption ------------------------------------------------------------ */

/* The passphrase of a new image: from a file, or asked for twice. */
static int get_key(struct createargs *a, struct create_luks_opts *luks,
		   struct err *err)
{
	int ret = 0;

	if (!a->encrypt && createargs_says_luks(a))
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
		.cipher_alg = a->luks.cipher_alg,
		.cipher_mode = a->luks.cipher_mode,
		.ivgen_alg = a->luks.ivgen_alg,
		.ivgen_hash_alg = a->luks.ivgen_hash_alg,
		.hash_alg = a->luks.hash_alg,
		.iter_ms = a->luks.iter_ms,
		.secret = a->keys.key,
	};
	a->opts.luks = luks;
	if (ret == -ENOTTY)
		ret = err_set(err, ret, "encryption needs a passphrase; give "
			      "it with --key-file FILE");
	return ret;
}

/* --- the files ------------------------------------------------------------- */

/* The data file may be neither the image, which exists by now, nor the backing
 * file, which would be emptied. */
static int check_data_path(const struct createargs *a, const char *path,
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

static int open_data_file(struct createargs *a, struct newfile *t,
			  struct err *err)
{
	int ret;

	a->opts.data_file = a->data_file;
	if (!a->data_file)
		return 0;
	ret = t->path ? check_data_path(a, t->path, err) :
			err_set(err, -ENOMEM, "no memory for a name");
	if (!ret)
		ret = newfile_open(t, a->force, HOSTFILE_BLKDEV_OK, err);
	if (ret)
		err_wrap(err, "data file '%s'", a->data_file);
	a->opts.data = t->f;
	return ret;
}

static int make(struct createargs *a, struct err *err)
{
	autofree char *path = a->data_file ?
				      cmd_beside(a->image, a->data_file) : NULL;
	struct newfile image = { .path = a->image }, data = { .path = path };
	struct progress p;
	int ret = newfile_open(&image, a->force, 0, err);

	if (!ret)
		ret = open_data_file(a, &data, err);
	if (!ret) {
		progress_begin(&p, a->progress && !a->quiet);
		a->opts.progress = progress_update;
		a->opts.progress_arg = &p;
		ret = create_image(image.f, &a->opts, err);
		progress_end(&p);
	}
	ret = newfile_close(&data, ret, err);
	return newfile_close(&image, ret, err);
}

static void print_summary(const struct createargs *a)
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

static int run(struct createargs *a, struct err *err)
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
	return 0;
}

int cmd_create(int argc, char **argv)
{
	struct createargs a = CREATEARGS_INIT;
	struct err err = { "" };
	int status;

	if (cmd_parse(&createargs_spec, &a, argc, argv, &status))
		status = run(&a, &err);
	createargs_fini(&a);
	return status;
}
