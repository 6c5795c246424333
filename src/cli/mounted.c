#include "cli/mounted.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "fuse/mountpoint.h"

bool mounted_at(const char *path, char *source, size_t size)
{
	autofree char *full = realpath(path, NULL);
	struct mountpoint mp;

	if (!full || !mountpoint_find(full, &mp) || !mountpoint_is_ours(&mp))
		return false;
	snprintf(source, size, "%s", mp.source);
	return true;
}

static int open_disk(const char *path)
{
	char in[PATH_MAX];
	struct stat st;

	if (stat(path, &st) < 0)
		return -1;
	if (!S_ISDIR(st.st_mode))
		return open(path, O_RDONLY | O_CLOEXEC);
	snprintf(in, sizeof(in), "%s/%s", path, NODE_DISK_NAME);
	return open(in, O_RDONLY | O_CLOEXEC);
}

static int ask(const char *path, unsigned long what, void *arg,
	       struct err *err)
{
	int fd = open_disk(path);
	int r = 0;

	if (fd < 0)
		return err_set_sys(err, -errno, "cannot open the mounted disk");
	if (ioctl(fd, what, arg) < 0)
		r = err_set_sys(err, -errno, "cannot ask the server of the mount");
	close(fd);
	return r;
}

int mounted_order(const char *path, struct ctl_order *order, struct err *err)
{
	int r = ask(path, CTL_IOC_ORDER, order, err);

	if (r < 0)
		return r;
	return order->result < 0 ? err_set(err, order->result, "%s", order->text)
				 : 0;
}

int mounted_status(const char *path, struct ctl_status *st, struct err *err)
{
	return ask(path, CTL_IOC_STATUS, st, err);
}

int mounted_check(const char *path, struct ctl_check *out, struct err *err)
{
	int r = ask(path, CTL_IOC_CHECK, out, err);

	if (r < 0)
		return r;
	return out->result < 0 ? err_set(err, out->result, "%s", out->text) : 0;
}

#define TRIES 20

bool mounted_again(unsigned *tries)
{
	const struct timespec pause = { .tv_nsec = 10000000L };

	if (++*tries >= TRIES)
		return false;
	nanosleep(&pause, NULL);
	return true;
}
