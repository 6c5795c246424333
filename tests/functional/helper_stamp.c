/*
 * helper_stamp: a writer whose every sector says who it is, and the check of
 * such a disk after the program that served it was killed.
 *
 * A sector holds its own number and the generation of the write that put it
 * there. The writer keeps, in the state file, two generations for each block:
 * the last one that was issued, and the last one that an fsync covered. After
 * a kill each sector must carry its own number and a generation between these
 * two. What was issued before a kill and not synced may be gone: a later fsync
 * covers only what was issued in its own run. Blocks of which the number mod 8
 * is 7 are also punched, so zeroes are allowed there.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "helpers.h"

#define SECTOR 512u
#define MAGIC  0x7374616d70656421u

struct sector {
	uint64_t magic, number, gen;
	uint64_t fill[SECTOR / 8 - 3];
};
_Static_assert(sizeof(struct sector) == SECTOR, "a sector");

struct state {
	uint64_t blocks, block_size, gen;
	uint64_t window[][2]; /* durable, issued */
};

static struct state *state_load(const char *path, uint64_t blocks, uint64_t bs)
{
	size_t len = sizeof(struct state) + blocks * 16;
	struct state *s;
	FILE *f = fopen(path, "r");
	struct state head;

	if (f && fread(&head, sizeof(head), 1, f) == 1)
		len = sizeof(head) + head.blocks * 16;
	s = calloc(1, len);
	if (!s)
		helpers_die("memory");
	s->blocks = blocks;
	s->block_size = bs;
	if (f) {
		rewind(f);
		if (fread(s, len, 1, f) != 1)
			helpers_die(path);
		fclose(f);
	}
	return s;
}

static void state_save(const struct state *s, const char *path)
{
	size_t len = sizeof(*s) + s->blocks * 16;
	FILE *f = fopen(path, "w");

	if (!f || fwrite(s, len, 1, f) != 1 || fclose(f))
		helpers_die(path);
}

static void stamp_fill(char *buf, uint64_t block, uint64_t bs, uint64_t gen)
{
	struct sector *sec = (struct sector *)(void *)buf;
	uint64_t n = bs / SECTOR;

	for (uint64_t i = 0; i < n; i++, sec++) {
		sec->magic = MAGIC;
		sec->number = block * n + i;
		sec->gen = gen;
		for (size_t k = 0; k < SECTOR / 8 - 3; k++)
			sec->fill[k] = gen * 31 + sec->number + k;
	}
}

/* One write or punch of 1 to 4 blocks; 0 or -1 with errno. */
static int stamp_op(struct state *s, int fd, char *buf, uint64_t *rnd)
{
	uint64_t b = helpers_random(rnd) % s->blocks;
	uint64_t n = 1 + helpers_random(rnd) % 4, bs = s->block_size;

	s->gen++;
	if (b % 8 == 7 && helpers_random(rnd) % 2) {
		s->window[b][1] = s->gen;
		return fallocate(fd,
				 FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 (off_t)(b * bs), (off_t)bs);
	}
	if (n > s->blocks - b)
		n = s->blocks - b;
	for (uint64_t i = 0; i < n; i++) {
		stamp_fill(buf + i * bs, b + i, bs, s->gen);
		s->window[b + i][1] = s->gen;
	}
	return pwrite(fd, buf, n * bs, (off_t)(b * bs)) < 0 ? -1 : 0;
}

/* stamp FILE STATE BLOCKS BLOCKSIZE SEED [HOW]: until the file fails; prints
 * "open" when the file is, and the generation after each fsync */
int helpers_stamp(int argc, char **argv)
{
	struct state *s = state_load(argv[2], helpers_num(argv[3]),
				     helpers_num(argv[4]));
	uint64_t rnd = helpers_num(argv[5]);
	char *buf = helpers_buffer(4 * s->block_size);
	int fd = helpers_open(argv[1], argc > 6 ? argv[6] : NULL);
	uint64_t before = s->gen;

	puts("open");
	fflush(stdout);
	for (;;) {
		uint64_t left = 1 + helpers_random(&rnd) % 64;

		while (left-- && !stamp_op(s, fd, buf, &rnd))
			;
		if (left != UINT64_MAX || fsync(fd))
			break;
		for (uint64_t b = 0; b < s->blocks; b++)
			if (s->window[b][1] > before)
				s->window[b][0] = s->window[b][1];
		printf("%" PRIu64 "\n", s->gen);
		fflush(stdout);
	}
	fprintf(stderr, "helpers: stopped by %s\n", strerrorname_np(errno));
	state_save(s, argv[2]);
	free(buf);
	free(s);
	return 0;
}

/* The complaint about one sector, or NULL. */
static const char *sector_fault(const struct state *s, const struct sector *sec,
				uint64_t number)
{
	static const struct sector zero;
	uint64_t block = number / (s->block_size / SECTOR);

	if (!memcmp(sec, &zero, sizeof(zero)))
		return s->window[block][0] && block % 8 != 7 ?
			       "zero, but was synced" :
			       NULL;
	if (sec->magic != MAGIC || sec->number != number)
		return "foreign bytes";
	for (size_t k = 0; k < SECTOR / 8 - 3; k++)
		if (sec->fill[k] != sec->gen * 31 + number + k)
			return "torn inside the sector";
	if (sec->gen > s->window[block][1])
		return "newer than ever written";
	if (sec->gen < s->window[block][0])
		return "older than the last fsync";
	return NULL;
}

/* stampcheck FILE STATE */
int helpers_stampcheck(int argc, char **argv)
{
	struct state *s = state_load(argv[2], 0, 0);
	uint64_t n = s->blocks * (s->block_size / SECTOR), bad = 0;
	int fd = helpers_open(argv[1], "ro");
	struct sector sec;

	(void)argc;
	for (uint64_t i = 0; i < n; i++) {
		const char *fault;

		helpers_pread(fd, &sec, sizeof(sec), i * SECTOR);
		fault = sector_fault(s, &sec, i);
		if (!fault)
			continue;
		if (bad++ < 10)
			printf("sector %" PRIu64 ": %s\n", i, fault);
	}
	printf("%" PRIu64 " bad sectors of %" PRIu64 ", generation %" PRIu64
	       "\n", bad, n, s->gen);
	close(fd);
	free(s);
	return bad != 0;
}
