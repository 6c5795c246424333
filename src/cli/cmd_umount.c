/*
 * rawcow umount: commit, unmount, wait for the server's end, and tell by the
 * exit status whether all was saved.
 *
 * The commit is asked for by an ioctl on the disk file, whose answer counts
 * already. Then the mount goes, and the server, once it has closed the image,
 * sends its last result to a socket that the ioctl named (fuse/ctl.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/cmd.h"
#include "cli/mounted.h"
#include "fuse/ctl.h"
#include "fuse/mountpoint.h"

enum { SAVED = 0, FAILED = 1, NOT_SAVED = 74 };

/* Busy for a moment is normal: a desktop looks at new files. 3 s in all. */
#define TRIES 6
#define FIRST_WAIT_MS 50

/* Seconds: until it is said what is waited for, and for others to let go. */
#define TOLD_AFTER 3
#define TIMEOUT 30
#define TIMEOUT_MAX 86400

struct job {
	const char *path; /* resolved */
	unsigned timeout; /* seconds */
	struct mountpoint mp;
	char disk[PATH_MAX + sizeof(NODE_DISK_NAME) + 1];
	int sock;  /* where the server's last words come */
	int pidfd; /* the server; -1 not known */
	struct ctl_request ctl;
};

/* fusermount3 would refuse as well, but not say why. */
static int check_owner(const struct mountpoint *mp, struct err *err)
{
	const struct passwd *pw;

	if (geteuid() == 0 || geteuid() == mp->owner_uid)
		return 0;
	pw = getpwuid(mp->owner_uid);
	return err_set(err, -EPERM, "mounted by %s (uid %u): only that user "
		       "and root can unmount it", pw ? pw->pw_name : "a user",
		       (unsigned)mp->owner_uid);
}

static int find_mount(struct job *j, struct err *err)
{
	struct stat st = { .st_mode = 0 };

	if (!mountpoint_find(j->path, &j->mp)) {
		err_set(err, -EINVAL, "nothing is mounted there");
		mounted_hint(j->path, err);
		return -EINVAL;
	}
	if (!mountpoint_is_ours(&j->mp))
		return err_set(err, -EINVAL, "a mount of type %s, not rawcow's",
			       j->mp.fstype);
	if (check_owner(&j->mp, err) < 0)
		return -EPERM;
	snprintf(j->disk, sizeof(j->disk), "%s", j->path);
	if (stat(j->path, &st) < 0 && errno == ENOTCONN)
		return err_set(err, -ENOTCONN, "its server is gone (killed?), "
			       "and what it had not committed with it; run: "
			       "fusermount3 -uz %s", j->path);
	/* a folder that may not be looked at: try the name in it as well */
	if (S_ISDIR(st.st_mode))
		snprintf(j->disk, sizeof(j->disk), "%s/%s", j->path,
			 NODE_DISK_NAME);
	return 0;
}

static int open_socket(struct job *j)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(sa.sun_family);
	int on = 1;

	j->sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			 0);
	if (j->sock < 0)
		return -errno;
	/* no name: the kernel chooses an abstract one */
	if (bind(j->sock, (struct sockaddr *)&sa, len) < 0 ||
	    setsockopt(j->sock, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
		return -errno;
	len = sizeof(sa);
	if (getsockname(j->sock, (struct sockaddr *)&sa, &len) < 0)
		return -errno;
	j->ctl.addr_len = len - offsetof(struct sockaddr_un, sun_path) - 1;
	memcpy(j->ctl.addr, sa.sun_path + 1, j->ctl.addr_len);
	return 0;
}

/* One message of KIND from the server: its result and process. */
static bool receive(struct job *j, enum ctl_kind kind, int *result, pid_t *pid)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(struct ucred))];
	} control;
	struct ctl_message m;
	struct iovec iov = { &m, sizeof(m) };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1,
			    .msg_control = &control,
			    .msg_controllen = sizeof(control) };
	const struct cmsghdr *c;
	struct ucred cred = { 0 };

	while (recvmsg(j->sock, &h, MSG_CMSG_CLOEXEC) == sizeof(m)) {
		c = CMSG_FIRSTHDR(&h);
		if (c && c->cmsg_type == SCM_CREDENTIALS)
			memcpy(&cred, CMSG_DATA(c), sizeof(cred));
		if (m.kind == kind &&
		    (cred.uid == 0 || cred.uid == j->mp.owner_uid)) {
			*result = m.result;
			*pid = cred.pid;
			return true;
		}
		h.msg_controllen = sizeof(control);
	}
	return false;
}

