/*
 * hostfile: opening, the loops and fall-backs above the table, on the posix,
 * memory, recorder and fault back ends.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/host/hostfile.h"
#include "lib/hostfault.h"
#include "lib/hostmem.h"
#include "lib/hostrecord.h"
#include "lib/tmpdir.h"

#define NOBODY 65534

static char *dir, *path;
static struct err err;

static void setup(void)
{
	int fd;

	dir = tmpdir_make();
	path = tmpdir_path(dir, "image");
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, "content", 7), 7);
	close(fd);
}

static void teardown(void)
{
	free(path);
	tmpdir_remove(dir);
}

static int try_open(const char *name, unsigned flags)
{
	int dirfd = open(dir, O_RDONLY | O_DIRECTORY);
	struct hostfile *f;
	int ret;

	err.text[0] = '\0';
	ret = hostfile_open(&f, dirfd, name, flags, &err);
	if (ret == 0)
		hostfile_close(f);
	else
		ck_assert_msg(strstr(err.text, name), "%s", err.text);
	close(dirfd);
	return ret;
}

static struct hostfile *open_image(void)
{
	struct hostfile *f = NULL;

	ck_assert_int_eq(hostfile_open(&f, AT_FDCWD, path, HOSTFILE_RDWR, &err),
			 0);
	return f;
}

/* --- opening --------------------------------------------------------------*/

START_TEST(open_kinds)
{
	char *fifo = tmpdir_path(dir, "fifo");

	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
	ck_assert_int_eq(try_open("image", 0), 0);
	ck_assert_int_eq(try_open("fifo", HOSTFILE_RDWR), -EMEDIUMTYPE);
	ck_assert_ptr_nonnull(strstr(err.text, "FIFO"));
	ck_assert_int_eq(try_open(".", 0), -EMEDIUMTYPE);
	ck_assert_int_eq(try_open("/dev/null", HOSTFILE_BLKDEV_OK),
			 -EMEDIUMTYPE);
	ck_assert_int_eq(try_open("none", 0), -ENOENT);
	ck_assert_int_eq(try_open("image/x", 0), -ENOTDIR);
	free(fifo);
}
END_TEST

START_TEST(open_beneath)
{
	char *sub = tmpdir_path(dir, "sub");
	char *in = tmpdir_path(dir, "in");
	char *out = tmpdir_path(dir, "out");

	ck_assert_int_eq(mkdir(sub, 0700), 0);
	ck_assert_int_eq(symlink("sub/../image", in), 0);
	ck_assert_int_eq(symlink("/etc/passwd", out), 0);
	ck_assert_int_eq(try_open("image", HOSTFILE_BENEATH), 0);
	ck_assert_int_eq(try_open("in", HOSTFILE_BENEATH), 0);
	ck_assert_int_eq(try_open(path, HOSTFILE_BENEATH), 0);
	ck_assert_int_eq(try_open("out", HOSTFILE_BENEATH), -EXDEV);
	ck_assert_int_eq(try_open("out", 0), 0);
	ck_assert_int_eq(try_open("/etc/passwd", HOSTFILE_BENEATH), -EXDEV);
	ck_assert_int_eq(try_open("../x", HOSTFILE_BENEATH), -EXDEV);
	ck_assert_int_lt(try_open("/proc/self/exe", HOSTFILE_BENEATH), 0);
	free(sub);
	free(in);
	free(out);
}
END_TEST

START_TEST(open_create_keeps_content)
{
	struct hostfile *f;
	struct host_stat st;

	f = open_image();
	hostfile_close(f);
	ck_assert_int_eq(hostfile_open(&f, AT_FDCWD, path,
				       HOSTFILE_RDWR | HOSTFILE_CREATE, &err),
			 0);
	ck_assert_int_eq(hostfile_stat(f, &st), 0);
	ck_assert_uint_eq(st.size, 7);
	hostfile_close(f);
	ck_assert_int_eq(try_open("new", HOSTFILE_RDWR | HOSTFILE_CREATE), 0);
	ck_assert_int_eq(try_open("new", 0), 0);
}
END_TEST

START_TEST(open_not_writable)
{
	bool root = geteuid() == 0;

	ck_assert_int_eq(chmod(dir, 0755), 0);
	ck_assert_int_eq(chmod(path, 0444), 0);
	if (root && seteuid(NOBODY) < 0)
		return; /* a user namespace without others */
	prctl(PR_SET_DUMPABLE, 1); /* or /proc/self would still be root's */
	ck_assert_int_eq(try_open("image", 0), 0);
	ck_assert_int_eq(try_open("image", HOSTFILE_RDWR), -EACCES);
	ck_assert_ptr_nonnull(strstr(err.text, "no permission to write '"));
	if (root)
		ck_assert_int_eq(seteuid(0), 0);
}
END_TEST

