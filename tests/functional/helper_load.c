/*
 * helper_load: a writer whose every moment can be told from the disk, and the
 * judge of what snapshots of it hold. Also what a program sees that keeps a
 * file open and mapped.
 *
 * Operation I of a writer is one direct write, whose place, length and bytes
 * follow from its seed and I. A snapshot must hold exactly those before some
 * point, between what was done when it was asked for and what had begun when
 * it was made; the same after a snapshot was applied, on top of what that held.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fuse/ctl.h"
#include "helpers.h"

#define LEN_MAX (64u << 10)

struct counters {
	_Atomic uint64_t begun, done;
};

struct op {
	uint64_t off, len;
};

static struct op op_at(uint64_t seed, uint64_t i, uint64_t size)
{
	uint64_t state = seed * 1000003 + i;
	struct op op;

	helpers_random(&state);
	op.len = 512 * (1 + helpers_random(&state) % (LEN_MAX / 512));
	op.off = 512 * (helpers_random(&state) % (size / 512));
	if (op.off + op.len > size)
		op.len = size - op.off;
	return op;
}

static struct counters *map_counters(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct counters *c;

	if (fd < 0 || ftruncate(fd, sizeof(*c)) < 0)
		helpers_die(path);
	c = mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (c == MAP_FAILED)
		helpers_die(path);
	close(fd);
	return c;
}

/* load-write FILE BASE SIZE SEED COUNTERS: write there until killed */
int helpers_load_write(int argc, char **argv)
{
	int fd = helpers_open(argv[1], "direct");
	uint64_t base = helpers_num(argv[2]), size = helpers_num(argv[3]);
	uint64_t seed = helpers_num(argv[4]);
	struct counters *c = map_counters(argv[5]);
	char *buf = helpers_buffer(LEN_MAX);
	const struct timespec pause = { .tv_nsec = 1000000 };

	(void)argc;
	for (uint64_t i = 0;; i++) {
		struct op op = op_at(seed, i, size);

		helpers_fill(buf, op.len, op.off, seed + i);
		atomic_store(&c->begun, i + 1);
		helpers_pwrite(fd, buf, op.len, base + op.off);
		atomic_store(&c->done, i + 1);
		nanosleep(&pause, NULL);
	}
}

/* load-at COUNTERS...: for each "DONE BEGUN" */
int helpers_load_at(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		struct counters *c = map_counters(argv[i]);
		uint64_t done = atomic_load(&c->done);

		printf("%" PRIu64 " %" PRIu64 "\n", done,
		       atomic_load(&c->begun));
	}
	return 0;
}

static void replay(char *disk, uint64_t size, uint64_t seed, uint64_t from,
		   uint64_t to)
{
	for (uint64_t i = from; i < to; i++) {
		struct op op = op_at(seed, i, size);

		helpers_fill(disk + op.off, op.len, op.off, seed + i);
	}
}

/* HISTORY is "FROM-TO,FROM-TO,...": those operations, one after the other. */
static void replay_history(char *disk, uint64_t size, uint64_t seed,
			   const char *history)
{
	uint64_t from, to;
	int n;

	while (sscanf(history, "%" SCNu64 "-%" SCNu64 ",%n", &from, &to, &n) ==
	       2) {
		replay(disk, size, seed, from, to);
		history += n;
	}
}

/*
 * load-verify FILE BASE SIZE SEED HISTORY JMIN JMAX KMIN KMAX: is there what
 * HISTORY and then the operations from J to K leave? Prints the history then.
 */
int helpers_load_verify(int argc, char **argv)
{
	int fd = helpers_open(argv[1], "ro");
	uint64_t base = helpers_num(argv[2]), size = helpers_num(argv[3]);
	uint64_t seed = helpers_num(argv[4]);
	uint64_t jmin = helpers_num(argv[6]), jmax = helpers_num(argv[7]);
	uint64_t kmin = helpers_num(argv[8]), kmax = helpers_num(argv[9]);
	char *got = helpers_buffer(size), *want = helpers_buffer(size);
	int r = 0;

	(void)argc;
	helpers_pread(fd, got, size, base);
	for (uint64_t j = jmin; j <= jmax; j++) {
		uint64_t k = kmin > j ? kmin : j;

		memset(want, 0, size);
		replay_history(want, size, seed, argv[5]);
		replay(want, size, seed, j, k);
		for (; k <= kmax; replay(want, size, seed, k, k + 1), k++) {
			if (memcmp(got, want, size))
				continue;
			printf("%s%" PRIu64 "-%" PRIu64 ",\n", argv[5], j, k);
			goto out;
		}
	}
	fprintf(stderr, "no moment of the writer looks like this\n");
	r = 1;
out:
	free(got);
	free(want);
	return r;
}

/* watch FILE OFF: hold it open and mapped; for each line of input print the
 * byte at OFF as mapped, as read, and the size */
int helpers_watch(int argc, char **argv)
{
	int fd = helpers_open(argv[1], "ro");
	uint64_t off = helpers_num(argv[2]);
	const volatile unsigned char *p;
	struct stat st;
	char line[64];

	(void)argc;
	p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, (off_t)(off & ~4095ULL));
	if (p == MAP_FAILED && errno != ENODEV)
		helpers_die(argv[1]);
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		unsigned char c;

		helpers_pread(fd, &c, 1, off);
		if (fstat(fd, &st) < 0)
			helpers_die("fstat");
		/* files without a page cache cannot be mapped */
		printf("%02x %02x %jd\n",
		       p == MAP_FAILED ? c : p[off & 4095], c,
		       (intmax_t)st.st_size);
	}
	return 0;
}

/* commit FILE: have the server of the mount write all it has to the image */
int helpers_commit(int argc, char **argv)
{
	struct ctl_request req = { 0 };
	int fd = helpers_open(argv[1], "ro");

	(void)argc;
	if (ioctl(fd, CTL_IOC_COMMIT, &req) < 0)
		helpers_die("ioctl");
	return req.result ? 1 : 0;
}
