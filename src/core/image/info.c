/* info: the facts about an image; see info.h. */
#include "core/image/info.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "core/format/headerext.h"
#include "core/image/gate.h"
#include "core/format/qcow2.h"
#include "core/image/snaplist.h"
#include "core/image/unlock.h"

static char *copy_text(const void *p, size_t len)
{
	char *s = malloc(len + 1);

	if (!s)
		return NULL;
	memcpy(s, p, len);
	s[len] = '\0';
	return s;
}

static int read_header(struct info *info, struct hostfile *file, uint8_t *buf,
		       size_t cap, struct err *err)
{
	struct host_stat st;
	size_t len;
	int ret = hostfile_stat(file, &st);

	if (ret)
		return err_set_sys(err, ret, "cannot stat");
	info->file_size = st.size;
	info->disk_bytes = st.blocks * 512;
	len = (size_t)NUM_MIN(cap, st.size);
	ret = hostfile_pread(file, buf, len, 0, NULL);
	if (ret)
		return err_set_sys(err, ret, "cannot read the header");
	ret = header_decode(&info->header, buf, len, st.size, err);
	if (!ret)
		header_geom(&info->header, &info->geom);
	return ret;
}

static int note_extension(struct info *info, const struct headerext *x)
{
	char **text = NULL;

	switch (x->type) {
	case QCOW2_EXT_BACKING_FORMAT:
		text = &info->backing_format;
		break;
	case QCOW2_EXT_DATA_FILE:
		text = &info->data_file;
		break;
	case QCOW2_EXT_FEATURE_NAMES:
	case QCOW2_EXT_BITMAPS:
	case QCOW2_EXT_CRYPTO:
		return 0;
	default:
		info->unknown_ext[info->n_unknown_ext++] = x->type;
		return 0;
	}
	*text = copy_text(x->data, x->len);
	return *text ? 0 : -ENOMEM;
}

static int read_names(struct info *info, const uint8_t *buf, size_t len,
		      struct headerext_list *list, struct err *err)
{
	const struct header *h = &info->header;
	int ret = headerext_decode(list, h, buf, len, err);

	if (ret)
		return ret;
	info->unknown_ext = mem_array(list->n, sizeof(*info->unknown_ext));
	if (!info->unknown_ext)
		ret = -ENOMEM;
	for (unsigned i = 0; i < list->n && !ret; i++)
		ret = note_extension(info, &list->ext[i]);
	if (!ret && h->backing_offset && h->backing_size) {
		info->backing_name = copy_text(buf + h->backing_offset,
					       h->backing_size);
		if (!info->backing_name)
			ret = -ENOMEM;
	}
	return ret ? err_set(err, ret, "no memory for names") : 0;
}

static int read_snapshots(struct info *info, struct hostfile *file,
			  struct err *err)
{
	struct snaplist list = { 0 };
	int ret;

	if (!info->header.nb_snapshots)
		return 0;
	ret = snaplist_read(&list, file, &info->header, &info->geom,
			    info->file_size, err);
	if (ret) {
		snaplist_fini(&list);
		return ret;
	}
	info->snapshots = list.snap;
	return 0;
}

/* A broken directory ends the list: check says what is wrong with it. */
static int read_bitmaps(struct info *info, struct hostfile *file,
			const struct headerext_list *ext, struct err *err)
{
	struct err why = { "" };
	int ret = bitmaplist_read(&info->bitmaps, file, &info->header, ext,
				  &info->geom, info->file_size, &why);

	if (ret == -EUCLEAN)
		ret = 0;
	return ret ? err_set(err, ret, "%s", why.text) : 0;
}

/* What is wrong with a broken one, check says. */
static int read_luks(struct info *info, struct hostfile *file,
		     const struct headerext_list *list)
{
	struct unlock_luks l;
	int ret;

	if (info->header.crypt_method != QCOW2_CRYPT_LUKS)
		return 0;
	ret = unlock_read(&l, file, headerext_find(list, QCOW2_EXT_CRYPTO),
			  info->geom.cluster_size, NULL);
	if (ret)
		return ret == -EUCLEAN || ret == -ENOTSUP ? 0 : ret;
	info->luks = mem_array(1, sizeof(*info->luks));
	if (!info->luks)
		return -ENOMEM;
	*info->luks = l.h;
	return 0;
}

int info_read(struct info *info, struct hostfile *file, struct err *err)
{
	size_t cap = 1U << QCOW2_CLUSTER_BITS_MAX;
	struct headerext_list list;
	autofree uint8_t *buf = mem_array(1, cap);
	int ret;

	memset(info, 0, sizeof(*info));
	if (!buf)
		return err_set(err, -ENOMEM, "no memory for the header");
	ret = read_header(info, file, buf, cap, err);
	if (!ret)
		ret = read_names(info, buf,
				 (size_t)NUM_MIN(info->file_size,
						 info->geom.cluster_size),
				 &list, err);
	if (!ret)
		ret = read_bitmaps(info, file, &list, err);
	if (!ret) {
		ret = read_luks(info, file, &list);
		if (ret)
			err_set_sys(err, ret,
				    "cannot read the encryption header");
	}
	if (!ret)
		ret = read_snapshots(info, file, err);
	if (ret)
		info_fini(info);
	return ret;
}

int info_of(struct info *info, struct image *img, struct err *err)
{
	struct epoch_ticket t = gate_enter(img);
	int r = info_read(info, image_file(img), err);

	gate_leave(img, t);
	return r;
}

void info_fini(struct info *info)
{
	for (uint32_t i = 0; info->snapshots && i < info->header.nb_snapshots;
	     i++)
		snaptable_fini(&info->snapshots[i]);
	bitmaplist_fini(&info->bitmaps);
	free(info->snapshots);
	free(info->luks);
	free(info->backing_name);
	free(info->backing_format);
	free(info->data_file);
	free(info->unknown_ext);
	memset(info, 0, sizeof(*info));
}
