#include "cli/layer.h"

#include <stdlib.h>
#include <string.h>

#include "cli/cmd.h"
#include "core/format/qcow2.h"

void layer_fini(struct layer *l)
{
	free(l->path);
	if (!l->raw)
		info_fini(&l->info);
}

int layer_read(struct layer *l, bool shared, struct err *err)
{
	struct hostfile *file;
	int ret = cmd_open(&file, l->path, shared ? HOSTLOCK_IMAGE_SHARED :
						    HOSTLOCK_IMAGE_RO, err);

	if (ret)
		return ret;
	ret = hostfile_stat(file, &l->st);
	if (ret)
		err_set_sys(err, ret, "cannot stat");
	if (!ret && !l->raw)
		ret = info_read(&l->info, file, err);
	if (ret) {
		char name[512];

		err_wrap(err, "%s", err_escape(name, sizeof(name), l->path,
					       strlen(l->path)));
	}
	hostfile_close(file);
	return ret;
}

const char *layer_compression(unsigned type)
{
	return type == QCOW2_COMPRESSION_ZSTD ? "zstd" : "zlib";
}
