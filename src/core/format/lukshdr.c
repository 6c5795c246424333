#include "core/format/lukshdr.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/be.h"
#include "base/num.h"
#include "core/format/qcow2.h"

#define EXT_LEN 16U
#define LUKS_VERSION 1
#define SLOT_ON 0x00ac71f3U
#define SLOT_OFF 0x0000deadU
#define MATERIAL_ALIGN 4096U /* where the format places new key material */

static const uint8_t magic[6] = { 'L', 'U', 'K', 'S', 0xba, 0xbe };

struct disk_slot {
	struct be32 active;	     /*  0 */
	struct be32 iterations;	     /*  4 */
	uint8_t salt[32];	     /*  8 */
	struct be32 material_sector; /* 40 */
	struct be32 stripes;	     /* 44 */
};

struct disk_luks {
	uint8_t magic[6];	       /*   0 */
	struct be16 version;	       /*   6 */
	char cipher[32];	       /*   8 */
	char mode[32];		       /*  40 */
	char hash[32];		       /*  72 */
	struct be32 payload_sector;    /* 104 */
	struct be32 key_bytes;	       /* 108 */
	uint8_t digest[20];	       /* 112 */
	uint8_t digest_salt[32];       /* 132 */
	struct be32 digest_iterations; /* 164 */
	char uuid[40];		       /* 168 */
	struct disk_slot slot[8];      /* 208 */
};
_Static_assert(sizeof(struct disk_slot) == 48, "size");
_Static_assert(sizeof(struct disk_luks) == LUKSHDR_LEN, "size");
_Static_assert(offsetof(struct disk_luks, slot) == 208, "slots");

/* --- the pointer in the qcow2 header ---------------------------------------- */

int lukshdr_area(const struct headerext *ext, uint64_t cluster_size,
		 uint64_t file_size, uint64_t *hoff, uint64_t *len,
		 struct err *err)
{
	if (!ext)
		return err_set(err, -EUCLEAN,
			       "LUKS encryption without the extension that says where its header is");
	if (ext->len != EXT_LEN)
		return err_set(err, -EUCLEAN,
			       "the encryption header pointer has %" PRIu32 " bytes, not %u",
			       ext->len, EXT_LEN);
	*hoff = be64_load(ext->data);
	*len = be64_load(ext->data + 8);
	if (*len < LUKSHDR_LEN || *len > LUKSHDR_AREA_MAX)
		return err_set(err, -EUCLEAN,
			       "the encryption header has %" PRIu64 " bytes, and %u to %u are allowed",
			       *len, LUKSHDR_LEN, LUKSHDR_AREA_MAX);
	if (!*hoff || !num_is_aligned(*hoff, cluster_size) ||
	    !num_range_inside(*hoff, *len, file_size))
		return err_set(err, -EUCLEAN,
			       "the encryption header of %" PRIu64 " bytes at host offset %#" PRIx64 " is not aligned, or lies outside the file",
			       *len, *hoff);
	return 0;
}

void lukshdr_put_area(uint8_t out[EXT_LEN], uint64_t hoff, uint64_t len)
{
	be64_store(out, hoff);
	be64_store(out + 8, len);
}

/* --- checks ------------------------------------------------------------------ */

static int get_name(char *out, const char *in, size_t size, const char *field,
		    struct err *err)
{
	size_t n = strnlen(in, size);

	if (n == size)
		return err_set(err, -EUCLEAN,
			       "the encryption header's %s does not end", field);
	for (size_t i = 0; i < n; i++)
		if (in[i] <= ' ' || in[i] > '~')
			return err_set(err, -EUCLEAN,
				       "the encryption header's %s has the byte 0x%02x",
				       field, (uint8_t)in[i]);
	memset(out, 0, size);
	memcpy(out, in, n);
	return 0;
}

