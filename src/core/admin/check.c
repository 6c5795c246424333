/*
 * check: the order of the walk. It shares no code with core/meta, whose work
 * it judges: only the decoders of core/format are common.
 *
 *	header, extensions	-> roles, references
 *	refcount table, blocks	-> roles, references, stored counts
 *	L1 tables		-> roles, references, list of L2 tables
 *	bitmaps, encryption	-> roles, references
 *	L2 tables		-> roles, references, COPIED, streams
 *	comparison of references with stored counts
 *
 * Stored counts come early because COPIED is judged by them. Metadata comes
 * before data, so that of two roles in one cluster the metadata's is named
 * first.
 */
#include "core/admin/check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/num.h"
#include "core/admin/checkwalk.h"
#include "core/admin/repair.h"
#include "core/format/feature.h"
#include "core/format/qcow2.h"

/* Memory for all that is known of clusters; some 20 TiB of 64 KiB clusters. */
#define BUDGET (2ULL << 30)

static int load_header(struct checkwalk *w)
{
	struct host_stat st;
	size_t len;
	int ret = hostfile_stat(w->file, &st);

	if (ret)
		return err_set_sys(w->err, ret, "cannot stat");
	w->file_size = st.size;
	len = (size_t)NUM_MIN(st.size, 1U << QCOW2_CLUSTER_BITS_MAX);
	w->head = mem_array(1, 1U << QCOW2_CLUSTER_BITS_MAX);
	if (!w->head)
		return err_set(w->err, -ENOMEM, "no memory for the header");
	ret = hostfile_pread(w->file, w->head, len, 0, NULL);
	if (ret)
		return err_set_sys(w->err, ret, "cannot read the header");
	ret = header_decode(&w->h, w->head, len, st.size, w->err);
	if (ret)
		return ret;
	header_geom(&w->h, &w->g);
	return 0;
}

/* Extensions of a broken list are a defect, not a reason to stop. */
static int load_extensions(struct checkwalk *w)
{
	size_t len = (size_t)NUM_MIN(w->file_size, w->g.cluster_size);
	struct header plain;
	struct err err = { "" };

	if (headerext_decode(&w->ext, &w->h, w->head, len, &err) < 0) {
		checkwalk_report(w, PROBLEM_HEADER, 0, "%s", err.text);
		w->ext.n = 0;
	}
	/* Where encrypted clusters are can be checked without a key. */
	plain = w->h;
	plain.crypt_method = QCOW2_CRYPT_NONE;
	return feature_refusal(&plain, &w->ext, w->err);
}

static int walk(struct checkwalk *w)
{
	int ret = checkwalk_mark(w, 0, w->g.cluster_size, CHECKROLE_HEADER, 1);

	if (!ret)
		ret = checkref_load(w);
	if (!ret)
		ret = checktab_l1(w, w->h.l1_offset, w->h.l1_entries, true);
	if (!ret)
		ret = checkaux_snapshots(w);
	if (!ret)
		ret = checkaux_bitmaps(w);
	if (!ret)
		ret = checkaux_crypto(w);
	if (!ret)
		ret = checktab_walk_l2s(w);
	if (!ret)
		checkref_compare(w);
	if (!ret && w->opts->repair)
		ret = repair_apply(w);
	if (ret == -ENOMEM && !w->err->text[0])
		err_set(w->err, ret, "the check of this image needs more memory"
			" than there is, or than %llu MiB", BUDGET >> 20);
	return ret;
}

int check_image(struct hostfile *file, const struct check_opts *opts,
		struct check_result *res, struct err *err)
{
	static const struct check_opts none;
	struct checkwalk w = { .file = file, .opts = opts ? opts : &none,
			       .res = res, .err = err };
	int ret;

	*res = (struct check_result){ 0 };
	checkmap_init(&w.map, BUDGET);
	ret = load_header(&w);
	if (!ret)
		ret = load_extensions(&w);
	if (!ret) {
		res->total_clusters = geom_clusters(&w.g, w.g.size);
		ret = walk(&w);
	}
	checktab_fini(&w);
	checkmap_fini(&w.map);
	free(w.head);
	return ret;
}

int check_clear_marks(struct hostfile *file, bool *had, struct err *err)
{
	uint64_t marks = QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT;
	uint8_t sector[QCOW2_SECTOR];
	int ret = hostfile_pread_full(file, sector, sizeof(sector), 0);

	*had = ret == 0 && be32_load(sector + 4) >= 3 &&
	       (be64_load(sector + 72) & marks);
	if (ret == 0 && !*had)
		return 0;
	be64_store(sector + 72, be64_load(sector + 72) & ~marks);
	if (ret == 0)
		ret = hostfile_sync(file);
	if (ret == 0)
		ret = hostfile_pwrite_full(file, sector, sizeof(sector), 0);
	if (ret == 0)
		ret = hostfile_sync(file);
	return ret < 0 ? err_set_sys(err, ret, "cannot clear its marks") : 0;
}
