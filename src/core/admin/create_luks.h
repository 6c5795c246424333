/*
 * create_luks: the encryption header of a new image, with one passphrase in
 * key slot 0. Makes bytes; create_tables.c writes them.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/format/lukshdr.h"
#include "core/image/secret.h"

/* What qemu-img's encrypt.* options say, in its words; NULL or 0 stands for
 * its default. */
struct create_luks_opts {
	const char *cipher_alg;	    /* "aes-256"; also -128, -192, cast5-128 */
	const char *cipher_mode;    /* "xts"; also cbc, ecb, ctr */
	const char *ivgen_alg;	    /* "plain64"; also plain, essiv */
	const char *ivgen_hash_alg; /* of essiv: "sha256" */
	const char *hash_alg;	    /* "sha256" */
	unsigned iter_ms;	    /* 2000: what opening costs, about */
	const struct secret *secret;
};

struct create_luks {
	uint8_t header[LUKSHDR_LEN];
	uint8_t *material; /* of slot 0; owned */
	size_t material_len;
	uint64_t material_at; /* in the area */
	uint64_t len;	      /* bytes of the area; what is not set is zero */
};

/* 0; -EINVAL: an option, or a passphrase that QEMU could not be given;
 * -ENOTSUP: a cipher that OpenSSL lacks; -EIO, -ENOMEM. */
int create_luks_make(struct create_luks *l, const struct create_luks_opts *o,
		     struct err *err);
void create_luks_fini(struct create_luks *l);
