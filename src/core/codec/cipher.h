/*
 * cipher: sectors of 512 bytes, encrypted and decrypted under one key. All of
 * OpenSSL that touches guest data is behind this header.
 *
 * A cipher is const after cipher_new() and used by any number of threads at
 * once. Key schedules are kept in a pool that belongs to the cipher: a thread
 * takes one out for a call, so there are as many as calls were ever running at
 * once, at most CIPHER_POOL of them, and all are wiped by cipher_free().
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { CIPHER_SECTOR = 512, CIPHER_POOL = 16 };

/* Names as in a LUKS header. */
struct cipher_spec {
	const char *cipher;	/* "aes", "cast5" */
	const char *mode;	/* "xts", "cbc", "ecb", "ctr" */
	const char *ivgen;	/* "plain", "plain64", "essiv" */
	const char *ivgen_hash; /* of "essiv": "sha256" */
	size_t key_len;		/* bytes; both keys of xts */
};

struct cipher;

/* 0, or -ENOTSUP with a text that names what is missing and what would help. */
int cipher_check(const struct cipher_spec *spec, struct err *err);

/* KEY is copied. 0, -ENOTSUP as cipher_check(), -ENOMEM, -EIO. */
int cipher_new(struct cipher **out, const struct cipher_spec *spec,
	       const void *key, struct err *err);

/* The AES-CBC of crypt_method 1: a key of 16 bytes, which are those of the
 * password, cut or filled up with zero. (cipher_aes.c) */
int cipher_aes_new(struct cipher **out, const void *pass, size_t pass_len,
		   struct err *err);

/* Wipe the key and all schedules; nobody uses it any more. NULL is allowed. */
void cipher_free(struct cipher *c);

/*
 * LEN bytes (whole sectors) from IN to OUT, which are the same or do not
 * overlap; SECTOR is the number of the first one. 0, -ENOMEM, -EIO.
 */
int cipher_encrypt(struct cipher *c, void *out, const void *in, size_t len,
		   uint64_t sector);
int cipher_decrypt(struct cipher *c, void *out, const void *in, size_t len,
		   uint64_t sector);
