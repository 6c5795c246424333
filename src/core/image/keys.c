#include "core/image/keys.h"

#include <errno.h>
#include <stddef.h>

#include "base/log.h"
#include "base/secmem.h"

/* Is anything of the chain encrypted? An image that cannot be opened is for
 * others to complain about. */
static bool is_encrypted(const char *path, const struct image_opts *opts)
{
	struct image_opts o = *opts;
	struct image *img;
	bool yes;

	o.readonly = true;
	o.no_key = true;
	o.no_lock = true;
	o.force_share = false;
	o.snapshot = NULL;
	if (image_open(&img, path, &o, NULL) < 0)
		return false;
	yes = image_encrypted(img);
	(void)image_close(img);
	return yes;
}

static int load_main(struct keys *k, const char *path,
		     const struct image_opts *opts, struct err *err)
{
	int r;

	if (k->file && k->fd >= 0)
		return err_set(err, -EINVAL,
			       "key_file and key_fd exclude each other");
	if (k->file)
		return secret_from_file(&k->key, k->file, err);
	if (k->fd >= 0) {
		r = secret_from_fd(&k->key, k->fd, err);
		k->fd = -1;
		return r;
	}
	r = secret_from_credential(&k->key, err);
	if (r < 0 || k->key || !secret_can_prompt() ||
	    !is_encrypted(path, opts))
		return r;
	return secret_prompt(&k->key, "Passphrase of the image", false, err);
}

int keys_load(struct keys *k, const char *path, struct image_opts *opts,
	      struct err *err)
{
	bool asked = k->file || k->fd >= 0;
	int r = load_main(k, path, opts, err);

	if (r == 0 && k->strip && asked)
		r = secret_strip(k->key, err);
	if (r == 0 && k->backing_file)
		r = secret_from_file(&k->backing, k->backing_file, err);
	if (r == 0 && k->backing && k->strip)
		r = secret_strip(k->backing, err);
	if (r < 0)
		return r;
	if (k->key && secmem_unlocked())
		log_line(LOG_LEVEL_WARN,
			 "keys could not be locked in memory (ulimit -l) and may reach swap");
	if (opts) {
		opts->key = k->key;
		opts->backing_key = k->backing;
	}
	return 0;
}

void keys_keep(struct keys *k)
{
	secret_keep(k->key);
	secret_keep(k->backing);
}

void keys_fini(struct keys *k)
{
	secret_free(k->key);
	secret_free(k->backing);
	k->key = k->backing = NULL;
}
