#include "cli/newfile.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/cmd.h"

static int refuse_content(struct err *err)
{
	return err_set(err, -EEXIST, "the file exists and is not empty;"
		       " choose another name, or --force");
}

/* Take the locks. What the file holds may have come after the first look. */
static int take_over(struct newfile *n, bool force, struct err *err)
{
	struct host_stat st;
	int ret = hostlock_take(n->f, HOSTLOCK_CREATE, err);

	if (!ret || ret == -EOPNOTSUPP) {
		ret = hostfile_stat(n->f, &st);
		if (ret)
			return err_set_sys(err, ret, "cannot stat");
		if (force || (!st.block_device && !st.size))
			return 0;
		ret = refuse_content(err);
	}
	n->made = false; /* another program's by now */
	return ret;
}

int newfile_open(struct newfile *n, bool force, unsigned flags,
		 struct err *err)
{
	struct stat st;
	bool there = !stat(n->path, &st);
	int ret;

	n->made = !there && errno == ENOENT;
	if (there && !force &&
	    ((S_ISREG(st.st_mode) && st.st_size) || S_ISBLK(st.st_mode)))
		return refuse_content(err);
	ret = hostfile_open(&n->f, AT_FDCWD, n->path,
			    flags | HOSTFILE_RDWR |
				    (n->made ? HOSTFILE_CREATE : 0), err);
	if (ret)
		n->made = false;
	else
		ret = take_over(n, force, err);
	return ret;
}

int newfile_sync_name(const char *path, struct err *err)
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
	return !ret && n->made ? newfile_sync_name(n->path, err) : ret;
}