START_TEST(open_above_stdio)
{
	int keep = dup(STDIN_FILENO);
	struct hostfile *f;

	close(STDIN_FILENO);
	f = open_image();
	ck_assert_int_gt(hostfile_fd(f), 2);
	ck_assert_int_eq(fcntl(STDIN_FILENO, F_GETFD), -1);
	ck_assert(fcntl(hostfile_fd(f), F_GETFD) & FD_CLOEXEC);
	hostfile_close(f);
	if (keep >= 0)
		dup2(keep, STDIN_FILENO);
	hostfile_close(NULL);
}
END_TEST

START_TEST(read_only_refuses)
{
	struct hostfile *f;

	ck_assert_int_eq(hostfile_open(&f, AT_FDCWD, path, 0, &err), 0);
	ck_assert_int_eq(hostfile_pwrite_full(f, "x", 1, 0), -EROFS);
	ck_assert_int_eq(hostfile_zero(f, 0, 1), -EROFS);
	ck_assert_int_eq(hostfile_punch(f, 0, 1), -EROFS);
	ck_assert_int_eq(hostfile_truncate(f, 0), -EROFS);
	hostfile_close(f);
}
END_TEST

/* --- the same on every back end -------------------------------------------*/

static struct hostmem *mem;
static struct hostrecord *rec;
static struct hostfault *fault;
static struct hostfile *file;

/* 0 posix, 1 memory, 2 recorder and faults above memory */
static void backend_open(int which)
{
	struct hostfile *f = NULL;

	mem = hostmem_new();
	rec = hostrecord_new();
	fault = hostfault_new();
	if (which == 0) {
		file = open_image();
		ck_assert_int_eq(hostfile_truncate(file, 0), 0);
		return;
	}
	ck_assert_int_eq(hostmem_open(&file, mem, true), 0);
	if (which == 1)
		return;
	ck_assert_int_eq(hostrecord_wrap(rec, &f, file), 0);
	ck_assert_int_eq(hostfault_wrap(fault, &file, f), 0);
}

static void backend_close(void)
{
	hostfile_close(file);
	hostfault_free(fault);
	hostrecord_free(rec);
	hostmem_free(mem);
}

static void expect(uint64_t off, size_t len, int byte)
{
	unsigned char *buf = malloc(len);

	ck_assert_int_eq(hostfile_pread(file, buf, len, off, NULL), 0);
	for (size_t i = 0; i < len; i++) {
		if (buf[i] != byte)
			ck_abort_msg("at %zu", (size_t)off + i);
	}
	free(buf);
}

static void fill(uint64_t off, size_t len, int byte)
{
	unsigned char *buf = malloc(len);

	memset(buf, byte, len);
	ck_assert_int_eq(hostfile_pwrite_full(file, buf, len, off), 0);
	free(buf);
}

START_TEST(read_write)
{
	unsigned char buf[100];
	size_t got = 0;

	backend_open(_i);
	fill(5000, 100, 'a');
	expect(0, 5000, 0);
	expect(5000, 100, 'a');
	memset(buf, 'x', sizeof(buf));
	ck_assert_int_eq(hostfile_pread(file, buf, 100, 5050, &got), 0);
	ck_assert_uint_eq(got, 50);
	ck_assert_int_eq(buf[49], 'a');
	ck_assert_int_eq(buf[50], 0);
	ck_assert_int_eq(hostfile_pread_full(file, buf, 100, 5050), -EIO);
	ck_assert_int_eq(hostfile_pread_full(file, buf, 100, 5000), 0);
	ck_assert_int_eq(hostfile_pread_units(file, buf, 60, 5050, 1024), 0);
	ck_assert_int_eq(hostfile_pread_units(file, buf, 100, 5100, 1024), -EIO);
	ck_assert_int_eq(hostfile_pread_units(file, buf, 20, 5100, 1024), 0);
	ck_assert_int_eq(hostfile_pread_units(file, buf, 100, 5120, 1024), -EIO);
	ck_assert_int_eq(hostfile_pread(file, buf, 1, UINT64_MAX, NULL),
			 -EINVAL);
	ck_assert_int_eq(hostfile_pwrite_full(file, buf, 1, INT64_MAX),
			 -ENOSPC);
	ck_assert_int_eq(hostfile_sync(file), 0);
	backend_close();
}
END_TEST

