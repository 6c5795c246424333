#include "core/codec/cipher.h"

#include <string.h>

#include "base/num.h"

#define KEY_LEN 16

int cipher_aes_new(struct cipher **out, const void *pass, size_t pass_len,
		   struct err *err)
{
	static const struct cipher_spec spec = {
		.cipher = "aes",
		.mode = "cbc",
		.ivgen = "plain64",
		.ivgen_hash = "",
		.key_len = KEY_LEN,
	};
	uint8_t key[KEY_LEN] = { 0 };
	int r;

	memcpy(key, pass, NUM_MIN(pass_len, sizeof(key)));
	r = cipher_new(out, &spec, key, err);
	explicit_bzero(key, sizeof(key));
	return r;
}
