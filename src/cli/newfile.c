#include "cli/newfile.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/cmd.h"

/* Take the locks, then empty it: an old one loses its content only when they
 * are ours. A device is taken as it is. */
static int take_over(struct hostfile *f, bool *made, struct err *err)
{
	struct host_stat st;
	int ret = hostlock_take(f, HOSTLOCK_CREATE, err);

	if (ret && ret != -EOPNOTSUPP) {
		*made = false; /* another program's by now */
		return ret;
	}
	ret = hostfile_stat(f, &st);
	if (!ret && !st.block_device)
		ret = hostfile_truncate(f, 0);
	return ret ? err_set_sys(err, ret, "cannot empty the file") : 0;
}

int newfile_open(struct newfile *n, bool force, unsigned flags,
		 struct err *err)
{
	struct stat st;
	int ret;

	n->made = stat(n->path, &st) < 0 && errno == ENOENT;
	if (!n->made && !force &&
	    ((S_ISREG(st.st_mode) && st.st_size) || S_ISBLK(st.st_mode)))
		return err_set(err, -EEXIST, "the file exists and is not empty;"
			       " choose another name, or --force");
	ret = hostfile_open(&n->f, AT_FDCWD, n->path,
			    flags | HOSTFILE_RDWR |
				    (n->made ? HOSTFILE_CREATE : 0), err);
	if (ret)
		n->made = false;
	else
		ret = take_over(n->f, &n->made, err);
	return ret;
}

/* A new file is durable when its name is. */
static int sync_folder(const char *path, struct err *err)
{
	autofree char *dir = cmd_beside(path, ".");
	int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int ret = 0;

	/* a folder that may be searched but not read cannot be synced */
	if (fd < 0)
		return 0;
	if (fsync(fd) < 0 && errno != EINVAL)
		ret = err_set_sys(err, -errno, "cannot sync the folder");
	close(fd);
	return ret;
}

int newfile_close(struct newfile *n, int ret, struct err *err)
{
	/* while the locks are held, so that it is nobody else's by now */
	if (ret && n->made)
		unlink(n->path);
	if (n->f)
		hostfile_close(n->f);
	return !ret && n->made ? sync_folder(n->path, err) : ret;
}
