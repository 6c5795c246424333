/*
 * crash: proves that no crash can harm an image (docs/crash-testing.md).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "import.h"
#include "inplace.h"
#include "mutants.h"
#include "twofile.h"
#include "slots.h"
#include "workload.h"

#define WORKERS 2
#define HASHES (1U << 22)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define DEFAULT_MODE "--small"
#else
#define DEFAULT_MODE "--quick"
#endif

static const char *const dumps[WORKERS] = { "crash-state.qcow2",
					    "crash-state2.qcow2" };

struct goal {
	uint64_t states; /* unique, over all workers */
	double seconds;	 /* stop after */
	uint64_t qemu;	 /* states for qemu-img */
	uint64_t seed;
};

/* What a worker leaves for its parent, in shared memory. */
struct share {
	struct enumerate_stats stats;
	uint64_t runs, qemu, compounds, n;
	bool failed;
	char text[1200];
	uint64_t hash[HASHES];
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/*
 * The I-th workload: first every single operation on every image, then long
 * random ones, pairs and triples in turn, so that whatever the time allows has
 * something of all.
 */
static void pick(struct workload *w, uint64_t i, uint64_t seed)
{
	uint64_t n = workload_alphabet(), configs = workload_configs();
	unsigned config = (unsigned)(i % configs);
	uint64_t k = i / configs;

	if (k < n) {
		workload_exhaustive(w, config, 1, k);
		return;
	}
	k -= n;
	/* 7919 is prime: a walk over all pairs and triples without repeats */
	if (k % 3 == 0)
		workload_random(w, config, seed + k);
	else if (k % 3 == 1)
		workload_exhaustive(w, config, 2, k / 3 * 7919 % (n * n));
	else
		workload_exhaustive(w, config, 3, k / 3 * 7919 % (n * n * n));
}

static void work(struct share *s, unsigned me, const struct goal *g)
{
	struct workload_run r = { .sample_every = 100, .qemu_every = 1,
				  .qemu_left = g->qemu / WORKERS,
				  .dump = dumps[me] };
	double end = now() + g->seconds;
	struct workload w;

	if (g->qemu)
		r.qemu_every = g->states / 100 / g->qemu;
	if (!r.qemu_every)
		r.qemu_every = 1;
	if (workload_start(&r)) {
		s->failed = true;
		return;
	}
	for (uint64_t i = me; !s->failed && now() < end; i += WORKERS) {
		if (r.seen.n > g->states / WORKERS * 23 / 20 ||
		    r.seen.n >= HASHES)
			break;
		pick(&w, i, g->seed);
		if (workload_check(&r, &w)) {
			s->failed = true;
			snprintf(s->text, sizeof(s->text), "%s\n%s", w.name,
				 r.text);
		}
	}
	s->stats = r.stats;
	s->runs = r.runs;
	s->qemu = r.qemu_done;
	s->compounds = r.compounds;
	for (uint64_t i = 0; i < r.seen.cap && s->n < HASHES; i++)
		if (r.seen.slot[i])
			s->hash[s->n++] = r.seen.slot[i];
	workload_end(&r);
}

static uint64_t sum_up(struct share *const *s, struct enumerate_stats *t)
{
	struct hashset all = { 0 };
	uint64_t n;

	for (unsigned i = 0; i < WORKERS; i++) {
		t->checked += s[i]->stats.checked;
		t->points += s[i]->stats.points;
		t->pairs += s[i]->stats.pairs;
		for (unsigned f = 0; f < ENUMERATE_FAULTS; f++)
			t->bad[f] += s[i]->stats.bad[f];
		if (s[i]->stats.leaks_max > t->leaks_max)
			t->leaks_max = s[i]->stats.leaks_max;
		for (uint64_t k = 0; k < s[i]->n; k++)
			hashset_add(&all, s[i]->hash[k]);
	}
	n = all.n;
	hashset_fini(&all);
	return n;
}

static int report(struct share *const *s, const struct goal *g, double seconds)
{
	struct enumerate_stats t = { 0 };
	uint64_t unique = sum_up(s, &t), bad = 0;
	int rc = 0;

	for (unsigned f = 0; f < ENUMERATE_FAULTS; f++)
		bad += t.bad[f];
	printf("workloads %" PRIu64 ", crash points %" PRIu64
	       ", states %" PRIu64 " unique of %" PRIu64
	       " checked, mappings %" PRIu64 "\n"
	       "corrupt %" PRIu64 ", lost %" PRIu64 ", foreign %" PRIu64
	       ", order %" PRIu64 ", leaks at most %" PRIu64 "\n"
	       "remounted %" PRIu64 ", qemu-img check %" PRIu64
	       ", seconds %.1f\n",
	       s[0]->runs + s[1]->runs, t.points, unique, t.checked, t.pairs,
	       t.bad[ENUMERATE_CORRUPT], t.bad[ENUMERATE_LOST],
	       t.bad[ENUMERATE_FOREIGN], t.bad[ENUMERATE_ORDER], t.leaks_max,
	       s[0]->compounds + s[1]->compounds, s[0]->qemu + s[1]->qemu,
	       seconds);
	for (unsigned i = 0; i < WORKERS; i++) {
		if (!s[i]->failed)
			continue;
		printf("BAD: %s\nimage: %s; again: crash --replay %.*s\n",
		       s[i]->text, dumps[i],
		       (int)strcspn(s[i]->text, "\n"), s[i]->text);
		rc = 1;
	}
	if (!rc && unique < g->states) {
		printf("only %" PRIu64 " of %" PRIu64 " states\n", unique,
		       g->states);
		rc = 1;
	}
	return rc || bad ? 1 : 0;
}

/* What has no guest: "rawcow commit", which changes two files, and rebase and
 * amend. All their starts, a few times each. */
static int commands(uint64_t seed)
{
	struct workload_run r = { 0 };
	int rc = workload_start(&r);

	for (unsigned i = 0; i < 4 * TWOFILE_CONFIGS && !rc; i++)
		rc = twofile_check(&r, i % TWOFILE_CONFIGS, seed + i);
	for (unsigned i = 0; i < 4 * INPLACE_CASES && !rc; i++)
		rc = inplace_check(&r, i % INPLACE_CASES, seed + i);
	printf("commit, rebase, amend: %" PRIu64 " states: %s\n", r.stats.states,
	       rc ? r.text : "good");
	fflush(stdout);
	workload_end(&r);
	return rc;
}

static int run_all(const struct goal *g)
{
	struct share *s[WORKERS];
	double start = now();
	pid_t pid[WORKERS];
	int status, rc;

	printf("seed %" PRIu64 "\n", g->seed);
	fflush(stdout);
	if (commands(g->seed))
		return 1;
	for (unsigned i = 0; i < WORKERS; i++) {
		s[i] = mmap(NULL, sizeof(**s), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (s[i] == MAP_FAILED)
			abort();
		pid[i] = fork();
		if (pid[i] < 0)
			abort();
		if (!pid[i]) {
			work(s[i], i, g);
			exit(0);
		}
	}
	for (unsigned i = 0; i < WORKERS; i++)
		if (waitpid(pid[i], &status, 0) < 0 || status) {
			s[i]->failed = true;
			snprintf(s[i]->text, sizeof(s[i]->text),
				 "-\nworker %u ended with status %#x", i,
				 (unsigned)status);
		}
	rc = report(s, g, now() - start);
	for (unsigned i = 0; i < WORKERS; i++)
		munmap(s[i], sizeof(**s));
	return rc;
}

/* NAME as it was printed: all:CONFIG:LEN:INDEX or random:CONFIG:SEED. */
static int replay(const char *name)
{
	struct workload_run r = { .sample_every = 1, .qemu_every = 1,
				  .dump = dumps[0] };
	unsigned long long index;
	unsigned config, len;
	struct workload w;
	int rc;

	if (sscanf(name, "all:%u:%u:%llu", &config, &len, &index) == 3 &&
	    config < workload_configs() && len <= 3) {
		workload_exhaustive(&w, config, len, index);
	} else if (sscanf(name, "random:%u:%llu", &config, &index) == 2 &&
		   config < workload_configs()) {
		workload_random(&w, config, index);
	} else {
		fprintf(stderr, "crash: no workload '%s'\n", name);
		return 2;
	}
	workload_print(&w);
	if (workload_start(&r))
		return 2;
	rc = workload_check(&r, &w);
	printf("states %" PRIu64 ": %s\n", r.stats.states, rc ? r.text : "good");
	workload_end(&r);
	return rc ? 1 : 0;
}

/* Adding and erasing a passphrase, cut off anywhere. */
static int check_slots(void)
{
	char text[256] = "good";
	unsigned states;
	int bad = slots_check(text, sizeof(text), &states);

	printf("key slots: %u states: %s\n", states, text);
	return bad ? 1 : 0;
}

static bool have_qemu(void)
{
	if (!system("qemu-img --version >/dev/null 2>&1"))
		return true;
	printf("qemu-img check skipped: qemu-img is not installed\n");
	return false;
}

static int usage(void)
{
	fputs("usage: crash [--quick | --small | --nightly STATES |\n"
	      "             --replay WORKLOAD | --mutants [BUG] |\n"
	      "             --import LOG IMAGE]\n"
	      "RAWCOW_CRASH_SEED chooses other random workloads.\n", stderr);
	return 2;
}

int main(int argc, char **argv)
{
	const char *seed = getenv("RAWCOW_CRASH_SEED");
	struct goal g = { .seed = seed ? strtoull(seed, NULL, 0) : 1 };
	const char *mode = argc > 1 ? argv[1] : DEFAULT_MODE;

	log_setup(LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	if (!strcmp(mode, "--import"))
		return argc == 4 ? import_check(argv[2], argv[3]) : usage();
	if (!strcmp(mode, "--mutants")) {
		/* broken images are expected there, and complaints about them */
		if (!freopen("/dev/null", "w", stderr))
			return 2;
		return mutants_run(argc > 2 ? (unsigned)atoi(argv[2]) : 0,
				   true);
	}
	if (!strcmp(mode, "--replay"))
		return argc == 3 ? replay(argv[2]) : usage();
	if (!strcmp(mode, "--quick")) {
		g.states = 100000;
		g.seconds = 110;
		g.qemu = have_qemu() ? 300 : 0;
	} else if (!strcmp(mode, "--small")) {
		g.states = 10000;
		g.seconds = 300;
		g.qemu = 0;
	} else if (!strcmp(mode, "--nightly") && argc == 3) {
		g.states = strtoull(argv[2], NULL, 0);
		g.seconds = 7200;
		g.qemu = have_qemu() ? g.states / 50 : 0;
	} else {
		return usage();
	}
	return check_slots() | run_all(&g);
}
