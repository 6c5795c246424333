#include "core/image/claim.h"

#include <errno.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/num.h"
#include "core/format/lukshdr.h"
#include "core/image/open.h"
#include "core/image/snaplist.h"

/* Entries of a bitmap table that are read at once. */
#define PIECE 8192U

static int claim_snapshots(struct image *img, uint64_t file_size,
			   struct err *err)
{
	struct meta *m = &img->meta;
	struct snaplist list;
	int r = snaplist_read(&list, img->file, &img->header, &img->geom,
			      file_size, err);

	if (r < 0)
		err_wrap(
			err,
			"only -o ro is possible: the snapshot table is broken");
	else
		r = rolescan_claim(m, img->header.snapshots_offset, list.bytes,
				   ROLE_SNAPTABLE, err);
	for (size_t i = 0; r == 0 && i < list.n; i++)
		r = rolescan_claim_snapshot(m, list.snap[i].l1_offset,
					    list.snap[i].l1_entries, err);
	snaplist_fini(&list);
	return r;
}

static int claim_entry(struct image *img, struct bitmap *b, uint64_t raw,
		       uint64_t file_size, struct err *err)
{
	enum bitmapdir_kind kind;
	uint64_t hoff;

	if (bitmapdir_table_decode(raw, &img->geom, file_size, &kind, &hoff) < 0)
		b->broken = true;
	else if (kind == BITMAPDIR_DATA)
		return rolescan_claim(&img->meta, hoff, 1, ROLE_BITMAP, err);
	return 0;
}

/* The clusters of bits that the table of B names. What an invalid entry names
 * may be anybody's, now or when the file is longer. */
static int claim_bits(struct image *img, struct bitmap *b, uint64_t file_size,
		      struct err *err)
{
	autofree uint64_t *e = mem_array(PIECE, sizeof(*e));
	uint32_t n = b->e.table_entries;
	int r = e ? 0 : err_set_sys(err, -ENOMEM, "cannot open");

	for (uint32_t done = 0; r == 0 && done < n; done += PIECE) {
		uint64_t hoff = b->e.table_off + done * 8ULL;
		uint32_t k = NUM_MIN(n - done, PIECE);

		if (hostfile_is_hole(img->file, hoff, k * sizeof(*e)))
			continue;
		r = hostfile_pread(img->file, e, k * sizeof(*e), hoff, NULL);
		if (r < 0)
			return err_set_sys(err, r, "cannot read a bitmap table");
		for (uint32_t i = 0; r == 0 && i < k; i++)
			r = claim_entry(img, b, be64_load(&e[i]), file_size,
					err);
	}
	return r;
}

static int claim_bitmaps(struct image *img, uint64_t file_size, struct err *err)
{
	const struct bitmaplist *list = &img->bitmaps.list;
	struct meta *m = &img->meta;
	int r = 0;

	img->bitmaps.claimed = file_size;
	if (list->dir.n)
		r = rolescan_claim(m, list->dir.off, list->dir.len, ROLE_BITMAP,
				   err);
	for (size_t i = 0; r == 0 && i < list->n; i++) {
		const struct bitmapdir_entry *e = &list->b[i].e;

		r = rolescan_claim(m, e->table_off, e->table_entries * 8ULL,
				   ROLE_BITMAP, err);
		if (r == 0)
			r = claim_bits(img, &list->b[i], file_size, err);
	}
	return r;
}

static int claim_crypto(struct image *img, const struct headerext_list *ext,
			uint64_t file_size, struct err *err)
{
	uint64_t hoff, len;
	int r = lukshdr_area(headerext_find(ext, QCOW2_EXT_CRYPTO),
			     img->geom.cluster_size, file_size, &hoff, &len,
			     err);

	return r < 0 ? r
		     : rolescan_claim(&img->meta, hoff, len, ROLE_CRYPTO, err);
}

int claim_all(struct image *img, const struct headerext_list *ext,
	      uint64_t file_size, struct err *err)
{
	int r = 0;

	if (img->header.crypt_method == QCOW2_CRYPT_LUKS)
		r = claim_crypto(img, ext, file_size, err);
	if (r == 0 && img->header.nb_snapshots)
		r = claim_snapshots(img, file_size, err);
	if (r == 0)
		r = claim_bitmaps(img, file_size, err);
	return r < 0 ? r : rolescan_start(&img->meta, err);
}
