#include "core/codec/kdf.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>
#include <time.h>

#include "base/be.h"
#include "base/num.h"
#include "core/codec/ossl.h"

#define ITERATIONS_MIN 1000U
#define MEASURE_NS 5000000ULL

/* LUKS's name, OpenSSL's. */
static const struct name {
	const char *luks, *openssl;
} names[] = {
	{ "sha256", "SHA2-256" },	{ "sha512", "SHA2-512" },
	{ "sha1", "SHA1" },		{ "sha384", "SHA2-384" },
	{ "sha224", "SHA2-224" },	{ "md5", "MD5" },
	{ "ripemd160", "RIPEMD-160" },
};

static const char *openssl_name(const char *hash)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(names[i].luks, hash))
			return names[i].openssl;
	return NULL;
}

static EVP_MD *fetch(const char *hash)
{
	const char *name = openssl_name(hash);

	return name ? ossl_hash(name) : NULL;
}

size_t kdf_hash_len(const char *hash)
{
	EVP_MD *md = fetch(hash);
	int n = md ? EVP_MD_get_size(md) : 0;

	EVP_MD_free(md);
	return n > 0 ? (size_t)n : 0;
}

int kdf_hash(const char *hash, const void *in, size_t len, uint8_t *out)
{
	EVP_MD *md = fetch(hash);
	int r;

	if (!md)
		return -ENOTSUP;
	r = EVP_Digest(in, len, out, NULL, md, NULL) == 1 ? 0 : -EIO;
	EVP_MD_free(md);
	return r;
}

int kdf_random(void *out, size_t len)
{
	return ossl_random(out, len);
}

int kdf_pbkdf2(const char *hash, const void *pass, size_t pass_len,
	       const void *salt, size_t salt_len, uint32_t iterations,
	       void *out, size_t out_len)
{
	const char *name = openssl_name(hash);

	return name ? ossl_pbkdf2(name, pass, pass_len, salt, salt_len,
				  iterations, out, out_len)
		    : -ENOTSUP;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	/* of this thread: what else runs here shall not weaken the key */
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

uint32_t kdf_iterations(const char *hash, size_t out_len, unsigned ms)
{
	static const uint8_t salt[32];
	uint64_t n = ITERATIONS_MIN;
	uint8_t out[64];
	uint64_t ns = 0;

	while (ns < MEASURE_NS && n < UINT32_MAX / 4) {
		uint64_t begin = now_ns();

		n *= 2;
		if (kdf_pbkdf2(hash, "x", 1, salt, sizeof(salt), (uint32_t)n,
			       out, NUM_MIN(out_len, sizeof(out))) < 0)
			return ITERATIONS_MIN;
		ns = now_ns() - begin;
	}
	n = (uint64_t)((double)n * ms * 1e6 / (double)(ns ? ns : 1));
	return (uint32_t)NUM_MIN(NUM_MAX(n, (uint64_t)ITERATIONS_MIN),
				 (uint64_t)UINT32_MAX);
}

/* Hash each piece of BLOCK, with its number in front, into its place. */
static int diffuse(EVP_MD *md, EVP_MD_CTX *ctx, uint8_t *block, size_t len)
{
	size_t piece = (size_t)EVP_MD_get_size(md);
	uint8_t out[EVP_MAX_MD_SIZE];
	uint8_t number[4];

	for (uint32_t i = 0; len; i++) {
		size_t n = NUM_MIN(piece, len);

		be32_store(number, i);
		if (EVP_DigestInit_ex2(ctx, md, NULL) != 1 ||
		    EVP_DigestUpdate(ctx, number, sizeof(number)) != 1 ||
		    EVP_DigestUpdate(ctx, block, n) != 1 ||
		    EVP_DigestFinal_ex(ctx, out, NULL) != 1)
			return -EIO;
		memcpy(block, out, n);
		block += n;
		len -= n;
	}
	OPENSSL_cleanse(out, sizeof(out));
	return 0;
}

static void xor_into(uint8_t *a, const uint8_t *b, size_t len)
{
	for (size_t i = 0; i < len; i++)
		a[i] ^= b[i];
}

/* What the stripes but the last one come to. */
static int fold(const char *hash, const uint8_t *in, size_t len,
		unsigned stripes, uint8_t *acc)
{
	EVP_MD *md = fetch(hash);
	EVP_MD_CTX *ctx = md ? EVP_MD_CTX_new() : NULL;
	int r = md ? (ctx ? 0 : -ENOMEM) : -ENOTSUP;

	memset(acc, 0, len);
	for (unsigned i = 0; i + 1 < stripes && r == 0; i++) {
		xor_into(acc, in + i * len, len);
		r = diffuse(md, ctx, acc, len);
	}
	EVP_MD_CTX_free(ctx);
	EVP_MD_free(md);
	return r;
}

int kdf_split(const char *hash, const uint8_t *key, size_t len,
	      unsigned stripes, uint8_t *out)
{
	uint8_t *last = out + (stripes - 1) * len;
	int r = kdf_random(out, (stripes - 1) * len);

	if (r == 0)
		r = fold(hash, out, len, stripes, last);
	if (r == 0)
		xor_into(last, key, len);
	return r;
}

int kdf_merge(const char *hash, const uint8_t *in, size_t len,
	      unsigned stripes, uint8_t *key)
{
	int r = fold(hash, in, len, stripes, key);

	if (r == 0)
		xor_into(key, in + (stripes - 1) * len, len);
	return r;
}

bool kdf_equal(const void *a, const void *b, size_t len)
{
	return CRYPTO_memcmp(a, b, len) == 0;
}
