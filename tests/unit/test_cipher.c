/*
 * cipher and kdf: vectors of IEEE 1619 (XTS), RFC 6070 and RFC 7914 (PBKDF2),
 * RFC 2144 (CAST5); what no standard has a vector for was made with Python's
 * cryptography and hashlib.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "core/codec/cipher.h"
#include "core/codec/kdf.h"
#include "suite.h"

#define LEN CIPHER_SECTOR

static size_t unhex(uint8_t *out, const char *text)
{
	size_t n = 0;
	unsigned v;

	for (; *text && sscanf(text, "%2x", &v) == 1; text += 2)
		out[n++] = (uint8_t)v;
	return n;
}

static void hex_is(const uint8_t *p, size_t len, const char *text)
{
	char got[256];

	ck_assert_uint_le(len, 127);
	for (size_t i = 0; i < len; i++)
		sprintf(got + 2 * i, "%02x", p[i]);
	ck_assert_str_eq(got, text);
}

static void count_up(uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)i;
}

static struct cipher *make(const char *cipher, const char *mode,
			   const char *ivgen, const char *hash,
			   const uint8_t *key, size_t len)
{
	const struct cipher_spec s = { cipher, mode, ivgen, hash, len };
	struct err err = { "" };
	struct cipher *c = NULL;
	int r = cipher_new(&c, &s, key, &err);

	ck_assert_msg(r == 0, "%s-%s-%s: %s", cipher, mode, ivgen, err.text);
	return c;
}

#define XTS_128 "2718281828459045235360287471352631415926535897932384626433832795"
#define XTS_256                                                                \
	"2718281828459045235360287471352662497757247093699959574966967627"     \
	"3141592653589793238462643383279502884197169399375105820974944592"
#define COUNT_32 "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define COUNT_48 COUNT_32 "202122232425262728292a2b2c2d2e2f"

static const struct row {
	const char *cipher, *mode, *ivgen, *hash, *key;
	uint64_t sector;
	const char *first, *sha256;
} rows[] = {
	/* IEEE 1619, vectors 4 and 10 */
	{ "aes", "xts", "plain64", "", XTS_128, 0,
	  "27a7479befa1d476489f308cd4cfa6e2",
	  "ebee4d64dd2395bb2d6a2d37a0a48ecb2bf4913cfc99d27c2214f2f4144715ea" },
	{ "aes", "xts", "plain64", "", XTS_256, 255,
	  "1c3b3a102f770386e4836c99e370cf9b",
	  "e97e974fa393af794f7a4684395814cf820de60a01eaec677d87b452e316b364" },
	{ "aes", "xts", "plain64", "", COUNT_48, 0x123456789,
	  "9f9b105cb0ca00fb5fc26ecd01c3d303",
	  "d569fd7939e8ce21d9275eb639cae1a0f2750789376efe9d5f3b37d984deb2f8" },
	{ "aes", "cbc", "essiv", "sha256", COUNT_32, 0x123456789,
	  "787248bb2400bb779efc7e911681e4a5",
	  "a61625776a1d434bb2c9e3773e442cd6014be154059f56e26d71df47101dbe7c" },
	{ "aes", "cbc", "plain", "", COUNT_32, 0x123456789,
	  "5770b9406a54c04cacda9f2a1d245c92",
	  "378098799b60c08647b38abf0874fe877157c344c50539d4c71c78ee0cd15d7c" },
	{ "aes", "cbc", "plain64", "", COUNT_32, 0x123456789,
	  "907bb92151a3aa0c6a7669d2e35768f4",
	  "6ed9ccc865ce174eb8bf0bbbfd469bd79242e15f7776dd40f717544947144ff4" },
	{ "aes", "ctr", "plain64", "", COUNT_32, 0x123456789,
	  "cde7c1c8390bfeb55d4f9389027692b3",
	  "3142b9adacb74dd7711b6a7e485d547a136e4193a901c1f915fef77b75a7a4be" },
};

START_TEST(test_vectors)
{
	const struct row *t = &rows[_i];
	uint8_t in[LEN], out[LEN], key[64], sum[32];
	size_t n = unhex(key, t->key);
	struct cipher *c = make(t->cipher, t->mode, t->ivgen, t->hash, key, n);

	count_up(in, LEN);
	ck_assert_int_eq(cipher_encrypt(c, out, in, LEN, t->sector), 0);
	hex_is(out, 16, t->first);
	ck_assert_int_eq(kdf_hash("sha256", out, LEN, sum), 0);
	hex_is(sum, 32, t->sha256);
	ck_assert_int_eq(cipher_decrypt(c, out, out, LEN, t->sector), 0);
	ck_assert_mem_eq(in, out, LEN);
	cipher_free(c);
}
END_TEST

