/*
 * hostlock: which roles exclude each other, and what the refusal says. The
 * locks belong to the open file, so two opens in one process conflict as two
 * processes do.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/host/hostlock.h"
#include "lib/hostfault.h"
#include "lib/hostmem.h"
#include "lib/tmpdir.h"

static char *dir, *path;

static void setup(void)
{
	int fd;

	dir = tmpdir_make();
	path = tmpdir_path(dir, "image");
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	ck_assert_int_ge(fd, 0);
	close(fd);
}

static void teardown(void)
{
	free(path);
	tmpdir_remove(dir);
}

static struct hostfile *open_image(void)
{
	struct hostfile *f = NULL;
	struct err err;

	ck_assert_int_eq(hostfile_open(&f, AT_FDCWD, path, HOSTFILE_RDWR, &err),
			 0);
	return f;
}

#define RW HOSTLOCK_IMAGE_RW
#define RO HOSTLOCK_IMAGE_RO
#define SH HOSTLOCK_IMAGE_SHARED
#define CR HOSTLOCK_CREATE

/* Verdicts of QEMU 7.2 for the same pairs. */
static const struct {
	enum hostlock_role first, second;
	int ret;
	const char *text;
} pairs[] = {
	{ RW, RW, -EAGAIN, "does not share the \"write\" lock" },
	{ RW, RO, -EAGAIN, "holds the \"write\" lock" },
	{ RW, SH, 0, NULL },
	{ RW, CR, -EAGAIN, "does not share the \"write\" lock" },
	{ RO, RW, -EAGAIN, "does not share the \"write\" lock" },
	{ RO, RO, 0, NULL },
	{ RO, SH, 0, NULL },
	{ RO, CR, -EAGAIN, "does not share the \"write\" lock" },
	{ SH, RW, 0, NULL },
	{ SH, RO, 0, NULL },
	{ SH, SH, 0, NULL },
	{ SH, CR, 0, NULL },
	{ CR, RW, -EAGAIN, "does not share the \"resize\" lock" },
	{ CR, RO, -EAGAIN, "holds the \"write\" lock" },
	{ CR, SH, 0, NULL },
	{ CR, CR, -EAGAIN, "does not share the \"resize\" lock" },
};

START_TEST(pair)
{
	struct hostfile *a = open_image();
	struct hostfile *b = open_image();
	struct err err = { "" };
	char pid[32];

	ck_assert_int_eq(hostlock_take(a, pairs[_i].first, &err), 0);
	ck_assert_msg(hostlock_take(b, pairs[_i].second, &err) == pairs[_i].ret,
		      "pair %d: %s", _i, err.text);
	if (pairs[_i].ret < 0) {
		ck_assert_msg(strstr(err.text, pairs[_i].text), "%s", err.text);
		snprintf(pid, sizeof(pid), "process %ld (", (long)getpid());
		ck_assert_msg(strstr(err.text, pid), "%s", err.text);
		/* The loser has given everything back. */
		hostlock_drop(a, pairs[_i].first);
		ck_assert_int_eq(hostlock_take(a, RW, &err), 0);
	}
	hostfile_close(a);
	hostfile_close(b);
}
END_TEST

START_TEST(close_releases)
{
	struct hostfile *a = open_image();
	struct hostfile *b = open_image();

	ck_assert_int_eq(hostlock_take(a, RW, NULL), 0);
	ck_assert_int_eq(hostlock_take(b, RW, NULL), -EAGAIN);
	hostfile_close(a);
	ck_assert_int_eq(hostlock_take(b, RW, NULL), 0);
	hostfile_close(b);
}
END_TEST

static bool locked(struct hostfile *f, int byte)
{
	return f->ops->lock(f->ctx, HOST_LOCK_TEST, (uint64_t)byte) == -EAGAIN;
}

START_TEST(bytes)
{
	static const int want[4][6] = {
		[RW] = { 100, 101, 103, 201, 203 },
		[RO] = { 100, 201, 203 },
		[SH] = { 100 },
		[CR] = { 101, 103, 203 },
	};
	struct hostfile *a = open_image();
	struct hostfile *b = open_image();

	ck_assert_int_eq(hostlock_take(a, (enum hostlock_role)_i, NULL), 0);
	for (int byte = 0; byte < 300; byte++) {
		bool in = false;

		for (int i = 0; i < 5; i++)
			in |= byte && want[_i][i] == byte;
		ck_assert_msg(locked(b, byte) == in, "byte %d", byte);
	}
	hostfile_close(a);
	hostfile_close(b);
}
END_TEST

START_TEST(names_other_process)
{
	struct hostfile *f = open_image();
	struct err err = { "" };
	char pid[32];
	int ready[2];
	pid_t child;
	char c;

	ck_assert_int_eq(pipe(ready), 0);
	child = fork();
	if (child == 0) {
		struct hostfile *mine = open_image();

		if (hostlock_take(mine, RW, NULL) == 0)
			(void)!write(ready[1], "x", 1);
		pause();
		_exit(0);
	}
	ck_assert_int_eq(read(ready[0], &c, 1), 1);
	ck_assert_int_eq(hostlock_take(f, RO, &err), -EAGAIN);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	snprintf(pid, sizeof(pid), "process %ld (", (long)child);
	ck_assert_msg(strstr(err.text, pid), "%s", err.text);
	ck_assert_int_eq(hostlock_take(f, RO, &err), 0);
	hostfile_close(f);
	close(ready[0]);
	close(ready[1]);
}
END_TEST

START_TEST(without_locks)
{
	struct hostmem *m = hostmem_new();
	struct hostfile *f;

	ck_assert_int_eq(hostmem_open(&f, m, true), 0);
	ck_assert_int_eq(hostlock_take(f, RW, NULL), -EOPNOTSUPP);
	hostfile_close(f);
	hostmem_free(m);
}
END_TEST

/* A failure at any call leaves no byte locked. */
START_TEST(failure_gives_back)
{
	struct hostfault_rule rule = { HOSTFAULT_LOCK, HOSTFAULT_ERROR, -EIO,
				       (uint64_t)_i, 1 };
	struct hostfault *h = hostfault_new();
	struct hostfile *b = open_image();
	struct hostfile *f;

	ck_assert_int_eq(hostfault_wrap(h, &f, open_image()), 0);
	hostfault_set(h, &rule);
	ck_assert_int_eq(hostlock_take(f, RW, NULL), -EIO);
	for (int byte = 100; byte < 205; byte++)
		ck_assert(!locked(b, byte));
	rule.error = -EINTR;
	hostfault_set(h, &rule);
	ck_assert_int_eq(hostlock_take(f, RW, NULL), 0);
	hostfile_close(f);
	hostfile_close(b);
	hostfault_free(h);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("hostlock");
	TCase *t = tcase_create("hostlock");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, pair, 0, sizeof(pairs) / sizeof(pairs[0]));
	tcase_add_loop_test(t, bytes, 0, 4);
	tcase_add_test(t, close_releases);
	tcase_add_test(t, names_other_process);
	tcase_add_test(t, without_locks);
	tcase_add_loop_test(t, failure_gives_back, 0, 10);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
