#include "order.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define AUTOCLEAR_OFF 88 /* in the header */

static void bad(struct order *o, const char *what, uint64_t off,
		const char *when)
{
	char text[120];

	snprintf(text, sizeof(text), "%s at %#" PRIx64 " %s", what, off, when);
	o->bad(o->arg, text);
}

void order_rewind(struct order *o)
{
	o->begun = o->sync_failed = false;
}

void order_sync_failed(struct order *o)
{
	o->sync_failed = true;
}

static bool has_stale_bit(const struct order *o, const uint8_t *header)
{
	uint64_t raw;

	memcpy(&raw, header + AUTOCLEAR_OFF, 8);
	return __builtin_bswap64(raw) & o->stale_autoclear;
}

static void check_autoclear(struct order *o, const struct unsynced *u,
			    const struct hostrecord_entry *r)
{
	const struct unsynced_var *v = unsynced_var(u, 0);

	if (!o->stale_autoclear || o->begun || r->off < UNSYNCED_SECTOR)
		return;
	o->begun = true;
	for (uint32_t i = 0; i < (v ? v->nver : 1); i++)
		if (has_stale_bit(o, v ? v->ver[i] : u->stable))
			bad(o, "write", r->off,
			    "while a stale autoclear bit may be on disk");
}

static void check_crypto(struct order *o, const struct hostrecord_entry *r)
{
	uint64_t from = r->op == HOSTRECORD_TRUNCATE ? r->len : r->off;
	uint64_t end = r->op == HOSTRECORD_TRUNCATE ? UINT64_MAX :
						      r->off + r->len;

	if (!r->file && from < o->crypto_end && end > o->crypto_off)
		bad(o, "change", from, "in the LUKS header");
}

void order_change(struct order *o, const struct unsynced *u,
		  const struct hostrecord_entry *r)
{
	if (o->sync_failed && r->op != HOSTRECORD_TRUNCATE)
		bad(o, "change", r->off, "after a failed sync");
	check_autoclear(o, u, r);
	check_crypto(o, r);
}
