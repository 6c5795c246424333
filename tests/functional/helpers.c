/*
 * helpers: the simple commands, and what all commands share.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <unistd.h>

#include "helpers.h"

#define CHUNK (1u << 20)

void helpers_die(const char *what)
{
	fprintf(stderr, "helpers: %s: %s\n", what, strerrorname_np(errno));
	exit(1);
}

uint64_t helpers_num(const char *text)
{
	char *end;
	uint64_t v = strtoull(text, &end, 0);

	switch (*end) {
	case 'G':
		return v << 30;
	case 'M':
		return v << 20;
	case 'k':
		return v << 10;
	default:
		return v;
	}
}

int helpers_open(const char *path, const char *how)
{
	int flags = O_RDWR | O_CLOEXEC;
	int fd;

	if (how && strstr(how, "direct"))
		flags |= O_DIRECT;
	if (how && strstr(how, "dsync"))
		flags |= O_DSYNC;
	else if (how && strstr(how, "sync"))
		flags |= O_SYNC;
	if (how && strstr(how, "ro"))
		flags = (flags & ~O_RDWR) | O_RDONLY;
	if (how && strstr(how, "create"))
		flags |= O_CREAT;
	fd = open(path, flags, 0600);
	if (fd < 0)
		helpers_die(path);
	return fd;
}

void helpers_fill(void *buf, size_t len, uint64_t off, uint64_t seed)
{
	uint8_t *p = buf;

	for (size_t i = 0; i < len; i++) {
		uint64_t x = ((off + i) / 8 + 1) * 0x9e3779b97f4a7c15u ^
			     seed * 0xc2b2ae3d27d4eb4fu;

		x ^= x >> 31;
		x *= 0xbf58476d1ce4e5b9u;
		p[i] = (uint8_t)(x >> ((off + i) % 8 * 8));
	}
}

void *helpers_buffer(size_t len)
{
	void *p;

	if (posix_memalign(&p, 4096, len ? len : 1))
		helpers_die("memory");
	return p;
}

void helpers_pwrite(int fd, const void *buf, size_t len, uint64_t off)
{
	const char *p = buf;

	while (len) {
		ssize_t n = pwrite(fd, p, len, (off_t)off);

		if (n <= 0)
			helpers_die("pwrite");
		p += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
}

void helpers_pread(int fd, void *buf, size_t len, uint64_t off)
{
	char *p = buf;

	while (len) {
		ssize_t n = pread(fd, p, len, (off_t)off);

		if (n <= 0)
			helpers_die("pread");
		p += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
}

uint64_t helpers_random(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

/* write FILE OFF LEN SEED [HOW]: one file descriptor, chunks of 1 MiB */
static int cmd_write(int argc, char **argv)
{
	uint64_t off = helpers_num(argv[2]), len = helpers_num(argv[3]);
	uint64_t seed = helpers_num(argv[4]);
	int fd = helpers_open(argv[1], argc > 5 ? argv[5] : NULL);
	void *buf = helpers_buffer(CHUNK);

	while (len) {
		size_t n = len < CHUNK ? (size_t)len : CHUNK;

		helpers_fill(buf, n, off, seed);
		helpers_pwrite(fd, buf, n, off);
		off += n;
		len -= n;
	}
	free(buf);
	if (close(fd))
		helpers_die("close");
	return 0;
}

/* writes FILE N LEN STRIDE START [HOW]: N writes, then one fsync */
static int cmd_writes(int argc, char **argv)
{
	uint64_t n = helpers_num(argv[2]), stride = helpers_num(argv[4]);
	size_t len = (size_t)helpers_num(argv[3]);
	uint64_t off = helpers_num(argv[5]);
	int fd = helpers_open(argv[1], argc > 6 ? argv[6] : NULL);
	void *buf = helpers_buffer(len);

	for (; n; n--, off += stride) {
		helpers_fill(buf, len, off, 1);
		helpers_pwrite(fd, buf, len, off);
	}
	if (fsync(fd))
		helpers_die("fsync");
	free(buf);
	if (close(fd))
		helpers_die("close");
	return 0;
}

/* writes-hold FILE N LEN STRIDE START FIFO [HOW]: N writes, then wait for a
 * line from FIFO before closing */
