#include "cli/createargs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

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
	struct createargs *a = into;

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

#define AT(f) offsetof(struct createargs, f)

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
	{ 0, "encrypt.cipher_alg", "ALG", args_string, AT(luks.cipher_alg),
	  NULL },
	{ 0, "encrypt.cipher_mode", "MODE", args_string, AT(luks.cipher_mode),
	  NULL },
	{ 0, "encrypt.ivgen_alg", "ALG", args_string, AT(luks.ivgen_alg), NULL },
	{ 0, "encrypt.ivgen_hash_alg", "HASH", args_string, AT(luks.ivgen_hash_alg),
	  NULL },
	{ 0, "encrypt.hash_alg", "HASH", args_string, AT(luks.hash_alg), NULL },
	{ 0, "encrypt.iter_time", "MS", take_iter_time, AT(luks.iter_ms), NULL },
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
	struct createargs *a = into;

	return a->size_word ? take_size(a, "size", a->size_word, err) : 0;
}

const struct args_spec createargs_spec = {
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

bool createargs_says_luks(const struct createargs *a)
{
	const struct createargs_luks *l = &a->luks;

	return l->cipher_alg || l->cipher_mode || l->ivgen_alg ||
	       l->ivgen_hash_alg || l->hash_alg || l->iter_ms ||
	       a->keys.file || a->keys.fd >= 0;
}

void createargs_fini(struct createargs *a)
{
	keys_fini(&a->keys);
	free(a->luks.cipher_alg);
	free(a->luks.cipher_mode);
	free(a->luks.ivgen_alg);
	free(a->luks.ivgen_hash_alg);
	free(a->luks.hash_alg);
	free(a->backing_file);
	free(a->backing_format);
	free(a->data_file);
}
