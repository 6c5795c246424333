#include "core/codec/cipher_luks.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/secmem.h"
#include "core/codec/kdf.h"

/* Of the time that a slot takes, what the master key's digest takes. */
#define DIGEST_SHARE 8U

/* The parts of H that a cipher is made from; M keeps its words. */
static struct cipher_spec spec_of(const struct lukshdr *h,
				  struct lukshdr_mode *m)
{
	lukshdr_parse_mode(h->mode, m);
	return (struct cipher_spec){
		.cipher = h->cipher,
		.mode = m->mode,
		.ivgen = m->ivgen,
		.ivgen_hash = m->ivgen_hash,
		.key_len = h->key_bytes,
	};
}

int cipher_luks_check(const struct lukshdr *h, struct err *err)
{
	struct lukshdr_mode m;
	struct cipher_spec s = spec_of(h, &m);

	if (!kdf_hash_len(h->hash))
		return err_set(err, -ENOTSUP,
			       "the passphrases are hashed with '%s', which rawcow cannot do; convert the image with 'qemu-img convert' to sha256",
			       h->hash);
	return cipher_check(&s, err);
}

int cipher_luks_open(struct cipher **out, const struct lukshdr *h,
		     const uint8_t *key, struct err *err)
{
	struct lukshdr_mode m;
	struct cipher_spec s = spec_of(h, &m);

	return cipher_new(out, &s, key, err);
}

static size_t padded_len(const struct lukshdr *h)
{
	return (size_t)num_round_up(lukshdr_material_len(h), CIPHER_SECTOR);
}

/* The cipher of a slot's key material, keyed by the passphrase. */
static int slot_cipher(struct cipher **out, const struct lukshdr *h,
		       unsigned i, const void *pass, size_t pass_len,
		       struct err *err)
{
	const struct lukshdr_slot *s = &h->slot[i];
	uint8_t *key = secmem_new(h->key_bytes);
	int r;

	if (!key)
		return err_set_sys(err, -ENOMEM, "cannot unlock");
	r = kdf_pbkdf2(h->hash, pass, pass_len, s->salt, sizeof(s->salt),
		       s->iterations, key, h->key_bytes);
	if (r < 0)
		err_set_sys(err, r, "cannot derive a key from the passphrase");
	else
		r = cipher_luks_open(out, h, key, err);
	secmem_free(key, h->key_bytes);
	return r;
}

static int digest_of(const struct lukshdr *h, const uint8_t *key,
		     uint8_t out[LUKSHDR_DIGEST_LEN])
{
	return kdf_pbkdf2(h->hash, key, h->key_bytes, h->digest_salt,
			  sizeof(h->digest_salt), h->digest_iterations, out,
			  LUKSHDR_DIGEST_LEN);
}

/* Is it the master key? */
static int verify(const struct lukshdr *h, const uint8_t *key)
{
	uint8_t digest[LUKSHDR_DIGEST_LEN];
	int r = digest_of(h, key, digest);

	if (r < 0)
		return r;
	return kdf_equal(digest, h->digest, sizeof(digest)) ? 0
							     : -EKEYREJECTED;
}

int cipher_luks_unlock(const struct lukshdr *h, unsigned i, const void *pass,
		       size_t pass_len, uint8_t *material, uint8_t *key,
		       struct err *err)
{
	struct cipher *c;
	int r = slot_cipher(&c, h, i, pass, pass_len, err);

	if (r < 0)
		return r;
	r = cipher_decrypt(c, material, material, padded_len(h), 0);
	if (r == 0)
		r = kdf_merge(h->hash, material, h->key_bytes,
			      h->slot[i].stripes, key);
	if (r == 0)
		r = verify(h, key);
	if (r == -EKEYREJECTED)
		err_set(err, r, "the passphrase does not fit key slot %u", i);
	else if (r < 0)
		err_set_sys(err, r, "cannot unlock");
	if (r < 0)
		explicit_bzero(key, h->key_bytes);
	explicit_bzero(material, padded_len(h));
	cipher_free(c);
	return r;
}

static uint32_t rounds(const char *hash, size_t len, unsigned ms)
{
	return NUM_MIN(kdf_iterations(hash, len, ms), LUKSHDR_ITERATIONS_MAX);
}

int cipher_luks_fill(struct lukshdr *h, unsigned i, const void *pass,
		     size_t pass_len, const uint8_t *key, unsigned ms,
		     uint8_t *material, struct err *err)
{
	struct lukshdr_slot *s = &h->slot[i];
	struct cipher *c = NULL;
	int r = kdf_random(s->salt, sizeof(s->salt));

	s->iterations = rounds(h->hash, h->key_bytes, ms);
	memset(material, 0, padded_len(h));
	if (r == 0)
		r = kdf_split(h->hash, key, h->key_bytes, s->stripes, material);
	if (r < 0)
		return err_set_sys(err, r, "cannot make key material");
	r = slot_cipher(&c, h, i, pass, pass_len, err);
	if (r < 0)
		return r;
	r = cipher_encrypt(c, material, material, padded_len(h), 0);
	if (r < 0)
		err_set_sys(err, r, "cannot encrypt key material");
	cipher_free(c);
	return r;
}

/* A random one, version 4. */
static int make_uuid(char out[40])
{
	uint8_t b[16];
	int r = kdf_random(b, sizeof(b));
	size_t n = 0;

	b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
	for (unsigned i = 0; i < sizeof(b); i++)
		n += (size_t)snprintf(out + n, 40 - n, "%s%02x",
				      i == 4 || i == 6 || i == 8 || i == 10 ?
					      "-" :
					      "", b[i]);
	return r;
}

int cipher_luks_make(struct lukshdr *h, uint8_t *key, unsigned ms,
		     uint64_t *area_len, struct err *err)
{
	int r = cipher_luks_check(h, err);

	if (r < 0)
		return r;
	*area_len = lukshdr_lay_out(h);
	r = kdf_random(key, h->key_bytes);
	if (r == 0)
		r = kdf_random(h->digest_salt, sizeof(h->digest_salt));
	if (r == 0)
		r = make_uuid(h->uuid);
	h->digest_iterations = rounds(h->hash, LUKSHDR_DIGEST_LEN,
				      ms / DIGEST_SHARE);
	if (r == 0)
		r = digest_of(h, key, h->digest);
	return r < 0 ? err_set_sys(err, r, "cannot make keys") : 0;
}
