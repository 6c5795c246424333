#include "cli/luksinfo.h"

#include <stdio.h>
#include <string.h>

#include "cli/json.h"
#include "core/format/qcow2.h"

/* QEMU's name of the cipher carries the length of one key. */
static const char *cipher_alg(char out[48], const struct lukshdr *h,
			      const struct lukshdr_mode *m)
{
	unsigned bits = h->key_bytes * 8;

	if (!strcmp(m->mode, "xts"))
		bits /= 2;
	snprintf(out, 48, "%s-%u", h->cipher, bits);
	return out;
}

static struct json_object *slot_json(const struct lukshdr_slot *s)
{
	struct json_object *o = json_object_new_object();

	json_put_bool(o, "active", s->active);
	if (s->active) {
		json_put_int(o, "iters", s->iterations);
		json_put_int(o, "stripes", s->stripes);
	}
	json_put_int(o, "key-offset",
		     (uint64_t)s->material_sector * QCOW2_SECTOR);
	return o;
}

static void put_luks(struct json_object *o, const struct lukshdr *h)
{
	struct json_object *slots = json_object_new_array();
	struct lukshdr_mode m;
	char name[48];

	lukshdr_parse_mode(h->mode, &m);
	json_put_text(o, "ivgen-alg", m.ivgen);
	if (*m.ivgen_hash)
		json_put_text(o, "ivgen-hash-alg", m.ivgen_hash);
	json_put_text(o, "hash-alg", h->hash);
	json_put_text(o, "cipher-alg", cipher_alg(name, h, &m));
	json_put_text(o, "uuid", h->uuid);
	json_put_text(o, "cipher-mode", m.mode);
	for (unsigned i = 0; i < LUKSHDR_SLOTS; i++)
		json_object_array_add(slots, slot_json(&h->slot[i]));
	json_object_object_add(o, "slots", slots);
	json_put_int(o, "payload-offset",
		     (uint64_t)h->payload_sector * QCOW2_SECTOR);
	json_put_int(o, "master-key-iters", h->digest_iterations);
}

struct json_object *luksinfo_json(const struct info *info)
{
	struct json_object *o;

	if (!info->header.crypt_method)
		return NULL;
	o = json_object_new_object();
	json_put_text(o, "format",
		      info->header.crypt_method == QCOW2_CRYPT_LUKS ? "luks" :
								      "aes");
	if (info->luks)
		put_luks(o, info->luks);
	return o;
}

static void print_slots(const struct lukshdr *h)
{
	puts("        slots:");
	for (unsigned i = 0; i < LUKSHDR_SLOTS; i++) {
		const struct lukshdr_slot *s = &h->slot[i];

		printf("            [%u]:\n                active: %s\n", i,
		       s->active ? "true" : "false");
		if (s->active)
			printf("                iters: %u\n", s->iterations);
		printf("                key offset: %llu\n",
		       (unsigned long long)s->material_sector * QCOW2_SECTOR);
		if (s->active)
			printf("                stripes: %u\n", s->stripes);
	}
}

static void print_luks(const struct lukshdr *h)
{
	struct lukshdr_mode m;
	char name[48];

	lukshdr_parse_mode(h->mode, &m);
	printf("        ivgen alg: %s\n", m.ivgen);
	if (*m.ivgen_hash)
		printf("        ivgen hash alg: %s\n", m.ivgen_hash);
	printf("        hash alg: %s\n        cipher alg: %s\n        uuid: %s\n",
	       h->hash, cipher_alg(name, h, &m), h->uuid);
	printf("        format: luks\n        cipher mode: %s\n", m.mode);
	print_slots(h);
	printf("        payload offset: %llu\n        master key iters: %u\n",
	       (unsigned long long)h->payload_sector * QCOW2_SECTOR,
	       h->digest_iterations);
}

void luksinfo_print(const struct info *info)
{
	if (!info->header.crypt_method)
		return;
	puts("    encrypt:");
	if (info->luks)
		print_luks(info->luks);
	else
		printf("        format: %s\n",
		       info->header.crypt_method == QCOW2_CRYPT_LUKS ? "luks" :
								       "aes");
}
