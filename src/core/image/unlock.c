#include "core/image/unlock.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/secmem.h"
#include "core/format/qcow2.h"

int unlock_read(struct unlock_luks *l, struct hostfile *file,
		const struct headerext *ext, uint64_t cluster_size,
		struct err *err)
{
	uint8_t buf[LUKSHDR_LEN];
	struct host_stat st;
	int r = hostfile_stat(file, &st);

	if (r < 0)
		return err_set_sys(err, r, "cannot stat");
	r = lukshdr_area(ext, cluster_size, st.size, &l->hoff, &l->len, err);
	if (r < 0)
		return r;
	r = hostfile_pread_full(file, buf, sizeof(buf), l->hoff);
	if (r < 0)
		return err_set_sys(err, r, "cannot read the encryption header");
	return lukshdr_decode(&l->h, buf, l->len, err);
}

static int try_slot(const struct unlock_luks *l, unsigned i,
		    struct hostfile *file, const struct secret *secret,
		    uint8_t *material, uint8_t *key, struct err *err)
{
	size_t len = (size_t)num_round_up(lukshdr_material_len(&l->h),
					  QCOW2_SECTOR);
	uint64_t at = (uint64_t)l->h.slot[i].material_sector * QCOW2_SECTOR;
	int r = hostfile_pread(file, material, len, l->hoff + at, NULL);

	if (r < 0)
		return err_set_sys(err, r, "cannot read key slot %u", i);
	return cipher_luks_unlock(&l->h, i, secret_bytes(secret),
				  secret_len(secret), material, key, err);
}

int unlock_master(const struct unlock_luks *l, struct hostfile *file,
		  const struct secret *secret, uint8_t *key, unsigned *slot,
		  struct err *err)
{
	size_t len = (size_t)LUKSHDR_KEY_MAX * LUKSHDR_STRIPES;
	autofree uint8_t *material = mem_array(len + QCOW2_SECTOR, 1);
	bool any = false;
	int r = cipher_luks_check(&l->h, err);

	if (r < 0)
		return r;
	if (!material)
		return err_set_sys(err, -ENOMEM, "cannot unlock");
	for (unsigned i = 0; i < LUKSHDR_SLOTS; i++) {
		if (!l->h.slot[i].active)
			continue;
		any = true;
		*slot = i;
		r = try_slot(l, i, file, secret, material, key, err);
		if (r != -EKEYREJECTED)
			return r;
	}
	if (!any)
		return err_set(err, -ENOKEY,
			       "no key slot of the image is active: its content is lost");
	return err_set(err, -EKEYREJECTED,
		       "wrong passphrase: it fits no key slot of the image");
}

static int unlock_luks(struct cipher **out, struct hostfile *file,
		       const struct header *h, const struct headerext_list *ext,
		       const struct secret *secret, struct err *err)
{
	uint8_t *key = secmem_new(LUKSHDR_KEY_MAX);
	struct unlock_luks l;
	unsigned slot;
	int r = key ? unlock_read(&l, file,
				  headerext_find(ext, QCOW2_EXT_CRYPTO),
				  1ULL << h->cluster_bits, err)
		    : err_set_sys(err, -ENOMEM, "cannot unlock");

	if (r == 0)
		r = unlock_master(&l, file, secret, key, &slot, err);
	if (r == 0)
		r = cipher_luks_open(out, &l.h, key, err);
	secmem_free(key, LUKSHDR_KEY_MAX);
	return r;
}

int unlock_image(struct cipher **out, struct hostfile *file,
		 const struct header *h, const struct headerext_list *ext,
		 const struct secret *secret, struct err *err)
{
	if (!secret)
		return err_set(err, -ENOKEY,
			       "the image is encrypted; give its passphrase with key_file=FILE or key_fd=N");
	if (h->crypt_method == QCOW2_CRYPT_LUKS)
		return unlock_luks(out, file, h, ext, secret, err);
	log_line(LOG_LEVEL_WARN,
		 "%s: the old AES encryption is weak, and a wrong password cannot be told from the right one; convert the image with 'qemu-img convert' to encrypt.format=luks",
		 file->name);
	return cipher_aes_new(out, secret_bytes(secret), secret_len(secret),
			      err);
}