/* Many sectors at once are what each of them is alone. */
START_TEST(test_batches)
{
	static uint8_t in[21 * LEN], all[21 * LEN], one[LEN], key[64];

	count_up(in, sizeof(in));
	count_up(key, sizeof(key));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *t = &rows[i];
		struct cipher *c = make(t->cipher, t->mode, t->ivgen, t->hash,
					key, strlen(t->key) / 2);

		ck_assert_int_eq(cipher_encrypt(c, all, in, sizeof(in),
						0xfffffffeULL), 0);
		for (size_t s = 0; s < 21; s++) {
			ck_assert_int_eq(cipher_encrypt(c, one, in + s * LEN,
							LEN, 0xfffffffeULL + s),
					 0);
			ck_assert_mem_eq(one, all + s * LEN, LEN);
		}
		ck_assert_int_eq(cipher_decrypt(c, all, all, sizeof(all),
						0xfffffffeULL), 0);
		ck_assert_mem_eq(all, in, sizeof(in));
		cipher_free(c);
	}
}
END_TEST

START_TEST(test_cast5)
{
	uint8_t in[LEN], out[LEN], key[16];
	struct cipher_spec s = { "cast5", "ecb", "plain64", "", 16 };
	struct cipher *c;
	struct err err = { "" };

	unhex(key, "0123456712345678234567893456789a");
	for (size_t i = 0; i < LEN; i += 8)
		unhex(in + i, "0123456789abcdef");
	if (cipher_check(&s, &err) == -ENOTSUP)
		return; /* no legacy provider here */
	c = make("cast5", "ecb", "plain64", "", key, 16);
	ck_assert_int_eq(cipher_encrypt(c, out, in, LEN, 9), 0);
	hex_is(out, 16, "238b4fe5847e44b2238b4fe5847e44b2");
	cipher_free(c);
	c = make("cast5", "cbc", "plain64", "", key, 16);
	ck_assert_int_eq(cipher_encrypt(c, out, in, LEN, 0), 0);
	hex_is(out, 8, "238b4fe5847e44b2");
	ck_assert_int_eq(cipher_decrypt(c, out, out, LEN, 0), 0);
	ck_assert_mem_eq(in, out, LEN);
	cipher_free(c);
}
END_TEST

START_TEST(test_legacy)
{
	uint8_t in[LEN], out[LEN];
	struct err err = { "" };
	struct cipher *c;

	count_up(in, LEN);
	ck_assert_int_eq(cipher_aes_new(&c, "secret", 6, &err), 0);
	ck_assert_int_eq(cipher_encrypt(c, out, in, LEN, 77), 0);
	hex_is(out, 16, "5b5192d58287feeeda02b7bb8a2c1fef");
	cipher_free(c);
	/* only 16 bytes count */
	ck_assert_int_eq(cipher_aes_new(&c, "0123456789abcdefXX", 18, &err), 0);
	ck_assert_int_eq(cipher_encrypt(c, in, in, LEN, 1), 0);
	cipher_free(c);
	ck_assert_int_eq(cipher_aes_new(&c, "0123456789abcdefYYY", 19, &err),
			 0);
	ck_assert_int_eq(cipher_decrypt(c, in, in, LEN, 1), 0);
	cipher_free(c);
	count_up(out, LEN);
	ck_assert_mem_eq(in, out, LEN);
}
END_TEST

START_TEST(test_refused)
{
	static const struct {
		struct cipher_spec s;
		const char *text;
	} bad[] = {
		{ { "serpent", "xts", "plain64", "", 64 }, "serpent-xts" },
		{ { "twofish", "cbc", "plain64", "", 32 }, "twofish-cbc" },
		{ { "aes", "xts", "plain64", "", 33 }, "aes-xts" },
		{ { "aes", "cbc", "plain64", "", 20 }, "aes-cbc" },
		{ { "aes", "lrw", "plain64", "", 32 }, "mode 'lrw'" },
		{ { "aes", "cbc", "benbi", "", 32 }, "generator 'benbi'" },
		{ { "aes", "cbc", "essiv", "sha1", 32 }, "ESSIV hash 'sha1'" },
		{ { "aes", "cbc", "essiv", "tiger", 32 }, "ESSIV hash 'tiger'" },
		{ { "cast5", "xts", "plain64", "", 32 }, "cast5-xts" },
		{ { "../aes", "xts", "plain64", "", 64 }, "cipher" },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err err = { "" };

		ck_assert_int_eq(cipher_check(&bad[i].s, &err), -ENOTSUP);
		ck_assert_msg(strstr(err.text, bad[i].text), "%s", err.text);
		ck_assert_ptr_nonnull(strstr(err.text, "qemu-img convert"));
	}
}
END_TEST

