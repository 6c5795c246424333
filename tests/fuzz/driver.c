/*
 * driver: runs a fuzz target without libFuzzer, so that every build tests it:
 * each file of the corpus, then the same mutations of them on every machine.
 *
 * usage: fuzz_NAME [-n MUTATIONS] [FILE...]
 * Without files it reads $top_srcdir/tests/fuzz/corpus/fuzz_NAME/.
 */
#include <dirent.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"

#if !defined(FUZZ_MUTATIONS)
#define FUZZ_MUTATIONS 20000UL
#endif
#define SEED_MAX (64U << 10) /* longer files are cut */
#define SEEDS_MAX 256U

struct seed {
	uint8_t *data;
	size_t len;
};

static struct seed seeds[SEEDS_MAX];
static unsigned nr_seeds;
static uint64_t rng = 88172645463325252ULL;

static uint64_t rnd(uint64_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng % below;
}

static void run(const uint8_t *data, size_t len)
{
	/* Of exactly this size, so that ASan sees a byte too far. */
	uint8_t *exact = malloc(len ? len : 1);

	FUZZ_CHECK(exact);
	memcpy(exact, data, len);
	LLVMFuzzerTestOneInput(exact, len);
	free(exact);
}

static void load(const char *path)
{
	FILE *f = fopen(path, "rb");
	struct seed *s = &seeds[nr_seeds];

	if (!f) {
		perror(path);
		exit(EXIT_FAILURE);
	}
	FUZZ_CHECK(nr_seeds < SEEDS_MAX);
	s->data = malloc(SEED_MAX);
	FUZZ_CHECK(s->data);
	s->len = fread(s->data, 1, SEED_MAX, f);
	nr_seeds++;
	fclose(f);
}

static int is_visible(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

static void load_corpus(const char *program)
{
	const char *top = getenv("top_srcdir");
	const char *slash = strrchr(program, '/');
	struct dirent **names;
	char path[4096];
	char dir[2048];
	int n;

	snprintf(dir, sizeof(dir), "%s/tests/fuzz/corpus/%s", top ? top : ".",
		 slash ? slash + 1 : program);
	n = scandir(dir, &names, is_visible, alphasort);
	if (n < 0) {
		perror(dir);
		exit(EXIT_FAILURE);
	}
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]->d_name);
		load(path);
		free(names[i]);
	}
	free(names);
}

static void mutate_number(uint8_t *p, size_t len)
{
	static const uint64_t values[] = {
		0, 1, 2, 8, 9, 21, 22, 63, 64, 72, 103, 104, 112, 511, 512,
		1023, 1024, 4096, 65535, 65536, 1 << 21, 1 << 25, 0x7fffffff,
		0x80000000, 0xffffffff, 1ULL << 56, 1ULL << 62, 1ULL << 63,
		0x7fffffffffffffff, 0xffffffffffffffff,
	};
	size_t width = 1U << rnd(4);
	uint64_t v = values[rnd(sizeof(values) / sizeof(values[0]))];
	size_t at;

	if (len < width)
		return;
	at = rnd(len / width) * width;
	v += rnd(8) ? 0 : rnd(3) - 1;
	for (size_t i = 0; i < width; i++)
		p[at + i] = (uint8_t)(v >> 8 * (width - 1 - i));
}

static size_t mutate(uint8_t *p, size_t len)
{
	size_t a = len ? rnd(len) : 0;
	size_t b = len ? rnd(len) : 0;

	switch (rnd(8)) {
	case 0:
		return a; /* cut */
	case 1:
		if (len)
			memmove(p + a, p + b, rnd(len - (a > b ? a : b)) % 64);
		break;
	case 2:
		if (len)
			p[a] = (uint8_t)rnd(256);
		break;
	case 3:
	case 4:
		if (len)
			p[a] ^= (uint8_t)(1U << rnd(8));
		break;
	default:
		/* Half of them in the first bytes, where the fields are. */
		mutate_number(p, rnd(2) && len > 128 ? 128 : len);
		break;
	}
	return len;
}

static void run_mutations(unsigned long n)
{
	uint8_t *p = malloc(SEED_MAX);

	FUZZ_CHECK(p);
	while (n--) {
		const struct seed *s = &seeds[rnd(nr_seeds)];
		size_t len = s->len;

		memcpy(p, s->data, len);
		for (uint64_t k = 1 + rnd(4); k; k--)
			len = mutate(p, len);
		run(p, len);
	}
	free(p);
}

int main(int argc, char **argv)
{
	unsigned long mutations = FUZZ_MUTATIONS;
	int c;

	while ((c = getopt(argc, argv, "n:")) != -1) {
		if (c != 'n')
			return EXIT_FAILURE;
		mutations = strtoul(optarg, NULL, 10);
	}
	for (int i = optind; i < argc; i++)
		load(argv[i]);
	if (optind == argc)
		load_corpus(argv[0]);
	if (!nr_seeds) {
		fprintf(stderr, "no corpus\n");
		return EXIT_FAILURE;
	}
	for (unsigned i = 0; i < nr_seeds; i++)
		run(seeds[i].data, seeds[i].len);
	run_mutations(mutations);
	printf("%u files, %lu mutations\n", nr_seeds, mutations);
	for (unsigned i = 0; i < nr_seeds; i++)
		free(seeds[i].data);
	return EXIT_SUCCESS;
}
