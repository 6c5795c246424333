#include "core/format/feature.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "core/format/qcow2.h"

#define NAME_LEN 46

/* Also what is stored in the image, byte for byte. */
struct disk_feature {
	uint8_t cls;	     /* 0 */
	uint8_t bit;	     /* 1 */
	char name[NAME_LEN]; /* 2: padded with zeros, maybe not terminated */
};
_Static_assert(sizeof(struct disk_feature) == 48, "size");

static const struct disk_feature known[] = {
	{ FEATURE_INCOMPATIBLE, 0, "dirty bit" },
	{ FEATURE_INCOMPATIBLE, 1, "corrupt bit" },
	{ FEATURE_INCOMPATIBLE, 2, "external data file" },
	{ FEATURE_INCOMPATIBLE, 3, "compression type" },
	{ FEATURE_INCOMPATIBLE, 4, "extended L2 entries" },
	{ FEATURE_COMPATIBLE, 0, "lazy refcounts" },
	{ FEATURE_AUTOCLEAR, 0, "bitmaps" },
	{ FEATURE_AUTOCLEAR, 1, "raw external data" },
};

#define NR_KNOWN (sizeof(known) / sizeof(known[0]))

/* Incompatible bits that keep rawcow from opening an image. */
#define REFUSED (~QCOW2_INCOMPAT_KNOWN)

static bool find_in_table(char buf[FEATURE_NAME_MAX], enum feature_class cls,
			  unsigned bit, const void *table, size_t n)
{
	struct disk_feature f;
	size_t len;

	for (size_t i = 0; i < n; i++) {
		memcpy(&f, (const uint8_t *)table + i * sizeof(f), sizeof(f));
		len = strnlen(f.name, sizeof(f.name));
		if (f.cls != cls || f.bit != bit || !len)
			continue;
		err_escape(buf, FEATURE_NAME_MAX, f.name, len);
		return true;
	}
	return false;
}

const char *feature_name(char buf[FEATURE_NAME_MAX], enum feature_class cls,
			 unsigned bit, const struct headerext_list *list)
{
	const struct headerext *e = NULL;

	if (find_in_table(buf, cls, bit, known, NR_KNOWN))
		return buf;
	if (list)
		e = headerext_find(list, QCOW2_EXT_FEATURE_NAMES);
	if (e && find_in_table(buf, cls, bit, e->data,
			       e->len / sizeof(struct disk_feature)))
		return buf;
	snprintf(buf, FEATURE_NAME_MAX, "bit %u", bit);
	return buf;
}

static void append(char text[ERR_TEXT_MAX], const char *item)
{
	size_t used = strlen(text);

	snprintf(text + used, ERR_TEXT_MAX - used, "%s%s", used ? ", " : "",
		 item);
}

static void append_bit(char text[ERR_TEXT_MAX], unsigned bit,
		       const struct headerext_list *list)
{
	char item[FEATURE_NAME_MAX + 64];
	char name[FEATURE_NAME_MAX];

	feature_name(name, FEATURE_INCOMPATIBLE, bit, list);
	if (QCOW2_INCOMPAT_KNOWN >> bit & 1)
		snprintf(item, sizeof(item), "%s", name);
	else
		snprintf(item, sizeof(item), "unknown feature '%s' (incompatible bit %u)",
			 name, bit);
	append(text, item);
}

int feature_refusal(const struct header *h, const struct headerext_list *list,
		    struct err *err)
{
	uint64_t bits = h->incompatible & REFUSED;
	char text[ERR_TEXT_MAX] = "";

	for (unsigned bit = 0; bit < 64; bit++)
		if (bits >> bit & 1)
			append_bit(text, bit, list);
	if (!text[0])
		return 0;
	return err_set(err, -ENOTSUP,
		       "the image needs what rawcow does not support: %s",
		       text);
}

uint64_t feature_autoclear_stale(const struct header *h)
{
	uint64_t kept = QCOW2_AUTOCLEAR_BITMAPS;

	if (header_data_raw(h))
		kept |= QCOW2_AUTOCLEAR_DATA_FILE_RAW;
	return h->autoclear & ~kept;
}

const void *feature_name_table(uint32_t *len)
{
	*len = sizeof(known);
	return known;
}