/* fsync sends what the kernel's cache holds, the ioctl commits the rest. */
static int ask(const char *disk, struct ctl_request *ctl)
{
	int fd = open(disk, O_RDONLY | O_CLOEXEC);
	int synced = 0;
	int rc = 0;

	if (fd < 0)
		return -errno;
	if (fsync(fd) < 0)
		synced = -errno;
	if (ioctl(fd, CTL_IOC_COMMIT, ctl) < 0)
		rc = -errno;
	else if (synced && !ctl->result)
		ctl->result = synced;
	close(fd);
	return rc;
}

/* Root may not look into a user's mount; a process with that user's ids may. */
static int ask_as_owner(struct job *j)
{
	int fds[2];
	int ws;
	int rc;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		rc = setgroups(0, NULL) ||
		     setresgid(j->mp.owner_gid, j->mp.owner_gid,
			       j->mp.owner_gid) ||
		     setresuid(j->mp.owner_uid, j->mp.owner_uid,
			       j->mp.owner_uid);
		/* a folder or a file? only now it can be seen */
		if (!rc) {
			char in[PATH_MAX + sizeof(NODE_DISK_NAME) + 1];

			snprintf(in, sizeof(in), "%s/%s", j->path,
				 NODE_DISK_NAME);
			rc = ask(access(in, F_OK) ? j->path : in, &j->ctl);
		}
		if (!rc && write(fds[1], &j->ctl, sizeof(j->ctl)) < 0)
			rc = 1;
		_exit(rc ? 1 : 0);
	}
	close(fds[1]);
	rc = pid > 0 && read(fds[0], &j->ctl, sizeof(j->ctl)) ==
				(ssize_t)sizeof(j->ctl) ? 0 : -EACCES;
	close(fds[0]);
	while (pid > 0 && waitpid(pid, &ws, 0) < 0 && errno == EINTR)
		;
	return rc;
}

static int ask_commit(struct job *j)
{
	int result;
	pid_t pid = 0;
	int rc;

	if (geteuid() == 0 && j->mp.owner_uid != 0)
		rc = ask_as_owner(j);
	else
		rc = ask(j->disk, &j->ctl);
	if (rc)
		return rc;
	if (receive(j, CTL_HELLO, &result, &pid) && pid > 0)
		j->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	return 0;
}

/* Another one may have been quicker. */
static bool is_there(const struct job *j)
{
	struct mountpoint mp;

	return mountpoint_find(j->path, &mp) && mp.dev == j->mp.dev;
}

static int unmount_once(const struct job *j)
{
	int rc = mountpoint_unmount(j->path, MOUNTPOINT_FREE);

	return rc && is_there(j) ? rc : 0;
}

static int unmount(const struct job *j, struct err *err)
{
	unsigned ms = FIRST_WAIT_MS;
	char users[256];
	int rc;

	for (int i = 0; (rc = unmount_once(j)) == -EBUSY && i < TRIES; i++) {
		struct timespec t = { ms / 1000, ms % 1000 * 1000000L };

		nanosleep(&t, NULL);
		ms *= 2;
	}
	if (rc != -EBUSY)
		return rc ? err_set_sys(err, rc, geteuid() ?
					"unmounting with fusermount3" :
					"unmounting") : 0;
	mountpoint_users(j->path, users, sizeof(users));
	return err_set(err, rc, "in use, and still mounted; %s", *users ?
		       users : "a process that may not be seen uses it "
		       "(fuser -vm shows it to root)");
}

/*
 * After SECONDS the server has not ended. It serves whoever else has the mount,
 * and goes when that does. It is not told to end: it can no longer reach the mount
 * to have the kernel send what programs there have written.
 */
static int waited(const struct job *j, unsigned seconds, struct err *err)
{
	char holders[PATH_MAX + 64];
	char shown[1024];

	if (seconds < j->timeout && seconds != TOLD_AFTER)
		return 0;
	mountpoint_holders(j->mp.dev, holders, sizeof(holders));
	if (*holders && seconds >= j->timeout)
		return err_set(err, -EBUSY, "unmounted here, but %s, and its "
			       "server goes on until that ends", holders);
	if (seconds == TOLD_AFTER)
		fprintf(stderr, "rawcow: %s: unmounted here, waiting: %s\n",
			err_escape(shown, sizeof(shown), j->path,
				   strlen(j->path)),
			*holders ? holders : "its server is closing the image");
	return 0;
}