static int check_iterations(const char *what, uint32_t n, struct err *err)
{
	if (!n)
		return err_set(err, -EUCLEAN,
			       "the encryption header's %s is 0", what);
	if (n > LUKSHDR_ITERATIONS_MAX)
		return err_set(err, -ENOTSUP,
			       "the encryption header's %s is %" PRIu32 ", above the limit of %u",
			       what, n, LUKSHDR_ITERATIONS_MAX);
	return 0;
}

static int get_slot(struct lukshdr_slot *s, const struct disk_slot *d,
		    unsigned i, struct err *err)
{
	uint32_t active = be32_get(d->active);
	char what[48];

	s->active = active == SLOT_ON;
	s->iterations = be32_get(d->iterations);
	memcpy(s->salt, d->salt, sizeof(s->salt));
	s->material_sector = be32_get(d->material_sector);
	s->stripes = be32_get(d->stripes);
	if (!s->active && active != SLOT_OFF)
		return err_set(err, -EUCLEAN,
			       "key slot %u is neither active nor inactive: 0x%08" PRIx32,
			       i, active);
	if (s->stripes != LUKSHDR_STRIPES)
		return err_set(err, -EUCLEAN,
			       "key slot %u has %" PRIu32 " stripes, not %u", i,
			       s->stripes, LUKSHDR_STRIPES);
	if (!s->active)
		return 0;
	snprintf(what, sizeof(what), "iteration count of key slot %u", i);
	return check_iterations(what, s->iterations, err);
}

static uint64_t material_sectors(const struct lukshdr *h)
{
	return num_div_ceil(lukshdr_material_len(h), QCOW2_SECTOR);
}

static bool overlap(uint64_t a, uint64_t b, uint64_t n)
{
	return a < b + n && b < a + n;
}

/* Inactive slots, too: what is written into one later may hurt nothing. */
static int check_places(const struct lukshdr *h, uint64_t area_len,
			struct err *err)
{
	uint64_t n = material_sectors(h);

	for (unsigned i = 0; i < LUKSHDR_SLOTS; i++) {
		uint64_t at = h->slot[i].material_sector;

		if (at * QCOW2_SECTOR < LUKSHDR_LEN)
			return err_set(err, -EUCLEAN,
				       "the key material of slot %u lies over the encryption header",
				       i);
		if ((at + n) * QCOW2_SECTOR > area_len ||
		    at + n > h->payload_sector)
			return err_set(err, -EUCLEAN,
				       "the key material of slot %u ends behind the encryption header's area",
				       i);
		for (unsigned k = 0; k < i; k++)
			if (overlap(at, h->slot[k].material_sector, n))
				return err_set(err, -EUCLEAN,
					       "the key material of the slots %u and %u overlaps",
					       k, i);
	}
	return 0;
}

static int get_names(struct lukshdr *h, const struct disk_luks *d,
		     struct err *err)
{
	int r = get_name(h->cipher, d->cipher, sizeof(d->cipher),
			 "cipher name", err);

	if (!r)
		r = get_name(h->mode, d->mode, sizeof(d->mode), "cipher mode",
			     err);
	if (!r)
		r = get_name(h->hash, d->hash, sizeof(d->hash), "hash name",
			     err);
	if (!r)
		r = get_name(h->uuid, d->uuid, sizeof(d->uuid), "uuid", err);
	return r;
}

int lukshdr_decode(struct lukshdr *h, const uint8_t buf[LUKSHDR_LEN],
		   uint64_t area_len, struct err *err)
{
	struct disk_luks d;
	int r;

	memcpy(&d, buf, sizeof(d));
	memset(h, 0, sizeof(*h));
	if (memcmp(d.magic, magic, sizeof(magic)))
		return err_set(err, -EUCLEAN,
			       "the encryption header is no LUKS header");
	if (be16_get(d.version) != LUKS_VERSION)
		return err_set(err, -ENOTSUP,
			       "the LUKS version is %u, and qcow2 has only 1",
			       be16_get(d.version));
	r = get_names(h, &d, err);
	if (r)
		return r;
	h->payload_sector = be32_get(d.payload_sector);
	h->key_bytes = be32_get(d.key_bytes);
	memcpy(h->digest, d.digest, sizeof(h->digest));
	memcpy(h->digest_salt, d.digest_salt, sizeof(h->digest_salt));
	h->digest_iterations = be32_get(d.digest_iterations);
	if (!h->key_bytes || h->key_bytes > LUKSHDR_KEY_MAX)
		return err_set(err, -EUCLEAN,
			       "the encryption key has %" PRIu32 " bytes, and 1 to %u are allowed",
			       h->key_bytes, LUKSHDR_KEY_MAX);
	r = check_iterations("iteration count of the master key",
			     h->digest_iterations, err);
	for (unsigned i = 0; i < LUKSHDR_SLOTS && !r; i++)
		r = get_slot(&h->slot[i], &d.slot[i], i, err);
	return r ? r : check_places(h, area_len, err);
}

