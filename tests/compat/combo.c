#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "combo.h"

#define ARGS_MAX 32

static const unsigned cluster_bits[] = {9, 12, 16, 18, 21};
/* with extended L2 entries */
static const unsigned large_bits[] = {14, 16, 17, 21};
static const unsigned widths[] = {1, 16, 64};
#define N_CLUSTER 5u
#define N_LARGE 4u
#define N_WIDTH 3u
#define N_REFCOUNT 7u
#define N_V3 (N_CLUSTER * N_REFCOUNT * COMBO_BACKINGS * COMBO_COMPRESSEDS * 2u)
#define N_V2 (N_CLUSTER * COMBO_BACKINGS * 2u * 2u)
#define N_EXTENDED \
	(N_LARGE * N_WIDTH * COMBO_BACKINGS * COMBO_COMPRESSEDS * 2u)
#define N_ALL (N_V3 + N_V2 + N_EXTENDED)

static void combo_decode(size_t n, struct combo *c)
{
	bool v2 = n >= N_V3 && n < N_V3 + N_V2;
	unsigned compresseds = v2 ? 2 : COMBO_COMPRESSEDS;

	c->extended = n >= N_V3 + N_V2;
	if (v2)
		n -= N_V3;
	if (c->extended)
		n -= N_V3 + N_V2;
	c->version = v2 ? 2 : 3;
	c->snapshot = n % 2;
	n /= 2;
	c->backing = (enum combo_backing)(n % COMBO_BACKINGS);
	n /= COMBO_BACKINGS;
	c->compressed = (enum combo_compressed)(n % compresseds);
	n /= compresseds;
	if (c->extended) {
		c->cluster_bits = large_bits[n % N_LARGE];
		c->refcount_bits = widths[n / N_LARGE];
	} else {
		c->cluster_bits = cluster_bits[n % N_CLUSTER];
		c->refcount_bits = v2 ? 16 : 1u << n / N_CLUSTER;
	}
	/* Two references do not fit into one bit. */
	if (c->refcount_bits == 1)
		c->snapshot = false;
	if (c->refcount_bits == 1 && c->compressed && c->cluster_bits > 9)
		c->refcount_bits = 8; /* streams share clusters */
	if (c->compressed && c->snapshot && c->refcount_bits < 16)
		c->refcount_bits = 16; /* and a snapshot doubles it */
	c->size = 300u << c->cluster_bits;
	if (c->size < 3u << 20)
		c->size = 3u << 20;
	if (c->size > 24u << 20)
		c->size = 24u << 20;
	c->size += 3 * 512;
}

size_t combo_count(void)
{
	return N_ALL;
}

void combo_get(size_t k, struct combo *c)
{
	/* 389 is prime and does not divide the count. */
	_Static_assert(N_ALL % 389, "no permutation");
	combo_decode(k * 389 % combo_count(), c);
}

const char *combo_text(const struct combo *c, char buf[128])
{
	static const char *const backing[] = {"none", "raw", "qcow2",
					      "shorter"};
	static const char *const compressed[] = {"no", "zlib", "zstd"};

	snprintf(buf, 128,
		 "v%u%s cluster %u refcount %u backing %s compressed %s "
		 "snapshot %s",
		 c->version, c->extended ? " extended" : "",
		 1u << c->cluster_bits, c->refcount_bits,
		 backing[c->backing], compressed[c->compressed],
		 c->snapshot ? "yes" : "no");
	return buf;
}

