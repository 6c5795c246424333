/* cmd: what all sub-commands do alike; see cmd.h. */
#include "cli/cmd.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool cmd_parse(const struct args_spec *spec, void *into, int argc, char **argv,
	       int *status)
{
	struct err err = { "" };
	int ret = args_parse(spec, into, argc, argv, &err);

	if (ret < 0)
		*status = cmd_fail(NULL, &err);
	else if (ret == ARGS_HELPED)
		*status = 0;
	return ret == 0;
}

int cmd_fail(const char *image, const struct err *err)
{
	char name[1024];

	if (!image)
		fprintf(stderr, "rawcow: %s\n", err->text);
	else
		fprintf(stderr, "rawcow: %s: %s\n",
			err_escape(name, sizeof(name), image, strlen(image)),
			err->text);
	return 1;
}

int cmd_open(struct hostfile **out, const char *path, enum hostlock_role role,
	     struct err *err)
{
	struct hostfile *f;
	int ret = hostfile_open(&f, AT_FDCWD, path, HOSTFILE_BLKDEV_OK, err);

	if (ret)
		return ret;
	ret = hostlock_take(f, role, err);
	if (ret && ret != -EOPNOTSUPP) {
		if (ret == -EAGAIN)
			err_append(err, ", or read it as it is with -U");
		err_wrap(err, "%s", path);
		hostfile_close(f);
		return ret;
	}
	*out = f;
	return 0;
}

int cmd_open_rw(struct hostfile **out, const char *path, struct err *err)
{
	int ret = hostfile_open(out, AT_FDCWD, path,
				HOSTFILE_BLKDEV_OK | HOSTFILE_RDWR, err);

	if (ret)
		return ret;
	ret = hostlock_take(*out, HOSTLOCK_IMAGE_RW, err);
	if (ret) {
		err_wrap(err, "%s", path);
		hostfile_close(*out);
	}
	return ret;
}

char *cmd_beside(const char *path, const char *name)
{
	const char *slash = strrchr(path, '/');
	char *out = NULL;

	if (name[0] == '/' || !slash)
		return strdup(name);
	if (asprintf(&out, "%.*s%s", (int)(slash + 1 - path), path, name) < 0)
		return NULL;
	return out;
}

bool cmd_is_url(const char *name)
{
	const char *p = name;

	while (isalnum((unsigned char)*p) || *p == '.' || *p == '+' ||
	       *p == '-')
		p++;
	return p > name && *p == ':';
}