static int cmd_writes_hold(int argc, char **argv)
{
	uint64_t n = helpers_num(argv[2]), stride = helpers_num(argv[4]);
	size_t len = (size_t)helpers_num(argv[3]);
	uint64_t off = helpers_num(argv[5]);
	int fd = helpers_open(argv[1], argc > 7 ? argv[7] : NULL), wait;
	void *buf = helpers_buffer(len);
	char c;

	for (; n; n--, off += stride) {
		helpers_fill(buf, len, off, 1);
		helpers_pwrite(fd, buf, len, off);
	}
	free(buf);
	wait = helpers_open(argv[6], "ro");
	if (read(wait, &c, 1) < 0)
		helpers_die(argv[6]);
	close(wait);
	close(fd);
	return 0;
}

/* read FILE OFF LEN [HOW]: to stdout */
static int cmd_read(int argc, char **argv)
{
	uint64_t off = helpers_num(argv[2]), len = helpers_num(argv[3]);
	char how[32];
	void *buf = helpers_buffer(CHUNK);
	int fd;

	snprintf(how, sizeof(how), "ro,%s", argc > 4 ? argv[4] : "");
	fd = helpers_open(argv[1], how);
	while (len) {
		size_t n = len < CHUNK ? (size_t)len : CHUNK;

		helpers_pread(fd, buf, n, off);
		if (fwrite(buf, 1, n, stdout) != n)
			helpers_die("stdout");
		off += n;
		len -= n;
	}
	free(buf);
	close(fd);
	return 0;
}

/* mmap-write FILE OFF LEN SEED */
static int cmd_mmap_write(int argc, char **argv)
{
	uint64_t off = helpers_num(argv[2]);
	size_t len = (size_t)helpers_num(argv[3]);
	int fd = helpers_open(argv[1], argc > 5 ? argv[5] : NULL);
	uint64_t base = off & ~(uint64_t)4095;
	size_t span = len + (size_t)(off - base);
	char *p = mmap(NULL, span, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		       (off_t)base);

	if (p == MAP_FAILED)
		helpers_die("mmap");
	helpers_fill(p + (off - base), len, off, helpers_num(argv[4]));
	if (msync(p, span, MS_SYNC))
		helpers_die("msync");
	munmap(p, span);
	close(fd);
	return 0;
}

/* mmap-read FILE OFF LEN: to stdout */
static int cmd_mmap_read(int argc, char **argv)
{
	uint64_t off = helpers_num(argv[2]);
	size_t len = (size_t)helpers_num(argv[3]);
	uint64_t base = off & ~(uint64_t)4095;
	size_t span = len + (size_t)(off - base);
	int fd = helpers_open(argv[1], "ro");
	char *p = mmap(NULL, span, PROT_READ, MAP_SHARED, fd, (off_t)base);

	(void)argc;
	if (p == MAP_FAILED)
		helpers_die("mmap");
	if (fwrite(p + (off - base), 1, len, stdout) != len)
		helpers_die("stdout");
	munmap(p, span);
	close(fd);
	return 0;
}

static const struct {
	const char *name;
	int mode;
} falloc_modes[] = {
	{ "punch", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE },
	{ "zero", FALLOC_FL_ZERO_RANGE },
	{ "zero-keep", FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE },
	{ "alloc", 0 },
	{ "alloc-keep", FALLOC_FL_KEEP_SIZE },
	{ "collapse", FALLOC_FL_COLLAPSE_RANGE },
	{ "insert", FALLOC_FL_INSERT_RANGE },
};

/* fallocate FILE MODE OFF LEN */
static int cmd_fallocate(int argc, char **argv)
{
	int fd = helpers_open(argv[1], NULL);
	size_t i;

	(void)argc;
	for (i = 0; i < sizeof(falloc_modes) / sizeof(*falloc_modes); i++) {
		if (strcmp(falloc_modes[i].name, argv[2]))
			continue;
		if (fallocate(fd, falloc_modes[i].mode,
			      (off_t)helpers_num(argv[3]),
			      (off_t)helpers_num(argv[4])))
			helpers_die(argv[2]);
		close(fd);
		return 0;
	}
	return 2;
}

/* extents FILE: "data START END" and "hole START END" */
static int cmd_extents(int argc, char **argv)
{
	int fd = helpers_open(argv[1], "ro");
	off_t end = lseek(fd, 0, SEEK_END), off = 0;

	(void)argc;
	while (off < end) {
		off_t data = lseek(fd, off, SEEK_DATA), hole;

		if (data < 0 && errno != ENXIO)
			helpers_die("SEEK_DATA");
		if (data < 0)
			data = end;
		if (data > off)
			printf("hole %jd %jd\n", (intmax_t)off, (intmax_t)data);
		if (data == end)
			break;
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole <= data)
			helpers_die("SEEK_HOLE");
		printf("data %jd %jd\n", (intmax_t)data, (intmax_t)hole);
		off = hole;
	}
	close(fd);
	return 0;
}

