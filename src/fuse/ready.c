#include "fuse/ready.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"

void ready_reserve_stdio(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
}

static pid_t waited_for;
static volatile sig_atomic_t given_up;

static void give_up(int sig)
{
	(void)sig;
	given_up = true;
	kill(waited_for, SIGTERM);
}

static const int end_signals[] = { SIGTERM, SIGINT, SIGHUP };

/* Who ends the parent, as a time limit does, means the mount. */
static void pass_signals(pid_t child)
{
	const struct sigaction sa = { .sa_handler = give_up };
	struct sigaction old;

	waited_for = child;
	for (unsigned i = 0; i < 3; i++)
		if (!sigaction(end_signals[i], NULL, &old) &&
		    old.sa_handler != SIG_IGN)
			sigaction(end_signals[i], &sa, NULL);
}

/* fork(), and no signal ends the parent alone. */
static pid_t fork_passing(void)
{
	sigset_t set, old;
	pid_t pid;

	sigemptyset(&set);
	for (unsigned i = 0; i < 3; i++)
		sigaddset(&set, end_signals[i]);
	sigprocmask(SIG_BLOCK, &set, &old);
	pid = fork();
	if (pid > 0)
		pass_signals(pid);
	sigprocmask(SIG_SETMASK, &old, NULL);
	return pid;
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
	if (n == 1 && !given_up)
		return 0;
	while (waitpid(child, &ws, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(ws))
		return given_up ? 1 : WEXITSTATUS(ws);
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
	pid = fork_passing();
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

/* Has the file at PATH something else in it than a number? */
static bool is_other_file(const char *path)
{
	struct stat st;
	int pid, n;
	FILE *f;

	if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
		return false;
	f = fopen(path, "re");
	if (!f)
		return false;
	n = fscanf(f, "%d", &pid);
	fclose(f);
	return n == 0;
}

int ready_check(const struct ready *r, struct err *err)
{
	autofree char *dir = NULL;
	char *slash;

	/* a mistaken name, of the image itself perhaps, would empty that file */
	if (r->pidfile && is_other_file(r->pidfile))
		return err_set(err, -EEXIST, "pid file %s: it exists, and is no "
			       "pid file", r->pidfile);
	if (!r->pidfile || !access(r->pidfile, W_OK))
		return 0;
	dir = errno == ENOENT ? strdup(r->pidfile) : NULL;
	slash = dir ? strrchr(dir, '/') : NULL;
	if (slash) {
		slash[slash == dir] = '\0';
		if (!access(dir, W_OK | X_OK))
			return 0;
	}
	return err_set_sys(err, -errno, "pid file %s", r->pidfile);
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

/* A parent that was killed could not pass it on. */
static int check_parent(const struct ready *r, struct err *err)
{
	struct pollfd p = { .fd = r->parent };

	return poll(&p, 1, 0) > 0 && (p.revents & POLLERR) ?
		       err_set(err, -ECANCELED, "who waited for the mount has "
			       "gone") : 0;
}

int ready_announce(struct ready *r, struct err *err)
{
	char text[64];
	int rc = check_parent(r, err);

	if (!rc)
		rc = write_pidfile(r, err);
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

/* Another server may have been started with the same file since. */
static bool pidfile_is_ours(const struct ready *r)
{
	FILE *f = fopen(r->pidfile, "re");
	int pid = 0;

	if (!f)
		return false;
	if (fscanf(f, "%d", &pid) != 1)
		pid = 0;
	fclose(f);
	return pid == (int)getpid();
}

void ready_end(struct ready *r)
{
	if (r->pidfile_made && pidfile_is_ours(r))
		unlink(r->pidfile);
	r->pidfile_made = false;
}
