#include "core/admin/rebase.h"

#include <errno.h>
#include <string.h>

#include "core/admin/relayout.h"
#include "core/format/qcow2.h"
#include "core/image/open.h"

static int check(const char *name, const char *format, struct err *err)
{
	if (format && strcmp(format, "raw") && strcmp(format, "qcow2"))
		return err_set(err, -EINVAL,
			       "the format of a backing file is raw or qcow2");
	if (!name)
		return 0;
	if (!*name || strlen(name) > QCOW2_MAX_BACKING_NAME)
		return err_set(err, -EINVAL,
			       "the backing file's name must have 1 to %u bytes",
			       QCOW2_MAX_BACKING_NAME);
	if (!format)
		return err_set(err, -EINVAL,
			       "the backing file's format is not given; say -F raw or -F qcow2");
	return 0;
}

int rebase_image(struct image *img, const char *name, const char *format,
		 struct err *err)
{
	struct relayout to = { .backing = name, .format = format };
	int r = check(name, format, err);

	if (r < 0)
		return r;
	if (name && img->geom.data_raw)
		return err_set(err, -EINVAL,
			       "its data file is the disk as raw, and that goes with no backing file");
	r = gate_quiesce(img);
	if (r < 0)
		return err_set_sys(err, r, "cannot change the header");
	to.header = img->meta.header;
	r = relayout_header(img, &to, err);
	gate_open(img);
	return r;
}