int combo_runv(const char *const args[])
{
	char *argv[ARGS_MAX];
	posix_spawn_file_actions_t fa;
	int n = 0, status;
	pid_t pid;

	for (; args[n] && n < ARGS_MAX - 1; n++)
		argv[n] = strdup(args[n]);
	argv[n] = NULL;
	fflush(NULL);
	/* spawned, not forked: no page of this process is copied */
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_addopen(&fa, 1, "tool.out",
					 O_WRONLY | O_CREAT | O_TRUNC, 0600);
	posix_spawn_file_actions_adddup2(&fa, 1, 2);
	if (posix_spawnp(&pid, argv[0], &fa, NULL, argv, environ))
		pid = -1;
	posix_spawn_file_actions_destroy(&fa);
	while (n)
		free(argv[--n]);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

int combo_run(const char *prog, ...)
{
	const char *args[ARGS_MAX] = {prog};
	va_list ap;
	int n = 1;

	va_start(ap, prog);
	while (n < ARGS_MAX - 1 && (args[n] = va_arg(ap, const char *)))
		n++;
	va_end(ap);
	args[n] = NULL;
	return combo_runv(args);
}

void combo_show(void)
{
	FILE *f = fopen("tool.out", "r");
	char line[512];

	while (f && fgets(line, sizeof(line), f))
		fputs(line, stderr);
	if (f)
		fclose(f);
}

static void die(const char *path)
{
	perror(path);
	exit(1);
}

void *combo_load(const char *path, size_t len)
{
	FILE *f = fopen(path, "r");
	void *p = malloc(len);

	if (!p || !f)
		die(path);
	if (fread(p, 1, len, f) != len) {
		fprintf(stderr, "%s: shorter than %zu bytes\n", path, len);
		exit(1);
	}
	fclose(f);
	return p;
}

void combo_save(const char *path, const void *buf, size_t len)
{
	FILE *f = fopen(path, "w");

	if (!f || fwrite(buf, 1, len, f) != len || fclose(f))
		die(path);
}

uint64_t combo_hash(const char *path)
{
	FILE *f = fopen(path, "r");
	uint64_t h = 0xcbf29ce484222325u;
	unsigned char buf[4096];
	size_t n;

	if (!f)
		return 0;
	while ((n = fread(buf, 1, sizeof(buf), f)))
		for (size_t i = 0; i < n; i++)
			h = (h ^ buf[i]) * 0x100000001b3u;
	fclose(f);
	return h;
}

void combo_enter(char path[64])
{
	const char *top = getenv("TMPDIR");

	/* QEMU's tools sync a lot; in memory that costs nothing. */
	if (!top || strlen(top) > 32)
		top = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
	snprintf(path, 64, "%s/rawcow-compat.XXXXXX", top);
	if (!mkdtemp(path) || chdir(path))
		die(path);
}

uint64_t combo_random(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

void combo_fill(void *buf, size_t len, uint64_t seed)
{
	unsigned char *p = buf;

	for (size_t i = 0; i < len; i++) {
		if (i % 8 == 0 && (i == 0 || (seed + i / 4096) % 2))
			combo_random(&seed);
		p[i] = (unsigned char)(seed >> (i % 8 * 8) | 1);
	}
}

/* Some pieces of data in a file of zeroes. */
static void make_raw(const char *path, uint64_t size, uint64_t seed)
{
	char *buf = calloc(1, size);

	if (!buf)
		die(path);
	for (int i = 0; i < 12; i++) {
		uint64_t off = combo_random(&seed) % size;
		uint64_t len = 1 + combo_random(&seed) % (size / 16);

		if (len > size - off)
			len = size - off;
		combo_fill(buf + off, len, combo_random(&seed));
	}
	combo_save(path, buf, size);
	free(buf);
}

static int make_backing(const struct combo *c, uint64_t seed)
{
	uint64_t size = c->size;

	if (c->backing == COMBO_BACKING_SHORTER)
		size = (size / 2 + 1000) & ~511ull;
	make_raw(c->backing == COMBO_BACKING_RAW ? "back" : "back.raw", size,
		 seed);
	if (c->backing == COMBO_BACKING_RAW)
		return 0;
	return combo_run("qemu-img", "convert", "-f", "raw", "-O", "qcow2",
			 "-o", "cluster_size=4096", "back.raw", "back", NULL);
}

static int make_image(const struct combo *c, uint64_t seed)
{
	const char *fmt = c->backing == COMBO_BACKING_RAW ? "raw" : "qcow2";
	char opts[128], size[32], cmd[64];
	int n;

	n = snprintf(opts, sizeof(opts), "compat=%s,cluster_size=%u",
		     c->version == 2 ? "0.10" : "1.1", 1u << c->cluster_bits);
	if (c->version == 3)
		n += snprintf(opts + n, sizeof(opts) - (size_t)n,
			      ",refcount_bits=%u", c->refcount_bits);
	if (c->extended)
		n += snprintf(opts + n, sizeof(opts) - (size_t)n,
			      ",extended_l2=on");
	if (c->compressed == COMBO_ZSTD)
		snprintf(opts + n, sizeof(opts) - (size_t)n,
			 ",compression_type=zstd");
	snprintf(size, sizeof(size), "%llu", (unsigned long long)c->size);
	if (c->compressed) {
		make_raw("pre.raw", c->size, seed + 1);
		if (!c->backing)
			return combo_run("qemu-img", "convert", "-c", "-f",
					 "raw", "-O", "qcow2", "-o", opts,
					 "pre.raw", "img", NULL);
		return combo_run("qemu-img", "convert", "-c", "-f", "raw", "-O",
				 "qcow2", "-o", opts, "-B", "back", "-F", fmt,
				 "pre.raw", "img", NULL);
	}
	n = c->backing ? combo_run("qemu-img", "create", "-q", "-f", "qcow2",
				   "-o", opts, "-b", "back", "-F", fmt, "img",
				   size, NULL)
		       : combo_run("qemu-img", "create", "-q", "-f", "qcow2",
				   "-o", opts, "img", size, NULL);
	if (n || seed % 4 == 0)
		return n;
	snprintf(cmd, sizeof(cmd), "write -P 77 %llu %llu",
		 (unsigned long long)(c->size / 3 & ~511ull),
		 (unsigned long long)(c->size / 4 & ~511ull));
	return combo_run("qemu-io", "-f", "qcow2", "-c", cmd, "-c",
			 c->version == 3 ? "write -z 1M 1M" : "write 1M 64k",
			 "img", NULL);
}

int combo_make(const struct combo *c, uint64_t seed)
{
	int r = 0;

	unlink("img");
	unlink("back");
	if (c->backing)
		r = make_backing(c, seed);
	if (!r)
		r = make_image(c, seed);
	if (!r && c->snapshot)
		r = combo_run("qemu-img", "snapshot", "-c", "snap", "img",
			      NULL);
	if (r)
		combo_show();
	return r ? -1 : 0;
}