/* seek FILE data|hole OFF: the offset, or the errno's name */
static int cmd_seek(int argc, char **argv)
{
	int fd = helpers_open(argv[1], "ro");
	off_t r = lseek(fd, (off_t)helpers_num(argv[3]),
			*argv[2] == 'd' ? SEEK_DATA : SEEK_HOLE);

	(void)argc;
	if (r < 0)
		puts(strerrorname_np(errno));
	else
		printf("%jd\n", (intmax_t)r);
	close(fd);
	return 0;
}

/* fsync FILE; truncate FILE LEN */
static int cmd_fsync(int argc, char **argv)
{
	int fd = helpers_open(argv[1], argc > 2 ? argv[2] : NULL);

	if (fsync(fd))
		helpers_die("fsync");
	close(fd);
	return 0;
}

static int cmd_truncate(int argc, char **argv)
{
	(void)argc;
	if (truncate(argv[1], (off_t)helpers_num(argv[2])))
		helpers_die("truncate");
	return 0;
}

/* statfs FILE: block size, blocks, free */
static int cmd_statfs(int argc, char **argv)
{
	struct statvfs v;

	(void)argc;
	if (statvfs(argv[1], &v))
		helpers_die("statvfs");
	printf("%lu %ju %ju\n", v.f_frsize, (uintmax_t)v.f_blocks,
	       (uintmax_t)v.f_bavail);
	return 0;
}

/* notify SOCKET SECONDS: print what comes until a line says READY=1 */
static int cmd_notify(int argc, char **argv)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct pollfd p = { .events = POLLIN };
	char buf[1024];
	ssize_t n;

	(void)argc;
	if (strlen(argv[1]) >= sizeof(sa.sun_path))
		return 2;
	memcpy(sa.sun_path, argv[1], strlen(argv[1]) + 1);
	p.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (p.fd < 0 || bind(p.fd, (struct sockaddr *)&sa, sizeof(sa)))
		helpers_die(argv[1]);
	while (poll(&p, 1, 1000 * (int)helpers_num(argv[2])) == 1) {
		n = recv(p.fd, buf, sizeof(buf) - 1, 0);
		if (n < 0)
			helpers_die("recv");
		buf[n] = 0;
		printf("%s\n", buf);
		fflush(stdout);
		if (strstr(buf, "READY=1"))
			return 0;
	}
	return 1;
}

/* hold FILE SECONDS: keep it open; prints "open" first */
static int cmd_hold(int argc, char **argv)
{
	int fd = helpers_open(argv[1], "ro");

	(void)argc;
	puts("open");
	fflush(stdout);
	sleep((unsigned)helpers_num(argv[2]));
	close(fd);
	return 0;
}

static const struct {
	const char *name;
	int min_args; /* with the name */
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "write", 5, cmd_write },
	{ "writes", 6, cmd_writes },
	{ "writes-hold", 7, cmd_writes_hold },
	{ "read", 4, cmd_read },
	{ "mmap-write", 5, cmd_mmap_write },
	{ "mmap-read", 4, cmd_mmap_read },
	{ "fallocate", 5, cmd_fallocate },
	{ "extents", 2, cmd_extents },
	{ "seek", 4, cmd_seek },
	{ "fsync", 2, cmd_fsync },
	{ "truncate", 3, cmd_truncate },
	{ "statfs", 2, cmd_statfs },
	{ "notify", 3, cmd_notify },
	{ "hold", 3, cmd_hold },
	{ "stamp", 6, helpers_stamp },
	{ "stampcheck", 3, helpers_stampcheck },
	{ "threads", 6, helpers_threads },
	{ "seekers", 4, helpers_seekers },
	{ "load-write", 6, helpers_load_write },
	{ "load-at", 2, helpers_load_at },
	{ "load-verify", 10, helpers_load_verify },
	{ "watch", 3, helpers_watch },
	{ "commit", 2, helpers_commit },
	{ "soak", 5, helpers_soak },
	{ "soak-read", 3, helpers_soak_read },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		if (argc < 2 || strcmp(argv[1], commands[i].name))
			continue;
		if (argc - 1 < commands[i].min_args)
			break;
		return commands[i].run(argc - 1, argv + 1);
	}
	fprintf(stderr, "helpers: wrong command or arguments\n");
	return 2;
}
