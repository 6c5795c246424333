#include "core/admin/create_luks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/secmem.h"
#include "core/codec/cipher_luks.h"

#define ITER_MS_DEFAULT 2000

/* QEMU's names carry the key's length, LUKS's do not. */
static const struct alg {
	const char *name, *luks;
	uint32_t key_bytes;
} algs[] = {
	{ "aes-256", "aes", 32 },
	{ "aes-192", "aes", 24 },
	{ "aes-128", "aes", 16 },
	{ "cast5-128", "cast5", 16 },
};

static const char *or(const char *word, const char *by_default)
{
	return word ? word : by_default;
}

static int set_cipher(struct lukshdr *h, const struct create_luks_opts *o,
		      struct err *err)
{
	const char *name = or(o->cipher_alg, "aes-256");
	bool xts = !strcmp(or(o->cipher_mode, "xts"), "xts");

	for (size_t i = 0; i < sizeof(algs) / sizeof(algs[0]); i++) {
		if (strcmp(algs[i].name, name))
			continue;
		snprintf(h->cipher, sizeof(h->cipher), "%s", algs[i].luks);
		h->key_bytes = algs[i].key_bytes * (xts ? 2 : 1);
		return 0;
	}
	return err_set(err, -ENOTSUP,
		       "encrypt.cipher-alg: rawcow knows aes-128, aes-192, aes-256 and cast5-128, not '%.40s'",
		       name);
}

static int set_mode(struct lukshdr *h, const struct create_luks_opts *o,
		    struct err *err)
{
	const char *ivgen = or(o->ivgen_alg, "plain64");
	bool essiv = !strcmp(ivgen, "essiv");
	int n;

	if (o->ivgen_hash_alg && !essiv)
		return err_set(err, -EINVAL,
			       "encrypt.ivgen-hash-alg goes with encrypt.ivgen-alg=essiv only");
	n = snprintf(h->mode, sizeof(h->mode), "%s-%s%s%s",
		     or(o->cipher_mode, "xts"), ivgen, essiv ? ":" : "",
		     essiv ? or(o->ivgen_hash_alg, "sha256") : "");
	return n < (int)sizeof(h->mode) ?
		       0 :
		       err_set(err, -EINVAL, "encrypt.* names are too long");
}

static int set_names(struct lukshdr *h, const struct create_luks_opts *o,
		     struct err *err)
{
	int r = set_cipher(h, o, err);

	if (r == 0)
		r = set_mode(h, o, err);
	if (r < 0)
		return r;
	snprintf(h->hash, sizeof(h->hash), "%s", or(o->hash_alg, "sha256"));
	/* QEMU encrypts key material as whole sectors, and gives up here */
	if (lukshdr_material_len(h) % CIPHER_SECTOR)
		return err_set(err, -EINVAL,
			       "encrypt.cipher-alg=%s works with encrypt.cipher-mode=xts only",
			       o->cipher_alg);
	return cipher_luks_check(h, err);
}

static int fill(struct create_luks *l, struct lukshdr *h, uint8_t *key,
		const struct create_luks_opts *o, struct err *err)
{
	unsigned ms = o->iter_ms ? o->iter_ms : ITER_MS_DEFAULT;
	int r = cipher_luks_make(h, key, ms, &l->len, err);

	if (r < 0)
		return r;
	l->material_len = lukshdr_material_len(h);
	l->material_at = (uint64_t)h->slot[0].material_sector * CIPHER_SECTOR;
	l->material = mem_array(l->material_len, 1);
	if (!l->material)
		return err_set_sys(err, -ENOMEM, "cannot make keys");
	r = cipher_luks_fill(h, 0, secret_bytes(o->secret),
			     secret_len(o->secret), key, ms, l->material, err);
	h->slot[0].active = true;
	lukshdr_encode(h, l->header);
	return r;
}

int create_luks_make(struct create_luks *l, const struct create_luks_opts *o,
		     struct err *err)
{
	struct lukshdr h = { .cipher = "" };
	uint8_t *key;
	int r;

	memset(l, 0, sizeof(*l));
	if (!o->secret)
		return err_set(err, -EINVAL,
			       "encryption needs a passphrase: --key-file FILE");
	r = secret_check_text(o->secret, err);
	if (r == 0)
		r = set_names(&h, o, err);
	if (r < 0)
		return r;
	key = secmem_new(LUKSHDR_KEY_MAX);
	r = key ? fill(l, &h, key, o, err)
		: err_set_sys(err, -ENOMEM, "cannot make keys");
	secmem_free(key, LUKSHDR_KEY_MAX);
	if (r < 0)
		create_luks_fini(l);
	return r;
}

void create_luks_fini(struct create_luks *l)
{
	free(l->material);
	memset(l, 0, sizeof(*l));
}
