#include "core/codec/ossl.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <pthread.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_once_t legacy_once = PTHREAD_ONCE_INIT;
static OSSL_LIB_CTX *lib;

static void init(void)
{
	lib = OSSL_LIB_CTX_new();
	/* named, or loading the legacy one would stand in its place */
	if (lib && !OSSL_PROVIDER_load(lib, "default"))
		ERR_clear_error();
}

static OSSL_LIB_CTX *context(void)
{
	pthread_once(&once, init);
	return lib;
}

static void load_legacy(void)
{
	if (!OSSL_PROVIDER_load(lib, "legacy"))
		ERR_clear_error();
}

EVP_CIPHER *ossl_cipher(const char *name)
{
	EVP_CIPHER *c = EVP_CIPHER_fetch(context(), name, NULL);

	if (c)
		return c;
	pthread_once(&legacy_once, load_legacy);
	c = EVP_CIPHER_fetch(context(), name, NULL);
	ERR_clear_error();
	return c;
}

EVP_MD *ossl_hash(const char *name)
{
	EVP_MD *m = EVP_MD_fetch(context(), name, NULL);

	if (m)
		return m;
	pthread_once(&legacy_once, load_legacy);
	m = EVP_MD_fetch(context(), name, NULL);
	ERR_clear_error();
	return m;
}

int ossl_random(void *out, size_t len)
{
	return RAND_priv_bytes_ex(context(), out, len, 0) == 1 ? 0 : -EIO;
}

/* OpenSSL's parameters are not const, though it only reads them. */
static void *unconst(const void *p)
{
	return (void *)(uintptr_t)p;
}

int ossl_pbkdf2(const char *hash, const void *pass, size_t pass_len,
		const void *salt, size_t salt_len, uint32_t iterations,
		void *out, size_t out_len)
{
	int unchecked = 1; /* old headers have few rounds and short keys */
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
						 unconst(hash), 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PASSWORD,
						  unconst(pass), pass_len),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT,
						  unconst(salt), salt_len),
		OSSL_PARAM_construct_uint(OSSL_KDF_PARAM_ITER, &iterations),
		OSSL_PARAM_construct_int(OSSL_KDF_PARAM_PKCS5, &unchecked),
		OSSL_PARAM_construct_end(),
	};
	EVP_KDF *kdf = EVP_KDF_fetch(context(), "PBKDF2", NULL);
	EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	int r = -ENOMEM;

	if (ctx)
		r = EVP_KDF_derive(ctx, out, out_len, params) == 1 ? 0 : -EIO;
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	if (r < 0)
		ERR_clear_error();
	return r;
}