/* --- to bytes ---------------------------------------------------------------- */

static void put_slot(const struct lukshdr_slot *s, struct disk_slot *d)
{
	d->active = be32_make(s->active ? SLOT_ON : SLOT_OFF);
	d->iterations = be32_make(s->iterations);
	memcpy(d->salt, s->salt, sizeof(d->salt));
	d->material_sector = be32_make(s->material_sector);
	d->stripes = be32_make(s->stripes);
}

void lukshdr_encode(const struct lukshdr *h, uint8_t buf[LUKSHDR_LEN])
{
	struct disk_luks d = { .version = be16_make(LUKS_VERSION) };

	memcpy(d.magic, magic, sizeof(magic));
	memcpy(d.cipher, h->cipher, sizeof(d.cipher));
	memcpy(d.mode, h->mode, sizeof(d.mode));
	memcpy(d.hash, h->hash, sizeof(d.hash));
	d.payload_sector = be32_make(h->payload_sector);
	d.key_bytes = be32_make(h->key_bytes);
	memcpy(d.digest, h->digest, sizeof(d.digest));
	memcpy(d.digest_salt, h->digest_salt, sizeof(d.digest_salt));
	d.digest_iterations = be32_make(h->digest_iterations);
	memcpy(d.uuid, h->uuid, sizeof(d.uuid));
	for (unsigned i = 0; i < LUKSHDR_SLOTS; i++)
		put_slot(&h->slot[i], &d.slot[i]);
	memcpy(buf, &d, sizeof(d));
}

size_t lukshdr_slot_at(unsigned i)
{
	return offsetof(struct disk_luks, slot) + i * sizeof(struct disk_slot);
}

size_t lukshdr_material_len(const struct lukshdr *h)
{
	return (size_t)h->key_bytes * LUKSHDR_STRIPES;
}

uint64_t lukshdr_lay_out(struct lukshdr *h)
{
	uint64_t step = num_round_up(lukshdr_material_len(h), MATERIAL_ALIGN);
	uint64_t at = MATERIAL_ALIGN;

	for (unsigned i = 0; i < LUKSHDR_SLOTS; i++, at += step)
		h->slot[i] = (struct lukshdr_slot){
			.material_sector = (uint32_t)(at / QCOW2_SECTOR),
			.stripes = LUKSHDR_STRIPES,
		};
	h->payload_sector = (uint32_t)(at / QCOW2_SECTOR);
	return at;
}

/* --- the mode ---------------------------------------------------------------- */

static void copy_part(char out[LUKSHDR_NAME_MAX + 1], const char *from,
		      size_t n)
{
	n = NUM_MIN(n, LUKSHDR_NAME_MAX);
	memcpy(out, from, n);
	out[n] = '\0';
}

void lukshdr_parse_mode(const char *text, struct lukshdr_mode *m)
{
	size_t n = strcspn(text, "-");
	const char *iv = text[n] ? text + n + 1 : text + n;
	size_t k = strcspn(iv, ":");

	copy_part(m->mode, text, n);
	copy_part(m->ivgen, iv, k);
	copy_part(m->ivgen_hash, iv[k] ? iv + k + 1 : iv + k,
		  strlen(iv[k] ? iv + k + 1 : iv + k));
}
