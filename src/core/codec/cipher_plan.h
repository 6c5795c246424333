/*
 * cipher_plan: what a cipher's specification comes to: is there such a cipher,
 * and by which of OpenSSL's is it done? For cipher.c, which has no name of a
 * cipher in it.
 */
#pragma once

#include "core/codec/cipher.h"
#include "core/codec/ossl.h"

#define CIPHER_IV_MAX 16U
#define CIPHER_XTS_BLOCK 16U

enum cipher_mode {
	CIPHER_MODE_XTS,
	CIPHER_MODE_CBC,
	CIPHER_MODE_ECB,
	CIPHER_MODE_CTR,
};

enum cipher_ivgen {
	CIPHER_IVGEN_PLAIN,
	CIPHER_IVGEN_PLAIN64,
	CIPHER_IVGEN_ESSIV,
};

struct cipher_plan {
	enum cipher_mode mode;
	enum cipher_ivgen ivgen;
	EVP_CIPHER *data;  /* of the data, and of XTS's second key */
	EVP_CIPHER *essiv; /* NULL: none */
	size_t iv_len;
};

/* -ENOTSUP with a text that names what is missing and what would help; then
 * there is nothing to free. */
int cipher_plan_make(struct cipher_plan *p, const struct cipher_spec *s,
		     struct err *err);
void cipher_plan_fini(struct cipher_plan *p);
