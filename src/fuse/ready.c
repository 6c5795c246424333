#include "fuse/ready.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

void ready_reserve_stdio(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
}

/* The parent: until the byte comes, or the child's end. */
static int wait_for_child(int fd, pid_t child)
{
	ssize_t n;
	char byte;
	int ws = 0;

	do
		n = read(fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	close(fd);
	if (n == 1)
		return 0;
	while (waitpid(child, &ws, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(ws))
		return WEXITSTATUS(ws);
	fprintf(stderr, "rawcow: the server ended on signal %d\n",
		WTERMSIG(ws));
	return 1;
}

int ready_fork(struct ready *r, int *status)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid < 0) {
		int rc = -errno;

		close(fds[0]);
		close(fds[1]);
		return rc;
	}
	if (pid == 0) {
		close(fds[0]);
		r->parent = fds[1];
		return 0;
	}
	close(fds[1]);
	*status = wait_for_child(fds[0], pid);
	return 1;
}

static int write_pidfile(struct ready *r, struct err *err)
{
	FILE *f;

	if (!r->pidfile)
		return 0;
	f = fopen(r->pidfile, "we");
	if (!f)
		return err_set_sys(err, -errno, "pid file %s", r->pidfile);
	r->pidfile_made = true;
	fprintf(f, "%d\n", (int)getpid());
	if (fclose(f))
		return err_set_sys(err, -errno, "pid file %s", r->pidfile);
	return 0;
}

static int leave_terminal(struct err *err)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (fd < 0 || chdir("/") < 0)
		return err_set_sys(err, -errno, "going to the background");
	setsid();
	for (int i = 0; i <= STDERR_FILENO; i++)
		dup2(fd, i);
	close(fd);
	return 0;
}

int ready_announce(struct ready *r, struct err *err)
{
	char text[64];
	int rc = write_pidfile(r, err);

	if (!rc && r->parent >= 0)
		rc = leave_terminal(err);
	if (rc)
		return rc;
	snprintf(text, sizeof(text), "READY=1\nMAINPID=%d", (int)getpid());
	ready_notify(text);
	if (r->ready_fd >= 0) {
		/* a reader that is gone is no reason to fail the mount */
		if (write(r->ready_fd, "ready\n", 6) < 0)
			errno = 0;
		close(r->ready_fd);
		r->ready_fd = -1;
	}
	if (r->parent >= 0) {
		if (write(r->parent, "r", 1) < 0)
			errno = 0;
		close(r->parent);
		r->parent = -1;
	}
	return 0;
}

void ready_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	size_t n = path ? strlen(path) : 0;
	int fd;

	if (n < 2 || n >= sizeof(sa.sun_path))
		return;
	memcpy(sa.sun_path, path, n);
	if (path[0] == '@')
		sa.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&sa,
	       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
	close(fd);
}

void ready_end(struct ready *r)
{
	if (r->pidfile_made)
		unlink(r->pidfile);
	r->pidfile_made = false;
}