START_TEST(zero_and_punch)
{
	struct host_stat st;
	int ret;

	backend_open(_i);
	fill(0, 1 << 20, 'a');
	ck_assert_int_eq(hostfile_zero(file, 100, 1000), 0);
	ck_assert_int_eq(hostfile_zero(file, 200000, 300000), 0);
	expect(0, 100, 'a');
	expect(100, 1000, 0);
	expect(1100, 100, 'a');
	expect(199900, 100, 'a');
	expect(200000, 300000, 0);
	expect(500000, 100, 'a');
	/* zero extends, punch does not */
	ck_assert_int_eq(hostfile_zero(file, (1 << 20) - 10, 200010), 0);
	ck_assert_int_eq(hostfile_stat(file, &st), 0);
	ck_assert_uint_eq(st.size, (1 << 20) + 200000);
	ret = hostfile_punch(file, 0, 2 << 20);
	ck_assert(ret == 0 || ret == -EOPNOTSUPP);
	ck_assert_int_eq(hostfile_stat(file, &st), 0);
	ck_assert_uint_eq(st.size, (1 << 20) + 200000);
	if (ret == 0)
		expect(0, 1 << 20, 0);
	ret = hostfile_allocate(file, 2 << 20, 4096);
	ck_assert(ret == 0 || ret == -EOPNOTSUPP);
	ck_assert_int_eq(hostfile_truncate(file, 10), 0);
	ck_assert_int_eq(hostfile_truncate(file, 4096), 0);
	expect(10, 4086, 0);
	backend_close();
}
END_TEST

START_TEST(extents)
{
	uint64_t end;
	bool data;

	backend_open(_i);
	fill(1 << 20, 65536, 'a');
	ck_assert_int_eq(hostfile_truncate(file, 4 << 20), 0);
	ck_assert_int_eq(hostfile_next_extent(file, 0, &data, &end), 0);
	if (!data) { /* else the file system has no holes */
		ck_assert_uint_eq(end, 1 << 20);
		ck_assert_int_eq(
			hostfile_next_extent(file, 1 << 20, &data, &end), 0);
		ck_assert(data);
		ck_assert_uint_ge(end, (1 << 20) + 65536);
		ck_assert_int_eq(
			hostfile_next_extent(file, 3 << 20, &data, &end), 0);
		ck_assert(!data);
	}
	ck_assert_uint_le(end, 4 << 20);
	ck_assert_int_eq(hostfile_next_extent(file, 4 << 20, &data, &end),
			 -ENXIO);
	backend_close();
}
END_TEST

/* --- faults ---------------------------------------------------------------*/

static void set_rule(unsigned ops, enum hostfault_kind kind, int error,
		     uint64_t skip, uint64_t repeat)
{
	struct hostfault_rule r = { ops, kind, error, skip, repeat };

	hostfault_set(fault, &r);
}

START_TEST(short_and_interrupted)
{
	backend_open(2);
	set_rule(HOSTFAULT_ALL, (enum hostfault_kind)_i, -EINTR, 0, 5);
	fill(0, 1000, 'a');
	set_rule(HOSTFAULT_ALL, (enum hostfault_kind)_i, -EINTR, 0, 5);
	expect(0, 1000, 'a');
	ck_assert_uint_gt(hostfault_hits(fault), 0);
	backend_close();
}
END_TEST

START_TEST(interrupted_forever_is_not)
{
	backend_open(2);
	set_rule(HOSTFAULT_SYNC | HOSTFAULT_TRUNCATE | HOSTFAULT_STAT,
		 HOSTFAULT_ERROR, -EINTR, 0, 2);
	ck_assert_int_eq(hostfile_sync(file), 0);
	set_rule(HOSTFAULT_TRUNCATE, HOSTFAULT_ERROR, -EINTR, 0, 2);
	ck_assert_int_eq(hostfile_truncate(file, 10), 0);
	set_rule(HOSTFAULT_FALLOC, HOSTFAULT_ERROR, -EINTR, 0,
		 HOSTFAULT_FOREVER);
	ck_assert_int_eq(hostfile_punch(file, 0, 10), -EOPNOTSUPP);
	ck_assert_int_eq(hostfile_zero(file, 0, 1 << 20), 0);
	backend_close();
}
END_TEST

START_TEST(empty_counts_are_errors)
{
	unsigned char b[8];

	backend_open(2);
	fill(0, 100, 'a');
	set_rule(HOSTFAULT_PREAD, HOSTFAULT_EMPTY, 0, 0, 2);
	ck_assert_int_eq(hostfile_pread(file, b, 8, 0, NULL), -EIO);
	set_rule(HOSTFAULT_PWRITE, HOSTFAULT_EMPTY, 0, 0, 1);
	ck_assert_int_eq(hostfile_pwrite_full(file, b, 8, 0), -EIO);
	backend_close();
}
END_TEST

