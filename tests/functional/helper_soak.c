/* helper_soak: the disk's blocks, and what all workers share. */
#include "helper_soak.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* The first half of the disk is cut into small pieces, so that owners meet in
 * one cluster, the second half into large ones. They are dealt out in turn. */
#define SMALL (16u << 10)
#define LARGE (256u << 10)
#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define ZERO  (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE)
/* How long a worker may need for its last step, seconds. */
#define PATIENCE 60

static atomic_bool over;

uint64_t soak_dice(struct soak_worker *w, uint64_t n)
{
	return helpers_random(&w->rnd) % n;
}

bool soak_step(struct soak_worker *w)
{
	struct timespec now;

	atomic_fetch_add(&w->steps, 1);
	clock_gettime(CLOCK_MONOTONIC, &now);
	return !atomic_load(&over) && (now.tv_sec < w->soak->end.tv_sec ||
				       (now.tv_sec == w->soak->end.tv_sec &&
					now.tv_nsec < w->soak->end.tv_nsec));
}

void soak_bad(struct soak_worker *w, const char *fmt, ...)
{
	int error = errno;
	va_list ap;

	atomic_store(&over, true);
	flockfile(stdout);
	printf("soak: %s, step %" PRIu64 ", seed %" PRIu64 ": ", w->name,
	       atomic_load(&w->steps), w->soak->seed);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf(" (errno %s)\n", strerrorname_np(error));
	fflush(stdout);
	_exit(1);
}

void soak_nap(struct soak_worker *w)
{
	const struct timespec t = { .tv_nsec =
					    (long)soak_dice(w, 10) * 1000000 };

	nanosleep(&t, NULL);
}

/* --- pieces ------------------------------------------------------------------- */

static uint64_t small_pieces(const struct soak *s)
{
	return s->size / 2 / SMALL / SOAK_OWNERS;
}

uint64_t soak_pieces(const struct soak *s)
{
	return small_pieces(s) + s->size / 2 / LARGE / SOAK_OWNERS;
}

void soak_piece(const struct soak_worker *w, uint64_t i, uint64_t *off,
		uint64_t *len)
{
	uint64_t n = small_pieces(w->soak);

	*len = i < n ? SMALL : LARGE;
	*off = i < n ? (i * SOAK_OWNERS + w->owner) * SMALL :
		       w->soak->size / 2 +
			       ((i - n) * SOAK_OWNERS + w->owner) * LARGE;
}

void soak_pick(struct soak_worker *w, uint64_t unit, uint64_t *off,
	       uint64_t *len)
{
	uint64_t skip;

	soak_piece(w, soak_dice(w, soak_pieces(w->soak)), off, len);
	if (soak_dice(w, 4) == 0)
		return;
	skip = soak_dice(w, *len / unit) * unit;
	*off += skip;
	*len = (1 + soak_dice(w, (*len - skip) / unit)) * unit;
}

void soak_scribble(struct soak_worker *w, uint64_t off, uint64_t len)
{
	uint8_t *p = w->soak->model + off;

	while (len) {
		uint64_t x = helpers_random(&w->rnd) | 1;
		size_t n = len < sizeof(x) ? len : sizeof(x);

		memcpy(p, &x, n);
		p += n;
		len -= n;
	}
}

void soak_compare(struct soak_worker *w, const char *what, const uint8_t *got,
		  const uint8_t *want, uint64_t off, uint64_t len)
{
	uint64_t i = 0, j, zero = 0;

	if (!memcmp(got, want, len))
		return;
	while (got[i] == want[i])
		i++;
	for (j = len; got[j - 1] == want[j - 1];)
		j--;
	for (uint64_t k = i; k < j; k++)
		zero += !got[k];
	soak_bad(w, "%s: wrong from %#" PRIx64 " to %#" PRIx64 " of %#" PRIx64
		 "+%#" PRIx64 ", %" PRIu64 " of that zero", what, off + i,
		 off + j, off, len, zero);
}

/* --- readers and writers --------------------------------------------------------- */

static int open_disk(const struct soak_worker *w)
{
	return helpers_open(w->soak->disk, w->how);
}

static void block_read(struct soak_worker *w, int fd, uint8_t *buf,
		       uint64_t off, uint64_t len)
{
	helpers_pread(fd, buf, len, off);
	soak_compare(w, "read", buf, w->soak->model + off, off, len);
}

