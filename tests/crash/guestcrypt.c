#include "guestcrypt.h"

#include <endian.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR 512
#define KEY 32 /* bytes of the master key: both keys of XTS */
#define STRIPES 4000
#define MATERIAL (KEY * STRIPES)
#define SLOTS_AT 208

static const uint8_t master[KEY] = "the two keys of XTS must differ";

static void must(int ok)
{
	if (ok != 1)
		abort();
}

static EVP_CIPHER_CTX *new_context(const EVP_CIPHER *kind, const uint8_t *key,
				   int encrypt)
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();

	if (!c)
		abort();
	must(EVP_CipherInit_ex(c, kind, NULL, key, NULL, encrypt));
	must(EVP_CIPHER_CTX_set_padding(c, 0));
	return c;
}

/* Sector NUMBER; the number is the IV, the smallest byte first. */
static void do_sector(EVP_CIPHER_CTX *c, uint8_t *out, const uint8_t *in,
		      uint64_t number)
{
	uint64_t iv[2] = { htole64(number), 0 };
	int n;

	must(EVP_CipherInit_ex(c, NULL, NULL, NULL, (const uint8_t *)iv, -1));
	must(EVP_CipherUpdate(c, out, &n, in, SECTOR));
	if (n != SECTOR)
		abort();
}

static void crypt_sector(enum guestcrypt how, int encrypt, uint8_t *out,
			 const uint8_t *in, uint64_t hoff, uint64_t goff)
{
	static const uint8_t pass[16] = GUESTCRYPT_PASS;
	static EVP_CIPHER_CTX *context[2][2];
	EVP_CIPHER_CTX **c = &context[how == GUESTCRYPT_LUKS][encrypt];

	if (!*c && how == GUESTCRYPT_LUKS)
		*c = new_context(EVP_aes_128_xts(), master, encrypt);
	else if (!*c)
		*c = new_context(EVP_aes_128_cbc(), pass, encrypt);
	do_sector(*c, out, in,
		  (how == GUESTCRYPT_LUKS ? hoff : goff) / SECTOR);
}

void guestcrypt_encrypt(enum guestcrypt how, uint8_t out[512],
			const uint8_t in[512], uint64_t hoff, uint64_t goff)
{
	crypt_sector(how, 1, out, in, hoff, goff);
}

void guestcrypt_decrypt(enum guestcrypt how, uint8_t out[512],
			const uint8_t in[512], uint64_t hoff, uint64_t goff)
{
	crypt_sector(how, 0, out, in, hoff, goff);
}

/* --- the LUKS header ------------------------------------------------------ */

static void put32(uint8_t *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, 4);
}

static void derive(const void *secret, size_t len, const uint8_t salt[32],
		   uint8_t *out, size_t n)
{
	must(PKCS5_PBKDF2_HMAC(secret, (int)len, salt, 32, 1, EVP_sha256(),
			       (int)n, out));
}

/* The master key in stripes: all but the last are zero, before they are
 * encrypted, and so is what the hash of each begins with, its number. */
static void split_master(uint8_t *material)
{
	uint8_t hash[4 + KEY] = { 0 };
	uint8_t *last = material + (STRIPES - 1) * KEY;

	for (unsigned i = 0; i + 1 < STRIPES; i++)
		must(EVP_Digest(hash, sizeof(hash), hash + 4, NULL,
				EVP_sha256(), NULL));
	for (unsigned i = 0; i < KEY; i++)
		last[i] = hash[4 + i] ^ master[i];
}

static void fill_slot(uint8_t *material, const uint8_t salt[32])
{
	uint8_t key[KEY];
	EVP_CIPHER_CTX *c;

	derive(GUESTCRYPT_PASS, strlen(GUESTCRYPT_PASS), salt, key, KEY);
	split_master(material);
	c = new_context(EVP_aes_128_xts(), key, 1);
	for (unsigned i = 0; i < MATERIAL / SECTOR; i++)
		do_sector(c, material + i * SECTOR, material + i * SECTOR, i);
	EVP_CIPHER_CTX_free(c);
}

void guestcrypt_luks_area(uint8_t *area)
{
	static const uint8_t magic[8] = { 'L', 'U', 'K', 'S', 0xba, 0xbe, 0, 1 };

	memcpy(area, magic, sizeof(magic));
	memcpy(area + 8, "aes", 3);
	memcpy(area + 40, "xts-plain64", 11);
	memcpy(area + 72, "sha256", 6);
	put32(area + 104, GUESTCRYPT_AREA / SECTOR); /* where payload begins */
	put32(area + 108, KEY);
	memset(area + 132, 'd', 32); /* salt */
	derive(master, KEY, area + 132, area + 112, 20);
	put32(area + 164, 1);
	memcpy(area + 168, "00000000-0000-4000-8000-000000000000", 36);
	for (unsigned i = 0; i < 8; i++) {
		uint8_t *slot = area + SLOTS_AT + i * 48;

		put32(slot, i ? 0x0000dead : 0x00ac71f3);
		put32(slot + 4, i ? 0 : 1);
		memset(slot + 8, i ? 0 : 's', 32);
		put32(slot + 40, (4096 + i * GUESTCRYPT_SLOT) / SECTOR);
		put32(slot + 44, STRIPES);
	}
	fill_slot(area + 4096, area + SLOTS_AT + 8);
}