START_TEST(test_pbkdf2)
{
	uint8_t out[64];

	ck_assert_int_eq(kdf_pbkdf2("sha1", "password", 8, "salt", 4, 4096, out,
				    20), 0);
	hex_is(out, 20, "4b007901b765489abead49d926f721d065a429c1");
	ck_assert_int_eq(kdf_pbkdf2("sha1", "pass\0word", 9, "sa\0lt", 5, 4096,
				    out, 16), 0);
	hex_is(out, 16, "56fa6aa75548099dcc37d7f03425e0c3");
	ck_assert_int_eq(kdf_pbkdf2("sha256", "passwd", 6, "salt", 4, 1, out,
				    64), 0);
	hex_is(out, 64,
	       "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
	       "49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783");
}
END_TEST

START_TEST(test_split)
{
	static const char *const hashes[] = { "sha1", "sha256", "sha512",
					      "sha224", "sha384", "md5",
					      "ripemd160" };
	uint8_t key[64], back[64], in[5 * 64];
	static uint8_t split[64 * 200];

	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * 7);
	ck_assert_int_eq(kdf_merge("sha1", in, 24, 5, back), 0);
	hex_is(back, 24, "a10767ab87e0c99c6bd775be957687d7829d952b34e30ac8");
	ck_assert_int_eq(kdf_merge("sha256", in, 64, 5, back), 0);
	hex_is(back, 16, "1d5c24e21a4b3d0f4cd2a45dc975dc80");
	count_up(key, sizeof(key));
	for (size_t i = 0; i < sizeof(hashes) / sizeof(hashes[0]); i++) {
		ck_assert_uint_ge(kdf_hash_len(hashes[i]), 16);
		ck_assert_int_eq(kdf_split(hashes[i], key, 64, 200, split), 0);
		ck_assert_int_eq(kdf_merge(hashes[i], split, 64, 200, back), 0);
		ck_assert_mem_eq(key, back, 64);
		split[1000] ^= 1;
		ck_assert_int_eq(kdf_merge(hashes[i], split, 64, 200, back), 0);
		ck_assert(memcmp(key, back, 64) != 0);
	}
	ck_assert_uint_eq(kdf_hash_len("tiger"), 0);
	ck_assert_int_eq(kdf_merge("tiger", split, 64, 200, back), -ENOTSUP);
}
END_TEST

static struct cipher *shared;

static void *worker(void *arg)
{
	uint8_t in[9 * LEN], out[9 * LEN];
	uint64_t s = (uintptr_t)arg;

	memset(in, (int)s, sizeof(in));
	for (int i = 0; i < 300; i++) {
		ck_assert_int_eq(cipher_encrypt(shared, out, in, sizeof(in), s),
				 0);
		ck_assert_int_eq(cipher_decrypt(shared, out, out, sizeof(out),
						s), 0);
		ck_assert_mem_eq(in, out, sizeof(in));
	}
	return NULL;
}

/* More threads than the pool has places. */
START_TEST(test_threads)
{
	pthread_t t[CIPHER_POOL + 4];
	uint8_t key[64];

	count_up(key, sizeof(key));
	shared = make("aes", "xts", "essiv", "sha256", key, 64);
	for (uintptr_t i = 0; i < CIPHER_POOL + 4; i++)
		ck_assert_int_eq(pthread_create(&t[i], NULL, worker, (void *)i),
				 0);
	for (size_t i = 0; i < CIPHER_POOL + 4; i++)
		pthread_join(t[i], NULL);
	cipher_free(shared);
	cipher_free(NULL);
}
END_TEST

START_TEST(test_iterations)
{
	uint32_t n = kdf_iterations("sha256", 32, 1);

	ck_assert_uint_ge(n, 1000);
	ck_assert_uint_ge(kdf_iterations("sha256", 32, 200), n);
}
END_TEST

SUITE_MAIN_LOOPS("cipher",
		 { test_vectors, sizeof(rows) / sizeof(rows[0]) },
		 { test_batches, 1 }, { test_cast5, 1 }, { test_legacy, 1 },
		 { test_refused, 1 }, { test_pbkdf2, 1 }, { test_split, 1 },
		 { test_threads, 1 }, { test_iterations, 1 })
