/*
 * createargs: the command line of "rawcow create". Options and keys are those
 * of qemu-img create, as far as they are supported.
 */
#pragma once

#include <stdbool.h>

#include "cli/args.h"
#include "core/admin/create.h"
#include "core/image/keys.h"

/* What encrypt.* says: copies, NULL where nothing was said. */
struct createargs_luks {
	char *cipher_alg, *cipher_mode, *ivgen_alg, *ivgen_hash_alg, *hash_alg;
	unsigned iter_ms; /* 0: not said */
};

struct createargs {
	const char *image, *size_word;
	char *backing_file, *backing_format, *data_file; /* owned */
	struct create_opts opts;
	struct createargs_luks luks;
	bool encrypt;
	struct keys keys;
	bool have_size; /* in opts.size */
	bool quiet, progress, unsafe, force;
};

#define CREATEARGS_INIT { .keys = KEYS_INIT }

/* For cmd_parse() into a struct createargs. */
extern const struct args_spec createargs_spec;

/* Was anything of encrypt.* said, or where the passphrase is? */
bool createargs_says_luks(const struct createargs *a);

void createargs_fini(struct createargs *a);
