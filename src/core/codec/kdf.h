/*
 * kdf: from passphrases to keys, as LUKS version 1 does it: PBKDF2, and the
 * anti-forensic split that spreads a key over many sectors (the LUKS on-disk
 * format, "Anti-forensic stripes"). Hashes by LUKS's names.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of HASH's result; 0: it is not known, or OpenSSL does not have it. */
size_t kdf_hash_len(const char *hash);

/* The hash of LEN bytes of IN to OUT (kdf_hash_len() bytes). 0 or -EIO,
 * -ENOTSUP. */
int kdf_hash(const char *hash, const void *in, size_t len, uint8_t *out);

/* LEN random bytes, good for keys. 0 or -EIO. */
int kdf_random(void *out, size_t len);

int kdf_pbkdf2(const char *hash, const void *pass, size_t pass_len,
	       const void *salt, size_t salt_len, uint32_t iterations,
	       void *out, size_t out_len);

/* How many rounds of kdf_pbkdf2() for OUT_LEN bytes take MS milliseconds here;
 * at least 1000. */
uint32_t kdf_iterations(const char *hash, size_t out_len, unsigned ms);

/*
 * KEY of LEN bytes to STRIPES * LEN bytes at OUT, of which all are needed to
 * get it back, and back. 0 or -EIO, -ENOTSUP.
 */
int kdf_split(const char *hash, const uint8_t *key, size_t len,
	      unsigned stripes, uint8_t *out);
int kdf_merge(const char *hash, const uint8_t *in, size_t len,
	      unsigned stripes, uint8_t *key);

/* Are they equal? The time it takes does not depend on them. */
bool kdf_equal(const void *a, const void *b, size_t len);
