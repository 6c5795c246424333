/*
 * cmd_amend: rawcow amend. Options as qemu-img's.
 */
#include "cli/cmd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "cli/mounted.h"
#include "cli/progress.h"
#include "core/admin/amend.h"
#include "core/admin/keyslots.h"
#include "core/admin/repair.h"
#include "core/image/keys.h"

struct amend_args {
	const char *image;
	enum image_backing backing;
	struct amend_opts opts;
	bool progress, quiet, any;
	/* key slots */
	enum { STATE_NONE, STATE_ACTIVE, STATE_INACTIVE } state;
	int slot;
	unsigned iter_ms;
	struct keys keys;
	const char *new_key_file;
};

static int take_compat(void *into, const char *name, const char *value,
		       struct err *err)
{
	static const char *const words[] = { "0.10", "1.1", "v2", "v3", NULL };
	struct amend_args *a = into;
	int i = args_word(name, value, words, err);

	if (i < 0)
		return i;
	a->opts.version = 2 + (unsigned)i % 2;
	a->any = true;
	return 0;
}

static int take_refcount_bits(void *into, const char *name, const char *value,
			      struct err *err)
{
	struct amend_args *a = into;
	uint64_t v;
	int r = args_size(&v, name, value, err);

	if (r < 0)
		return r;
	if (!num_is_pow2(v) || v > 64)
		return err_set(err, -EINVAL, "refcount_bits %" PRIu64
			       " is not a power of two from 1 to 64", v);
	a->opts.refcount_bits = (unsigned)v;
	a->any = true;
	return 0;
}

static int take_lazy(void *into, const char *name, const char *value,
		     struct err *err)
{
	struct amend_args *a = into;
	bool on;
	int r = args_on_off(&on, name, value, err);

	if (r < 0)
		return r;
	a->opts.lazy_refcounts = on ? AMEND_ON : AMEND_OFF;
	a->any = true;
	return 0;
}

static int take_state(void *into, const char *name, const char *value,
		      struct err *err)
{
	static const char *const words[] = { "active", "inactive", NULL };
	struct amend_args *a = into;
	int i = args_word(name, value, words, err);

	if (i < 0)
		return i;
	a->state = i ? STATE_INACTIVE : STATE_ACTIVE;
	a->any = true;
	return 0;
}

static int take_slot(void *into, const char *name, const char *value,
		     struct err *err)
{
	struct amend_args *a = into;

	if (*value < '0' || *value > '7' || value[1])
		return err_set(err, -EINVAL, "%s: allowed is 0 to 7", name);
	a->slot = *value - '0';
	return 0;
}

static int take_iter_time(void *into, const char *name, const char *value,
			  struct err *err)
{
	struct amend_args *a = into;
	uint64_t v;
	int r = args_size(&v, name, value, err);

	if (r == 0 && (!v || v > 60000))
		r = err_set(err, -EINVAL,
			    "%s: allowed is 1 to 60000 milliseconds", name);
	if (r == 0)
		a->iter_ms = (unsigned)v;
	return r;
}

static int take_secret(void *into, const char *name, const char *value,
		       struct err *err)
{
	(void)into;
	(void)value;
	return err_set(err, -EINVAL,
		       "%s: give passphrases with --key-file and --new-key-file",
		       name);
}

static int take_fixed(void *into, const char *name, const char *value,
		      struct err *err)
{
	(void)into;
	(void)value;
	return err_set(err, -ENOTSUP,
		       "%s of an image cannot be changed; 'qemu-img convert' can make another image with it",
		       name);
}

static int take_elsewhere(void *into, const char *name, const char *value,
			  struct err *err)
{
	(void)into;
	(void)value;
	return err_set(err, -EINVAL, "%s is changed by 'rawcow %s'", name,
		       *name == 's' ? "resize" : "rebase -u");
}

/* Only who becomes version 2 reads data, and what is behind. */
static int check_unused(const struct amend_args *a, struct err *err)
{
	bool reads = a->opts.version == 2;
	bool key = a->keys.file || a->keys.fd >= 0 || a->keys.strip;

	if (a->backing && !reads)
		return err_set(err, -EINVAL, "backing goes with compat=0.10");
	if (key && !a->state && !reads)
		return err_set(err, -EINVAL, "--key-file and its like go with "
			       "encrypt.state or compat=0.10");
	return 0;
}

static int check_args(void *into, struct err *err)
{
	const struct amend_args *a = into;
	bool add = a->state == STATE_ACTIVE;

	if ((a->slot >= 0 || a->iter_ms) && !a->state)
		return err_set(err, -EINVAL, "encrypt.state is missing");
	if (a->new_key_file && !add)
		return err_set(err, -EINVAL,
			       "--new-key-file goes with -o encrypt.state=active");
	if (a->iter_ms && !add)
		return err_set(err, -EINVAL,
			       "encrypt.iter-time goes with encrypt.state=active");
	if (a->state && (a->opts.version || a->opts.refcount_bits ||
			 a->opts.lazy_refcounts))
		return err_set(err, -EINVAL,
			       "encrypt.state is changed alone; use two commands");
	if (!a->any)
		return err_set(err, -EINVAL,
			       "-o is missing: say what to change; see rawcow amend -h");
	return check_unused(a, err);
}

#define AT(f) offsetof(struct amend_args, f)
#define FIXED(name) { 0, name, NULL, take_fixed, 0, NULL }