/* What has just been written is data, whatever is still in the kernel. */
static void block_seek(struct soak_worker *w, int fd, uint64_t off)
{
	off_t at = lseek(fd, (off_t)off, SEEK_DATA), hole;

	if (at != (off_t)off)
		soak_bad(w, "SEEK_DATA at %#" PRIx64 " says %#jx", off,
			 (intmax_t)at);
	hole = lseek(fd, (off_t)off, SEEK_HOLE);
	if (hole <= at)
		soak_bad(w, "SEEK_HOLE at %#" PRIx64 " says %#jx", off,
			 (intmax_t)hole);
}

static void block_zero(struct soak_worker *w, int fd, int mode, uint64_t off,
		       uint64_t len)
{
	memset(w->soak->model + off, 0, len);
	if (fallocate(fd, mode, (off_t)off, (off_t)len))
		soak_bad(w, "fallocate %d at %#" PRIx64 "+%#" PRIx64, mode,
			 off, len);
}

static void block_sync(struct soak_worker *w, int fd)
{
	if (soak_dice(w, 2) ? fsync(fd) : fdatasync(fd))
		soak_bad(w, "fsync");
}

/* Now and then as many opens as a program that leaks them. */
static int reopen(struct soak_worker *w, int fd)
{
	int many[16], n = soak_dice(w, 8) ? 0 : 16;

	for (int i = 0; i < n; i++)
		many[i] = helpers_open(w->soak->disk, i % 2 ? w->how : "ro");
	if (close(fd))
		soak_bad(w, "close");
	for (int i = 0; i < n; i++)
		if (close(many[i]))
			soak_bad(w, "close");
	return open_disk(w);
}

static void blocks(struct soak_worker *w)
{
	uint64_t off, len, unit = w->how && strstr(w->how, "direct") ? 512 : 1;
	uint8_t *buf = helpers_buffer(LARGE);
	int fd = open_disk(w);

	while (soak_step(w)) {
		unsigned what = (unsigned)soak_dice(w, 100);

		soak_pick(w, unit, &off, &len);
		if (what < 45) {
			soak_scribble(w, off, len);
			helpers_pwrite(fd, w->soak->model + off, len, off);
			if (what < 8)
				block_seek(w, fd, off);
		} else if (what < 80) {
			block_read(w, fd, buf, off, len);
		} else if (what < 86) {
			block_zero(w, fd, PUNCH, off, len);
		} else if (what < 92) {
			block_zero(w, fd, ZERO, off, len);
		} else if (what < 96) {
			block_sync(w, fd);
		} else {
			fd = reopen(w, fd);
		}
	}
	if (close(fd))
		soak_bad(w, "close");
	free(buf);
}

static uint8_t *map_disk(struct soak_worker *w)
{
	int fd = helpers_open(w->soak->disk, NULL);
	void *p = mmap(NULL, w->soak->size, PROT_READ | PROT_WRITE, MAP_SHARED,
		       fd, 0);

	if (p == MAP_FAILED)
		soak_bad(w, "mmap");
	close(fd);
	return p;
}

static void mapping(struct soak_worker *w)
{
	uint8_t *map = map_disk(w);
	uint64_t off, len, page;

	while (soak_step(w)) {
		unsigned what = (unsigned)soak_dice(w, 100);

		soak_pick(w, 1, &off, &len);
		page = off & ~4095ULL;
		if (what < 45) {
			soak_scribble(w, off, len);
			memcpy(map + off, w->soak->model + off, len);
		} else if (what < 90) {
			soak_compare(w, "mapping", map + off,
				     w->soak->model + off, off, len);
		} else if (what < 97) {
			if (msync(map + page, off + len - page,
				  soak_dice(w, 2) ? MS_SYNC : MS_ASYNC))
				soak_bad(w, "msync");
		} else if (what < 99) {
			madvise(map + page, off + len - page, MADV_DONTNEED);
		} else {
			munmap(map, w->soak->size);
			map = map_disk(w);
		}
		soak_nap(w);
	}
	munmap(map, w->soak->size);
}

/* Behind the part with owners: what is there is ours, and its size. */
#define TAIL_MAX (3u << 20)

