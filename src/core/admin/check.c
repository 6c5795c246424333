/*
 * check: the order of the walk. It shares no code with core/meta, whose work
 * it judges: only the decoders of core/format are common.
 *
 *	header, extensions	-> roles, references
 *	refcount table, blocks	-> roles, references, stored counts
 *	encryption header	-> roles, references
 *	L1 tables		-> roles, references, list of L2 tables
 *	L2 tables		-> roles, references, COPIED, streams
 *	bitmaps			-> roles, references
 *	comparison of references with stored counts
 *
 * Stored counts come early because COPIED is judged by them. Who comes first to
 * a cluster owns it: what a repair can least do without comes before what it
 * can copy (data) or leave out (bitmaps, whose content is not to be trusted once
 * something else stands in it).
 */
#include "core/admin/check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/num.h"
#include "core/admin/checkwalk.h"
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

/* Does the image need an extension of TYPE, which may stand behind the break? */
static bool is_missing(const struct checkwalk *w, uint32_t type, bool needed)
{
	return needed && !headerext_find(&w->ext, type);
}

/* The list breaks off: end it where it does, unless what cannot be read from
 * there on is something that the image cannot do without. */
static int end_extensions(struct checkwalk *w, size_t len)
{
	size_t at = w->ext.end;
	uint32_t type;

	if (at + 8 > len)
		return 0;
	type = be32_load(w->head + at);
	if (type == QCOW2_EXT_CRYPTO || type == QCOW2_EXT_DATA_FILE ||
	    type == QCOW2_EXT_BACKING_FORMAT || headerext_find(&w->ext, type) ||
	    w->ext.n == QCOW2_MAX_EXTENSIONS ||
	    is_missing(w, QCOW2_EXT_CRYPTO,
		       w->h.crypt_method == QCOW2_CRYPT_LUKS) ||
	    is_missing(w, QCOW2_EXT_DATA_FILE, w->g.data_file))
		return 0;
	return checkwalk_patch(w, at, 0, CHECKROLE_HEADER);
}

/* Extensions of a broken list are a defect, not a reason to stop. Those before
 * the break are as good as ever. */
static int load_extensions(struct checkwalk *w)
{
	size_t len = (size_t)NUM_MIN(w->file_size, w->g.cluster_size);
	struct err err = { "" };

	if (headerext_decode(&w->ext, &w->h, w->head, len, &err) < 0) {
		int ret = end_extensions(w, len);

		checkwalk_report(w, PROBLEM_HEADER, 0, "%s", err.text);
		w->ext_broken = true;
		if (ret)
			return ret;
	}
	return feature_refusal(&w->h, &w->ext, w->err);
}

static int walk(struct checkwalk *w)
{
	int ret = checkwalk_mark(w, 0, w->g.cluster_size, CHECKROLE_HEADER, 1);

	if (!ret)
		ret = checkref_load(w);
	if (!ret)
		ret = checkaux_crypto(w);
	checkaux_data_file(w);
	if (!ret)
		ret = checktab_l1(w, w->h.l1_offset, w->h.l1_entries, 0);
	if (!ret)
		ret = checksnap_walk(w);
	if (!ret && w->opts->roots_read)
		w->opts->roots_read(w->opts->roots_arg);
	if (!ret)
		ret = checktab_walk_l2s(w);
	if (!ret)
		ret = checkbitmap_walk(w);
	checkaux_autoclear(w);
	if (!ret)
		checkref_compare(w);
	if (ret == -ENOMEM && !w->err->text[0])
		err_set(w->err, ret, "the check of this image needs more memory"
			" than there is, or than %llu MiB", BUDGET >> 20);
	return ret;
}

int check_run(struct checkwalk *w)
{
	int ret;

	*w->res = (struct check_result){ 0 };
	checkmap_init(&w->map, BUDGET);
	ret = load_header(w);
	if (!ret)
		ret = load_extensions(w);
	if (ret)
		return ret;
	w->res->total_clusters = geom_clusters(&w->g, w->g.size);
	w->autoclear = w->h.autoclear;
	return walk(w);
}

int check_image(struct hostfile *file, const struct check_opts *opts,
		struct check_result *res, struct err *err)
{
	static const struct check_opts none;
	struct checkwalk w = { .file = file, .opts = opts ? opts : &none,
			       .res = res, .err = err };
	int ret = check_run(&w);

	checkwalk_fini(&w);
	return ret;
}
