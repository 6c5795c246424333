#include "core/admin/keyslots.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/secmem.h"
#include "base/seed.h"
#include "core/codec/kdf.h"
#include "core/format/qcow2.h"
#include "core/image/open.h"
#include "core/image/unlock.h"

#define ITER_MS_DEFAULT 2000

/* --- reading ------------------------------------------------------------------- */

static int load(struct unlock_luks *l, struct image *img, struct err *err)
{
	const struct header *h = &img->meta.header;
	autofree uint8_t *buf = mem_array((size_t)img->geom.cluster_size, 1);
	struct headerext_list ext;
	size_t got;
	int r;

	if (h->crypt_method != QCOW2_CRYPT_LUKS)
		return err_set(err, -ENOTSUP,
			       "the image has no LUKS encryption, and so no key slots");
	if (!buf)
		return err_set_sys(err, -ENOMEM, "cannot read the header");
	r = hostfile_pread(img->file, buf, (size_t)img->geom.cluster_size, 0,
			   &got);
	if (r < 0)
		return err_set_sys(err, r, "cannot read the header");
	r = headerext_decode(&ext, h, buf, got, err);
	if (r < 0)
		return r;
	return unlock_read(l, img->file,
			   headerext_find(&ext, QCOW2_EXT_CRYPTO),
			   img->geom.cluster_size, err);
}

static unsigned count_active(const struct unlock_luks *l)
{
	unsigned n = 0;

	for (unsigned i = 0; i < LUKSHDR_SLOTS; i++)
		n += l->h.slot[i].active;
	return n;
}

static size_t material_len(const struct unlock_luks *l)
{
	return (size_t)num_round_up(lukshdr_material_len(&l->h), QCOW2_SECTOR);
}

/* --- writing ------------------------------------------------------------------- */

/* The header as L has it; only the sectors that slot I lies in. */
static int put_header(struct image *img, const struct unlock_luks *l,
		      unsigned i)
{
	size_t from = num_round_down(lukshdr_slot_at(i), QCOW2_SECTOR);
	size_t to = NUM_MIN((size_t)num_round_up(lukshdr_slot_at(i + 1),
						 QCOW2_SECTOR),
			    (size_t)LUKSHDR_LEN);
	uint8_t buf[LUKSHDR_LEN];

	lukshdr_encode(&l->h, buf);
	return hostfile_pwrite_full(img->file, buf + from, to - from,
				    l->hoff + from);
}

static int put_material(struct image *img, const struct unlock_luks *l,
			unsigned i, const uint8_t *material)
{
	uint64_t at = (uint64_t)l->h.slot[i].material_sector * QCOW2_SECTOR;

	return hostfile_pwrite_full(img->file, material, material_len(l),
				    l->hoff + at);
}

/* An error of a sync is final [R8]. */
static int sync_it(struct image *img)
{
	int r = hostfile_sync(img->file);

	if (r < 0)
		atomic_store(&img->meta.failed, true);
	return r;
}

/* [R11] Material and salt first, the mark when they are stable. The description
 * of a slot may cross sectors; the mark is four bytes of one. */
static int publish(struct image *img, struct unlock_luks *l, unsigned i,
		   const uint8_t *material)
{
	int r;

	l->h.slot[i].active = SEED_BUG(SEED_SLOT_EARLY);
	r = put_material(img, l, i, material);
	if (r == 0)
		r = put_header(img, l, i);
	if (r == 0)
		r = sync_it(img);
	l->h.slot[i].active = true;
	if (r == 0)
		r = put_header(img, l, i);
	return r == 0 ? sync_it(img) : r;
}

/* [R11] The mark first; the material is noise when it is stably gone. */
static int wipe(struct image *img, struct unlock_luks *l, unsigned i)
{
	autofree uint8_t *noise = mem_array(material_len(l), 1);
	int r = noise ? kdf_random(noise, material_len(l)) : -ENOMEM;

	if (r < 0)
		return r;
	l->h.slot[i].active = false;
	r = put_header(img, l, i);
	if (r == 0)
		r = sync_it(img);
	if (r == 0)
		r = put_material(img, l, i, noise);
	return r == 0 ? sync_it(img) : r;
}

/* --- adding -------------------------------------------------------------------- */

static int choose(const struct unlock_luks *l, int slot, unsigned *i,
		  struct err *err)
{
	if (slot != KEYSLOTS_ANY && (slot < 0 || slot >= LUKSHDR_SLOTS))
		return err_set(err, -EINVAL,
			       "there is no key slot %d: they are 0 to %d",
			       slot, LUKSHDR_SLOTS - 1);
	if (slot != KEYSLOTS_ANY && l->h.slot[slot].active)
		return err_set(err, -EBUSY,
			       "key slot %d is in use; erase it first, or name another",
			       slot);
	*i = slot == KEYSLOTS_ANY ? 0 : (unsigned)slot;
	while (slot == KEYSLOTS_ANY && *i < LUKSHDR_SLOTS &&
	       l->h.slot[*i].active)
		++*i;
	return *i < LUKSHDR_SLOTS ?
		       0 :
		       err_set(err, -ENOSPC,
			       "all %d key slots are in use; erase one first",
			       LUKSHDR_SLOTS);
}

