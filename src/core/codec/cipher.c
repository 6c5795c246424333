/*
 * cipher: see cipher.h.
 *
 * Sectors are worked on in batches, because each call of OpenSSL costs as much
 * as some hundred bytes. XTS (IEEE 1619) is made from ECB here: two calls then
 * serve a whole batch, where OpenSSL's own XTS needs two for each sector, and
 * it works with every block cipher of 16 bytes and every key length.
 */
#include "core/codec/cipher.h"

#include <endian.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/secmem.h"
#include "core/codec/cipher_plan.h"
#include "core/codec/kdf.h"

#define BATCH 8U /* sectors */
#define XTS_WORDS (CIPHER_SECTOR / 8U)
#define XTS_REDUCE 0x87U

/* What a thread works with, keyed. */
struct work {
	EVP_CIPHER_CTX *enc, *dec;
	EVP_CIPHER_CTX *tweak; /* XTS: encrypts the initial values */
	EVP_CIPHER_CTX *essiv;
};

struct cipher {
	struct cipher_plan plan;
	uint8_t *key; /* secmem */
	size_t key_len;
	uint8_t *essiv_key; /* secmem */
	size_t essiv_len;
	_Atomic(struct work *) pool[CIPHER_POOL];
};

/* --- key schedules ----------------------------------------------------------- */

static void work_free(struct work *w)
{
	if (!w)
		return;
	/* wipes them, too */
	EVP_CIPHER_CTX_free(w->enc);
	EVP_CIPHER_CTX_free(w->dec);
	EVP_CIPHER_CTX_free(w->tweak);
	EVP_CIPHER_CTX_free(w->essiv);
	free(w);
}

static EVP_CIPHER_CTX *keyed(const EVP_CIPHER *type, const uint8_t *key,
			     int encrypt)
{
	static const uint8_t iv[CIPHER_IV_MAX];
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();

	if (ctx && EVP_CipherInit_ex2(ctx, type, key, iv, encrypt, NULL) == 1 &&
	    EVP_CIPHER_CTX_set_padding(ctx, 0) == 1)
		return ctx;
	EVP_CIPHER_CTX_free(ctx);
	return NULL;
}

static struct work *work_new(const struct cipher *c)
{
	struct work *w = mem_array(1, sizeof(*w));
	bool xts = c->plan.mode == CIPHER_MODE_XTS;

	if (!w)
		return NULL;
	w->enc = keyed(c->plan.data, c->key, 1);
	w->dec = keyed(c->plan.data, c->key, 0);
	if (xts)
		w->tweak = keyed(c->plan.data, c->key + c->key_len / 2, 1);
	if (c->plan.essiv)
		w->essiv = keyed(c->plan.essiv, c->essiv_key, 1);
	if (w->enc && w->dec && (!xts || w->tweak) &&
	    (!c->plan.essiv || w->essiv))
		return w;
	work_free(w);
	return NULL;
}

static struct work *work_get(struct cipher *c)
{
	for (unsigned i = 0; i < CIPHER_POOL; i++) {
		struct work *w = NULL;

		if (atomic_load_explicit(&c->pool[i], memory_order_relaxed))
			w = atomic_exchange(&c->pool[i], NULL);
		if (w)
			return w;
	}
	return work_new(c);
}

static void work_put(struct cipher *c, struct work *w)
{
	for (unsigned i = 0; i < CIPHER_POOL; i++) {
		struct work *none = NULL;

		if (atomic_compare_exchange_strong(&c->pool[i], &none, w))
			return;
	}
	work_free(w);
}

static int make_essiv_key(struct cipher *c, const struct cipher_spec *spec)
{
	c->essiv_len = kdf_hash_len(spec->ivgen_hash);
	c->essiv_key = secmem_new(c->essiv_len);
	return c->essiv_key ? kdf_hash(spec->ivgen_hash, c->key, c->key_len,
				       c->essiv_key)
			    : -ENOMEM;
}

int cipher_new(struct cipher **out, const struct cipher_spec *spec,
	       const void *key, struct err *err)
{
	struct cipher *c = mem_array(1, sizeof(*c));
	int r;

	if (!c)
		return err_set_sys(err, -ENOMEM, "cannot set up the cipher");
	r = cipher_plan_make(&c->plan, spec, err);
	if (r < 0) {
		free(c);
		return r;
	}
	c->key_len = spec->key_len;
	c->key = secmem_new(c->key_len);
	if (c->key)
		memcpy(c->key, key, c->key_len);
	r = c->key ? 0 : -ENOMEM;
	if (r == 0 && c->plan.essiv)
		r = make_essiv_key(c, spec);
	if (r == 0) {
		struct work *w = work_new(c); /* that it can be made */

		r = w ? 0 : -EIO;
		if (w)
			work_put(c, w);
	}
	if (r < 0) {
		cipher_free(c);
		return err_set_sys(err, r, "cannot set up the cipher");
	}
	secmem_keep(c->key, c->key_len);
	if (c->essiv_key)
		secmem_keep(c->essiv_key, c->essiv_len);
	*out = c;
	return 0;
}

void cipher_free(struct cipher *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < CIPHER_POOL; i++)
		work_free(atomic_load(&c->pool[i]));
	secmem_free(c->key, c->key_len);
	secmem_free(c->essiv_key, c->essiv_len);
	cipher_plan_fini(&c->plan);
	free(c);
}