void soak_resizer(struct soak_worker *w)
{
	uint8_t *want = helpers_buffer(TAIL_MAX), *got = helpers_buffer(TAIL_MAX);
	uint64_t base = w->soak->size, tail = 0, to, len;
	int fd = open_disk(w);
	struct stat st;

	while (soak_step(w)) {
		to = soak_dice(w, TAIL_MAX / 512) * 512;
		if (ftruncate(fd, (off_t)(base + to)))
			soak_bad(w, "truncate to base + %#" PRIx64, to);
		if (fstat(fd, &st) || (uint64_t)st.st_size != base + to)
			soak_bad(w, "the size is %#jx", (intmax_t)st.st_size);
		if (to > tail)
			memset(want + tail, 0, to - tail);
		tail = to;
		if (tail && soak_dice(w, 2)) {
			len = 1 + soak_dice(w, tail);
			helpers_fill(want, len, base, atomic_load(&w->steps));
			helpers_pwrite(fd, want, len, base);
		}
		if (tail) {
			helpers_pread(fd, got, tail, base);
			soak_compare(w, "tail", got, want, base, tail);
		}
		soak_nap(w);
	}
	if (ftruncate(fd, (off_t)base) || close(fd))
		soak_bad(w, "truncate to the old size");
	free(want);
	free(got);
}

/* --- all of them ------------------------------------------------------------------ */

static void *thread_main(void *arg)
{
	struct soak_worker *w = arg;

	w->run(w);
	return NULL;
}

static struct timespec after(int clock, unsigned seconds)
{
	struct timespec t;

	clock_gettime(clock, &t);
	t.tv_sec += seconds;
	return t;
}

static void join(struct soak_worker *w, const struct timespec *limit)
{
	if (pthread_timedjoin_np(w->thread, NULL, limit)) {
		errno = ETIMEDOUT;
		soak_bad(w, "hangs");
	}
}

static void save_model(const struct soak *s, const char *path)
{
	FILE *f = fopen(path, "w");

	if (!f || fwrite(s->model, 1, s->size, f) != s->size || fclose(f))
		helpers_die(path);
}

static void run_all(struct soak *s, unsigned seconds, struct soak_worker *w,
		    unsigned n)
{
	struct timespec limit = after(CLOCK_REALTIME, seconds + PATIENCE);

	s->end = after(CLOCK_MONOTONIC, seconds);
	for (unsigned i = 0; i < n; i++) {
		w[i].soak = s;
		w[i].rnd = s->seed * 1000003 + i;
		if (w[i].run &&
		    pthread_create(&w[i].thread, NULL, thread_main, &w[i]))
			helpers_die("pthread_create");
	}
	for (unsigned i = 0; i < n; i++)
		if (w[i].run)
			join(&w[i], &limit);
	for (unsigned i = 0; i < n; i++)
		if (w[i].run)
			printf("%s %" PRIu64 ", ", w[i].name,
			       atomic_load(&w[i].steps));
	puts("steps");
}

/* From now on the disk is in use: say so. */
static int load_model(struct soak *s)
{
	int fd = helpers_open(s->disk, "ro");

	s->model = helpers_buffer(s->size);
	helpers_pread(fd, s->model, s->size, 0);
	puts("begun");
	fflush(stdout);
	return fd;
}

/* soak FOLDER SECONDS SEED OUT [WORDS]: OUT gets what the disk holds at the end.
 * WORDS: snapshots, growable. Prints "begun" once the disk is open. */
int helpers_soak(int argc, char **argv)
{
	const char *words = argc > 5 ? argv[5] : "";
	struct soak s = { .mnt = argv[1], .seed = helpers_num(argv[3]) };
	struct soak_worker w[] = {
		{ .name = "buffered", .run = blocks, .owner = 0 },
		{ .name = "buffered2", .run = blocks, .owner = 1 },
		{ .name = "direct", .run = blocks, .owner = 2, .how = "direct" },
		{ .name = "dsync", .run = blocks, .owner = 3,
		  .how = "direct,dsync" },
		{ .name = "mapping", .run = mapping, .owner = 4 },
		{ .name = "keeper", .run = soak_keeper, .owner = 5 },
		{ .name = "looker", .run = soak_looker },
		{ .name = "texts", .run = soak_texts },
		{ .name = "attributes", .run = soak_attributes },
		{ .name = "commands", .run = soak_commands },
		{ .name = "victims", .run = soak_victims },
		{ .name = "resizer", .run = soak_resizer },
	};
	unsigned n = sizeof(w) / sizeof(*w);
	struct stat st;
	int fd;

	snprintf(s.disk, sizeof(s.disk), "%s/disk.raw", s.mnt);
	if (stat(s.disk, &st))
		helpers_die(s.disk);
	s.size = (uint64_t)st.st_size;
	s.snapshots = strstr(words, "snapshots");
	s.growable = strstr(words, "growable");
	if (!s.growable)
		w[n - 1].run = NULL;
	fd = load_model(&s);
	run_all(&s, (unsigned)helpers_num(argv[2]), w, n);
	save_model(&s, argv[4]);
	free(s.model);
	close(fd);
	return 0;
}