static int add(struct image *img, struct unlock_luks *l, unsigned i,
	       const struct secret *have, const struct secret *fresh,
	       unsigned ms, uint8_t *key, struct err *err)
{
	autofree uint8_t *material = mem_array(material_len(l), 1);
	unsigned slot;
	int r = unlock_master(l, img->file, have, key, &slot, err);

	if (r < 0)
		return r;
	if (!material)
		return err_set_sys(err, -ENOMEM, "cannot make keys");
	r = cipher_luks_fill(&l->h, i, secret_bytes(fresh), secret_len(fresh),
			     key, ms ? ms : ITER_MS_DEFAULT, material, err);
	if (r < 0)
		return r;
	r = publish(img, l, i, material);
	return r < 0 ? err_set_sys(err, r, "cannot write key slot %u", i) : 0;
}

int keyslots_add(struct image *img, const struct secret *have,
		 const struct secret *fresh, int slot, unsigned ms,
		 unsigned *used, struct err *err)
{
	struct unlock_luks l;
	uint8_t *key = NULL;
	int r = secret_check_text(fresh, err);

	if (r < 0)
		return r;
	r = gate_quiesce(img);
	if (r < 0)
		return err_set_sys(err, r, "cannot change the image");
	r = load(&l, img, err);
	if (r == 0)
		r = choose(&l, slot, used, err);
	if (r == 0)
		key = secmem_new(LUKSHDR_KEY_MAX);
	if (r == 0)
		r = key ? add(img, &l, *used, have, fresh, ms, key, err)
			: err_set_sys(err, -ENOMEM, "cannot make keys");
	secmem_free(key, LUKSHDR_KEY_MAX);
	gate_open(img);
	return r;
}

/* --- erasing ------------------------------------------------------------------- */

static int erase_one(struct image *img, struct unlock_luks *l, unsigned i,
		     struct err *err)
{
	int r;

	if (l->h.slot[i].active && count_active(l) == 1)
		return err_set(err, -EBUSY,
			       "key slot %u is the last one that opens the image; add another passphrase first",
			       i);
	r = wipe(img, l, i);
	return r < 0 ? err_set_sys(err, r, "cannot erase key slot %u", i) : 0;
}

/* Which slots does GONE open? A bit for each. */
static int find_slots(struct image *img, const struct unlock_luks *l,
		      const struct secret *gone, unsigned *found,
		      struct err *err)
{
	uint8_t *key = secmem_new(LUKSHDR_KEY_MAX);
	struct unlock_luks rest = *l;
	unsigned i;
	int r = key ? 0 : err_set_sys(err, -ENOMEM, "cannot unlock");

	*found = 0;
	while (r == 0) {
		r = unlock_master(&rest, img->file, gone, key, &i, err);
		if (r == 0) {
			*found |= 1U << i;
			rest.h.slot[i].active = false;
		}
	}
	secmem_free(key, LUKSHDR_KEY_MAX);
	return *found && (r == -EKEYREJECTED || r == -ENOKEY) ? 0 : r;
}

static int erase_found(struct image *img, struct unlock_luks *l,
		       unsigned found, struct err *err)
{
	int r = 0;

	if ((unsigned)__builtin_popcount(found) == count_active(l))
		return err_set(err, -EBUSY,
			       "no other passphrase opens the image; add one first");
	for (unsigned i = 0; i < LUKSHDR_SLOTS && r == 0; i++)
		if (found >> i & 1)
			r = erase_one(img, l, i, err);
	return r;
}

static int erase(struct image *img, const struct secret *gone, int slot,
		 struct err *err)
{
	struct unlock_luks l;
	unsigned found;
	int r = load(&l, img, err);

	if (r < 0)
		return r;
	if (slot == KEYSLOTS_ANY) {
		r = find_slots(img, &l, gone, &found, err);
		return r < 0 ? r : erase_found(img, &l, found, err);
	}
	if (slot < 0 || slot >= LUKSHDR_SLOTS)
		return err_set(err, -EINVAL,
			       "there is no key slot %d: they are 0 to %d",
			       slot, LUKSHDR_SLOTS - 1);
	return erase_one(img, &l, (unsigned)slot, err);
}

int keyslots_erase(struct image *img, const struct secret *gone, int slot,
		   struct err *err)
{
	int r = gate_quiesce(img);

	if (r < 0)
		return err_set_sys(err, r, "cannot change the image");
	r = erase(img, gone, slot, err);
	gate_open(img);
	return r;
}