/* --- initial values ---------------------------------------------------------- */

static int update(EVP_CIPHER_CTX *ctx, uint8_t *out, const uint8_t *in,
		  size_t len)
{
	int n;

	return EVP_CipherUpdate(ctx, out, &n, in, (int)len) == 1 &&
			       (size_t)n == len ?
		       0 :
		       -EIO;
}

/* Of N sectors, one behind the other, each of LEN bytes. */
static int make_ivs(const struct cipher *c, struct work *w, uint8_t *iv,
		    uint64_t sector, unsigned n)
{
	size_t len = c->plan.iv_len;

	memset(iv, 0, n * len);
	for (unsigned i = 0; i < n; i++) {
		uint64_t s = htole64(c->plan.ivgen == CIPHER_IVGEN_PLAIN ?
					     (uint32_t)(sector + i) :
					     sector + i);

		memcpy(iv + i * len, &s, sizeof(s));
	}
	return w->essiv ? update(w->essiv, iv, iv, n * len) : 0;
}

/* --- modes --------------------------------------------------------------------- */

/* The tweaks of a sector's blocks from its first one: each is the one before,
 * times x in GF(2^128). */
static void spread_tweak(uint64_t tweak[XTS_WORDS], const uint8_t *first)
{
	uint64_t lo, hi;

	memcpy(&lo, first, 8);
	memcpy(&hi, first + 8, 8);
	lo = le64toh(lo);
	hi = le64toh(hi);
	for (unsigned i = 0; i < XTS_WORDS; i += 2) {
		uint64_t carry = hi >> 63 ? XTS_REDUCE : 0;

		tweak[i] = htole64(lo);
		tweak[i + 1] = htole64(hi);
		hi = hi << 1 | lo >> 63;
		lo = lo << 1 ^ carry;
	}
}

static void xor_words(uint8_t *out, const uint8_t *in, const uint64_t *tweak,
		      size_t words)
{
	for (size_t i = 0; i < words; i++) {
		uint64_t v;

		memcpy(&v, in + i * 8, 8);
		v ^= tweak[i];
		memcpy(out + i * 8, &v, 8);
	}
}

static int batch_xts(struct work *w, EVP_CIPHER_CTX *ctx, uint8_t *out,
		     const uint8_t *in, uint8_t *iv, unsigned n)
{
	uint64_t tweak[BATCH * XTS_WORDS];
	int r = update(w->tweak, iv, iv, n * CIPHER_XTS_BLOCK);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < n; i++)
		spread_tweak(tweak + i * XTS_WORDS, iv + i * CIPHER_XTS_BLOCK);
	xor_words(out, in, tweak, n * XTS_WORDS);
	r = update(ctx, out, out, n * CIPHER_SECTOR);
	xor_words(out, out, tweak, n * XTS_WORDS);
	return r;
}

static int batch_iv(const struct cipher *c, EVP_CIPHER_CTX *ctx, uint8_t *out,
		    const uint8_t *in, const uint8_t *iv, unsigned n)
{
	int r = 0;

	for (unsigned i = 0; i < n && r == 0; i++) {
		size_t at = i * CIPHER_SECTOR;

		if (EVP_CipherInit_ex2(ctx, NULL, NULL, iv + i * c->plan.iv_len,
				       -1, NULL) != 1)
			return -EIO;
		r = update(ctx, out + at, in + at, CIPHER_SECTOR);
	}
	return r;
}

static int batch(struct cipher *c, struct work *w, EVP_CIPHER_CTX *ctx,
		 uint8_t *out, const uint8_t *in, uint64_t sector, unsigned n)
{
	uint8_t iv[BATCH * CIPHER_IV_MAX];
	int r;

	if (c->plan.mode == CIPHER_MODE_ECB)
		return update(ctx, out, in, n * CIPHER_SECTOR);
	r = make_ivs(c, w, iv, sector, n);
	if (r < 0)
		return r;
	return c->plan.mode == CIPHER_MODE_XTS ?
		       batch_xts(w, ctx, out, in, iv, n) :
		       batch_iv(c, ctx, out, in, iv, n);
}

static int transform(struct cipher *c, bool encrypt, uint8_t *out,
		     const uint8_t *in, size_t len, uint64_t sector)
{
	struct work *w = work_get(c);
	int r = w ? 0 : -ENOMEM;

	while (len && r == 0) {
		unsigned n = (unsigned)NUM_MIN(len / CIPHER_SECTOR, BATCH);

		r = batch(c, w, encrypt ? w->enc : w->dec, out, in, sector, n);
		out += n * CIPHER_SECTOR;
		in += n * CIPHER_SECTOR;
		len -= n * CIPHER_SECTOR;
		sector += n;
	}
	if (w)
		work_put(c, w);
	return r;
}

int cipher_encrypt(struct cipher *c, void *out, const void *in, size_t len,
		   uint64_t sector)
{
	return transform(c, true, out, in, len, sector);
}

int cipher_decrypt(struct cipher *c, void *out, const void *in, size_t len,
		   uint64_t sector)
{
	return transform(c, false, out, in, len, sector);
}