/* The end of the file was there when the read came, and further on when its
 * length was asked: another thread had written meanwhile. */
START_TEST(file_grows_under_a_read)
{
	unsigned char b[8] = { 0 };
	size_t got = 0;

	backend_open(2);
	fill(0, 100, 'a');
	set_rule(HOSTFAULT_PREAD, HOSTFAULT_EMPTY, 0, 0, 1);
	ck_assert_int_eq(hostfile_pread(file, b, 8, 0, &got), 0);
	ck_assert_uint_eq(got, 8);
	ck_assert_int_eq(b[7], 'a');
	backend_close();
}
END_TEST

START_TEST(no_room_has_one_name)
{
	static const int codes[] = { -ENOSPC, -EDQUOT, -EFBIG };

	backend_open(2);
	for (int i = 0; i < 3; i++) {
		set_rule(HOSTFAULT_CHANGES, HOSTFAULT_ERROR, codes[i], 0,
			 HOSTFAULT_FOREVER);
		ck_assert_int_eq(hostfile_pwrite_full(file, "x", 1, 0),
				 -ENOSPC);
		ck_assert_int_eq(hostfile_zero(file, 0, 1 << 20), -ENOSPC);
		ck_assert_int_eq(hostfile_truncate(file, 1), -ENOSPC);
	}
	hostfault_set(fault, NULL);
	hostfault_limit(fault, 1000);
	ck_assert_int_eq(hostfile_pwrite_full(file, path, 1, 999), 0);
	ck_assert_int_eq(hostfile_pwrite_full(file, "xy", 2, 999), -ENOSPC);
	ck_assert_int_eq(hostfile_zero(file, 0, 1 << 20), -ENOSPC);
	ck_assert_int_eq(hostfile_truncate(file, 1001), -ENOSPC);
	ck_assert_uint_eq(hostmem_size(mem), 1000);
	backend_close();
}
END_TEST

/* A damaged file system says EUCLEAN, which means the image in rawcow. */
START_TEST(damaged_host_is_no_image)
{
	struct host_stat st;
	uint64_t end;
	char buf[8];
	bool data;

	backend_open(2);
	fill(0, 8, 'a');
	set_rule(HOSTFAULT_ALL, HOSTFAULT_ERROR, -EUCLEAN, 0,
		 HOSTFAULT_FOREVER);
	ck_assert_int_eq(hostfile_pread(file, buf, 8, 0, NULL), -EIO);
	ck_assert_int_eq(hostfile_pwrite_full(file, "x", 1, 0), -EIO);
	ck_assert_int_eq(hostfile_zero(file, 0, 1 << 20), -EIO);
	ck_assert_int_eq(hostfile_truncate(file, 1), -EIO);
	ck_assert_int_eq(hostfile_sync(file), -EIO);
	ck_assert_int_eq(hostfile_stat(file, &st), -EIO);
	set_rule(HOSTFAULT_SEEK, HOSTFAULT_ERROR, -EUCLEAN, 1,
		 HOSTFAULT_FOREVER);
	ck_assert_int_eq(hostfile_next_extent(file, 0, &data, &end), -EIO);
	backend_close();
}
END_TEST

START_TEST(zero_falls_back)
{
	backend_open(2);
	fill(0, 1 << 20, 'a');
	set_rule(HOSTFAULT_FALLOC, HOSTFAULT_ERROR, -EOPNOTSUPP, 0,
		 HOSTFAULT_FOREVER);
	ck_assert_int_eq(hostfile_zero(file, 1, (1 << 20) - 2), 0);
	expect(0, 1, 'a');
	expect(1, (1 << 20) - 2, 0);
	expect((1 << 20) - 1, 1, 'a');
	ck_assert_int_eq(hostfile_punch(file, 0, 1), -EOPNOTSUPP);
	backend_close();
}
END_TEST

START_TEST(sync_error_is_passed_on)
{
	backend_open(2);
	set_rule(HOSTFAULT_SYNC, HOSTFAULT_ERROR, -EIO, 1, 1);
	ck_assert_int_eq(hostfile_sync(file), 0);
	ck_assert_int_eq(hostfile_sync(file), -EIO);
	ck_assert_uint_eq(hostfault_calls(fault), 2);
	backend_close();
}
END_TEST

/* --- recorder -------------------------------------------------------------*/

