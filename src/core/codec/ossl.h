/*
 * ossl: the algorithms of OpenSSL, under rawcow's own library context, so that
 * the old ones can be loaded beside the usual ones. For core/codec only.
 */
#pragma once

#include <openssl/evp.h>

/* By OpenSSL's name; NULL when there is none. The caller frees. Old ones come
 * from the legacy provider, where that is installed. */
EVP_CIPHER *ossl_cipher(const char *name);
EVP_MD *ossl_hash(const char *name);

/* LEN random bytes. 0 or -EIO. */
int ossl_random(void *out, size_t len);

/* PBKDF2 with HMAC of HASH. 0 or -EIO, -ENOMEM. */
int ossl_pbkdf2(const char *hash, const void *pass, size_t pass_len,
		const void *salt, size_t salt_len, uint32_t iterations,
		void *out, size_t out_len);
