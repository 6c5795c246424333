#include "fuse/loopdev.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

bool loopdev_backing(const char *name, char *path, int size)
{
	char file[PATH_MAX];
	bool found;
	FILE *f;

	if (snprintf(file, sizeof(file), "/sys/block/%s/loop/backing_file",
		     name) >= (int)sizeof(file))
		return false;
	f = fopen(file, "re");
	if (!f)
		return false;
	found = fgets(path, size, f);
	fclose(f);
	if (found)
		path[strcspn(path, "\n")] = '\0';
	return found;
}

/* By its own word: a path leads elsewhere when folders are renamed. */
static bool ask(const char *name, struct loop_info64 *info)
{
	char path[300];
	bool told;
	int fd;

	snprintf(path, sizeof(path), "/dev/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return false;
	told = !ioctl(fd, LOOP_GET_STATUS64, info);
	close(fd);
	return told;
}

/* Not every user may ask the device. */
static bool is_on(const char *name, dev_t dev, ino_t ino)
{
	struct loop_info64 info;
	char path[PATH_MAX];
	struct stat st;

	if (ask(name, &info))
		return info.lo_device == dev && info.lo_inode == ino;
	return loopdev_backing(name, path, sizeof(path)) && !stat(path, &st) &&
	       st.st_dev == dev && st.st_ino == ino;
}

bool loopdev_on(dev_t dev, ino_t ino, char *name, size_t size)
{
	DIR *d = opendir("/sys/block");
	const struct dirent *e;
	bool found = false;

	while (d && !found && (e = readdir(d))) {
		found = !strncmp(e->d_name, "loop", 4) &&
			is_on(e->d_name, dev, ino);
		if (found)
			snprintf(name, size, "%s", e->d_name);
	}
	if (d)
		closedir(d);
	return found;
}