START_TEST(replay_gives_content)
{
	struct hostmem *copy = hostmem_new();
	struct hostrecord_entry e;
	unsigned seed = 1;

	backend_open(2);
	for (int i = 0; i < 300; i++) {
		uint64_t off = (unsigned)rand_r(&seed) % 300000;
		unsigned len = (unsigned)rand_r(&seed) % 90000 + 1;

		switch (i % 5) {
		case 0:
			ck_assert_int_eq(hostfile_punch(file, off, len), 0);
			break;
		case 1:
			ck_assert_int_eq(hostfile_zero(file, off, len), 0);
			break;
		case 2:
			ck_assert_int_eq(hostfile_truncate(file, off + len), 0);
			break;
		default:
			fill(off, len, i);
		}
	}
	for (uint64_t i = 0; i < hostrecord_len(rec); i++) {
		hostrecord_get(rec, i, &e);
		ck_assert_uint_eq(e.seq, i);
		ck_assert_int_eq(hostrecord_apply(&e, copy), 0);
	}
	ck_assert(hostmem_equal(copy, mem));
	fill(0, 1, 'z');
	ck_assert(!hostmem_equal(copy, mem));
	hostmem_free(copy);
	backend_close();
}
END_TEST

START_TEST(log_of_syncs_and_marks)
{
	struct hostrecord_entry e;

	backend_open(2);
	ck_assert_uint_eq(hostrecord_mark(rec, 7, 8, 9), 0);
	fill(3, 4, 'q');
	ck_assert_int_eq(hostfile_sync(file), 0);
	ck_assert_uint_eq(hostrecord_len(rec), 4);
	hostrecord_get(rec, 0, &e);
	ck_assert(e.op == HOSTRECORD_MARK && e.kind == 7 && e.a == 8 &&
		  e.b == 9);
	hostrecord_get(rec, 1, &e);
	ck_assert(e.op == HOSTRECORD_WRITE && e.off == 3 && e.len == 4);
	ck_assert_int_eq(memcmp(e.data, "qqqq", 4), 0);
	hostrecord_get(rec, 2, &e);
	ck_assert(e.op == HOSTRECORD_SYNC_BEGIN);
	hostrecord_get(rec, 3, &e);
	ck_assert(e.op == HOSTRECORD_SYNC_END && e.pair == 2 && !e.result);
	backend_close();
}
END_TEST

START_TEST(clone_is_apart)
{
	struct hostmem *c;
	char b = 0;

	backend_open(1);
	fill(0, 10000, 'a');
	c = hostmem_clone(mem);
	ck_assert(hostmem_equal(c, mem));
	fill(5000, 1, 'b');
	ck_assert(!hostmem_equal(c, mem));
	hostmem_read(c, &b, 1, 5000);
	ck_assert_int_eq(b, 'a');
	ck_assert_uint_eq(hostmem_count(mem, HOSTMEM_PWRITE), 2);
	ck_assert_int_eq(hostmem_save(c, path), 0);
	ck_assert_int_eq(hostmem_load(mem, path), 0);
	ck_assert(hostmem_equal(c, mem));
	hostmem_free(c);
	backend_close();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("hostfile");
	TCase *t = tcase_create("hostfile");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, open_kinds);
	tcase_add_test(t, open_beneath);
	tcase_add_test(t, open_create_keeps_content);
	tcase_add_test(t, open_not_writable);
	tcase_add_test(t, open_above_stdio);
	tcase_add_test(t, read_only_refuses);
	tcase_add_loop_test(t, read_write, 0, 3);
	tcase_add_loop_test(t, zero_and_punch, 0, 3);
	tcase_add_loop_test(t, extents, 0, 3);
	tcase_add_loop_test(t, short_and_interrupted, HOSTFAULT_SHORT_ONE,
			    HOSTFAULT_SHORT_HALF + 1);
	tcase_add_loop_test(t, short_and_interrupted, HOSTFAULT_ERROR,
			    HOSTFAULT_ERROR_LATE + 1);
	tcase_add_test(t, interrupted_forever_is_not);
	tcase_add_test(t, empty_counts_are_errors);
	tcase_add_test(t, file_grows_under_a_read);
	tcase_add_test(t, no_room_has_one_name);
	tcase_add_test(t, damaged_host_is_no_image);
	tcase_add_test(t, zero_falls_back);
	tcase_add_test(t, sync_error_is_passed_on);
	tcase_add_test(t, replay_gives_content);
	tcase_add_test(t, log_of_syncs_and_marks);
	tcase_add_test(t, clone_is_apart);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