/* The server has ended or is about to: its last words. */
static int last_words(struct job *j, struct err *err)
{
	struct pollfd p[2] = { { .fd = j->sock, .events = POLLIN },
			       { .fd = j->pidfd, .events = POLLIN } };
	unsigned seconds = 0;
	int n = 0, result = 0;
	bool heard = false;
	pid_t pid;

	if (j->pidfd < 0 || !j->ctl.hello)
		return err_set(err, -EIO, "unmounted, but its server could not "
			       "be asked whether all was saved; see its log");
	while (!(p[1].revents & POLLIN)) {
		if (n == 0 && !heard && waited(j, seconds++, err) < 0)
			return -EBUSY;
		n = poll(p, 2, 1000);
		if (n < 0 && errno != EINTR)
			break;
		if (!heard)
			heard = receive(j, CTL_BYE, &result, &pid);
		if (heard)
			p[0].fd = -1;
	}
	if (!heard && !receive(j, CTL_BYE, &result, &pid))
		return err_set(err, -EIO, "its server ended without saying "
			       "that all was saved");
	if (result)
		return err_set_sys(err, result, "its last commit failed, data "
				   "may be lost");
	return 0;
}

static int run(struct job *j, struct err *err)
{
	int rc = find_mount(j, err);

	if (rc)
		return FAILED;
	rc = open_socket(j);
	if (!rc)
		rc = ask_commit(j);
	if (rc && !is_there(j)) {
		err_set(err, -EINVAL, "nothing is mounted there any more");
		return FAILED;
	}
	/* -o uid= can shut out the very user who mounts: go on unheard */
	if (rc && rc != -EACCES && rc != -EPERM) {
		err_set_sys(err, rc, "its server does not answer, it stays "
			    "mounted");
		return FAILED;
	}
	if (unmount(j, err))
		return FAILED;
	if (last_words(j, err))
		return NOT_SAVED;
	if (j->ctl.result) {
		err_set_sys(err, j->ctl.result, "a commit failed, data may be "
			    "lost");
		return NOT_SAVED;
	}
	return SAVED;
}

struct umount_args {
	const char *mountpoint;
	unsigned timeout; /* seconds */
};

static int take_timeout(void *field, const char *name, const char *value,
			struct err *err)
{
	char *end = NULL;
	unsigned long v = 0;

	if (*value >= '0' && *value <= '9')
		v = strtoul(value, &end, 10);
	if (!end || *end || v > TIMEOUT_MAX)
		return err_set(err, -EINVAL, "%s: allowed is 0 to %d seconds",
			       name, TIMEOUT_MAX);
	*(unsigned *)field = (unsigned)v;
	return 0;
}

static const struct args_opt options[] = {
	{ 't', "timeout", "SECONDS", take_timeout,
	  offsetof(struct umount_args, timeout),
	  "how long to wait for others who still have it (30)" },
	ARGS_END
};

static const struct args_spec spec = {
	.usage = "umount [OPTION...] MOUNTPOINT",
	.what = "Commit, unmount, and wait until the image is closed.",
	.opts = options,
	.tail = "Exit status: 0 all was saved; 1 not unmounted; 74 data may be "
		"lost, or others\nstill have it.",
	.min_words = 1,
	.max_words = 1,
	.wants = "one mount point",
	.words = { offsetof(struct umount_args, mountpoint) },
};

int cmd_umount(int argc, char **argv)
{
	struct job j = { .sock = -1, .pidfd = -1 };
	struct umount_args a = { .timeout = TIMEOUT };
	struct err err = { "" };
	char *path;
	int status;

	if (!cmd_parse(&spec, &a, argc, argv, &status))
		return status;
	path = mountpoint_resolve(a.mountpoint);
	if (!path) {
		err_set(&err, -errno, "%s", strerror(errno));
		return cmd_fail(a.mountpoint, &err);
	}
	j.path = path;
	j.timeout = a.timeout;
	status = run(&j, &err);
	if (status != SAVED)
		(void)cmd_fail(path, &err);
	free(path);
	if (j.sock >= 0)
		close(j.sock);
	if (j.pidfd >= 0)
		close(j.pidfd);
	return status;
}