static const struct args_opt keys[] = {
	{ 0, "compat", "0.10|1.1|v2|v3", take_compat, 0, NULL },
	{ 0, "refcount_bits", "1..64", take_refcount_bits, 0, NULL },
	{ 0, "lazy_refcounts", "on|off", take_lazy, 0, NULL },
	{ 0, "backing", "dir|none|any", args_backing, AT(backing), NULL },
	{ 0, "encrypt.state", "active|inactive", take_state, 0, NULL },
	{ 0, "encrypt.keyslot", "0..7", take_slot, 0, NULL },
	{ 0, "encrypt.iter_time", "MS", take_iter_time, 0, NULL },
	{ 0, "encrypt.new_secret", NULL, take_secret, 0, NULL },
	{ 0, "encrypt.old_secret", NULL, take_secret, 0, NULL },
	{ 0, "size", NULL, take_elsewhere, 0, NULL },
	{ 0, "backing_file", NULL, take_elsewhere, 0, NULL },
	{ 0, "backing_fmt", NULL, take_elsewhere, 0, NULL },
	FIXED("cluster_size"),
	FIXED("preallocation"),
	FIXED("compression_type"),
	FIXED("extended_l2"),
	FIXED("data_file"),
	FIXED("data_file_raw"),
	ARGS_END
};

static const struct args_opt options[] = {
	ARGS_KEYS,
	ARGS_KEY_SOURCES(AT(keys)),
	{ 0, "new-key-file", "FILE", args_text, AT(new_key_file),
	  "with encrypt.state=active: open it with this, too" },
	ARGS_PROGRESS(AT(progress)),
	ARGS_QUIET(AT(quiet)),
	ARGS_FORMAT,
	ARGS_END
};

static const struct args_spec spec = {
	.usage = "amend -o KEY=VALUE,... IMAGE",
	.what = "Change the version of IMAGE, the width of its refcounts, or "
		"whether QEMU may\ndefer them. Disk and snapshots stay; IMAGE "
		"must not be in use.",
	.opts = options,
	.keys = keys,
	.min_words = 1,
	.max_words = 1,
	.wants = "one image",
	.words = { AT(image) },
	.check = check_args,
};

static int add_key(struct image *img, const struct amend_args *a,
		   struct err *err)
{
	struct secret *fresh = NULL;
	unsigned slot;
	int r;

	if (!a->keys.key)
		return err_set(err, -ENOKEY,
			       "the passphrase of the image is missing: --key-file FILE");
	if (a->new_key_file)
		r = secret_from_file(&fresh, a->new_key_file, err);
	else
		r = secret_prompt(&fresh, "New passphrase", true, err);
	if (r == 0 && a->new_key_file && a->keys.strip)
		r = secret_strip(fresh, err);
	if (r == 0)
		r = keyslots_add(img, a->keys.key, fresh, a->slot, a->iter_ms,
				 &slot, err);
	secret_free(fresh);
	if (r == 0 && !a->quiet)
		printf("The new passphrase is in key slot %u.\n", slot);
	return r;
}

static int change_keys(struct image *img, const struct amend_args *a,
		       struct err *err)
{
	if (a->state == STATE_ACTIVE)
		return add_key(img, a, err);
	if (a->slot < 0 && !a->keys.key)
		return err_set(err, -EINVAL,
			       "which passphrase? Name it with --key-file, or its slot with encrypt.keyslot");
	return keyslots_erase(img, a->keys.key, a->slot, err);
}

/* A slot that is named is erased without its passphrase. */
static int get_key(struct amend_args *a, struct image_opts *opts,
		   struct err *err)
{
	bool by_slot = a->state == STATE_INACTIVE && a->slot >= 0;

	if (by_slot && (a->keys.file || a->keys.fd >= 0))
		return err_set(err, -EINVAL,
			       "encrypt.keyslot and a passphrase exclude each other here");
	return by_slot ? 0 : keys_load(&a->keys, a->image, opts, err);
}

static int amend(struct image *img, struct amend_args *a, struct err *err)
{
	struct progress p;
	int closed, r;

	if (image_readonly_reason(img)) {
		r = err_set(err, -EROFS, "the image is not changed: %s",
			    image_readonly_reason(img));
	} else {
		progress_begin(&p, a->progress && !a->quiet);
		a->opts.progress = progress_update;
		a->opts.progress_arg = &p;
		r = a->state ? change_keys(img, a, err) :
			       amend_image(img, &a->opts, err);
		progress_end(&p);
	}
	closed = image_close(img);
	if (r == 0 && closed < 0)
		r = err_set_sys(err, closed, "cannot write to the image");
	return r;
}

int cmd_amend(int argc, char **argv)
{
	struct amend_args a = { .slot = KEYSLOTS_ANY, .keys = KEYS_INIT };
	struct image_opts opts = { .recover = repair_recover };
	struct image *img;
	struct err err = { "" };
	int status;
	int r = 0;

	if (!cmd_parse(&spec, &a, argc, argv, &status))
		return status;
	opts.backing = a.backing;
	/* only zero clusters that go away depend on what is behind */
	opts.no_backing = a.opts.version != 2;
	opts.no_key = opts.no_backing;
	if (a.state || !opts.no_key)
		r = get_key(&a, &opts, &err);
	if (r == 0)
		r = image_open(&img, a.image, &opts, &err);
	if (r < 0)
		status = mounted_fail(a.image, &err);
	else if (amend(img, &a, &err) < 0)
		status = cmd_fail(a.image, &err);
	else
		status = 0;
	keys_fini(&a.keys);
	return status;
}
