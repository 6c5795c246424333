/* cipher_plan: see cipher_plan.h. */
#include "core/codec/cipher_plan.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/codec/kdf.h"

static int find(const char *const *words, const char *word)
{
	for (int i = 0; words[i]; i++)
		if (!strcmp(words[i], word))
			return i;
	return -1;
}

static int unsupported(struct err *err, const char *what, const char *name)
{
	return err_set(err, -ENOTSUP,
		       "the image is encrypted with the %s '%s', which rawcow cannot do; convert the image with 'qemu-img convert' to aes-256, xts, plain64",
		       what, name);
}

/* OpenSSL's name of NAME with keys of KEY_LEN bytes in MODE; "" if none. */
static void openssl_name(char out[32], const char *name, size_t key_len,
			 const char *mode)
{
	out[0] = '\0';
	if (!strcmp(name, "aes"))
		snprintf(out, 32, "AES-%u-%s", (unsigned)key_len * 8, mode);
	else if (!strcmp(name, "cast5") && key_len == 16)
		snprintf(out, 32, "CAST5-%s", mode);
}

static EVP_CIPHER *fetch(const char *name, size_t key_len, const char *mode)
{
	char text[32];

	openssl_name(text, name, key_len, mode);
	return text[0] ? ossl_cipher(text) : NULL;
}

static int plan_essiv(struct cipher_plan *p, const struct cipher_spec *s,
		      struct err *err)
{
	size_t len = kdf_hash_len(s->ivgen_hash);

	if (!len)
		return unsupported(err, "ESSIV hash", s->ivgen_hash);
	p->essiv = fetch(s->cipher, len, "ECB");
	if (!p->essiv)
		return unsupported(err, "combination of cipher and ESSIV hash",
				   s->ivgen_hash);
	return 0;
}

static int plan_data(struct cipher_plan *p, const struct cipher_spec *s,
		     struct err *err)
{
	static const char *const openssl[] = { "ECB", "CBC", "ECB", "CTR" };
	size_t len = s->key_len;
	char what[64];

	if (p->mode == CIPHER_MODE_XTS)
		len = len % 2 ? 0 : len / 2;
	p->data = fetch(s->cipher, len, openssl[p->mode]);
	if (!p->data ||
	    (p->mode == CIPHER_MODE_XTS &&
	     EVP_CIPHER_get_block_size(p->data) != CIPHER_XTS_BLOCK)) {
		snprintf(what, sizeof(what), "%.31s-%.8s", s->cipher, s->mode);
		return unsupported(err, "cipher", what);
	}
	p->iv_len = p->mode == CIPHER_MODE_CBC || p->mode == CIPHER_MODE_CTR ?
			    (size_t)EVP_CIPHER_get_iv_length(p->data) :
			    CIPHER_XTS_BLOCK;
	if (p->iv_len > CIPHER_IV_MAX || p->iv_len < 8)
		return unsupported(err, "cipher", s->cipher);
	return 0;
}

void cipher_plan_fini(struct cipher_plan *p)
{
	EVP_CIPHER_free(p->data);
	EVP_CIPHER_free(p->essiv);
}

int cipher_plan_make(struct cipher_plan *p, const struct cipher_spec *s,
		     struct err *err)
{
	static const char *const modes[] = { "xts", "cbc", "ecb", "ctr", NULL };
	static const char *const ivgens[] = { "plain", "plain64", "essiv",
					      NULL };
	int mode = find(modes, s->mode);
	int ivgen = find(ivgens, s->ivgen);
	int r;

	*p = (struct cipher_plan){ .data = NULL };
	if (mode < 0)
		return unsupported(err, "cipher mode", s->mode);
	p->mode = (enum cipher_mode)mode;
	/* ecb has no use for one */
	if (ivgen < 0 && p->mode != CIPHER_MODE_ECB)
		return unsupported(err, "IV generator", s->ivgen);
	p->ivgen = ivgen < 0 ? CIPHER_IVGEN_PLAIN : (enum cipher_ivgen)ivgen;
	r = plan_data(p, s, err);
	if (r == 0 && p->ivgen == CIPHER_IVGEN_ESSIV &&
	    p->mode != CIPHER_MODE_ECB)
		r = plan_essiv(p, s, err);
	if (r < 0)
		cipher_plan_fini(p);
	return r;
}

int cipher_check(const struct cipher_spec *spec, struct err *err)
{
	struct cipher_plan p;
	int r = cipher_plan_make(&p, spec, err);

	if (r == 0)
		cipher_plan_fini(&p);
	return r;
}
