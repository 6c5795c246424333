#include "mutants.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/seed.h"
#include "check/broken.h"
#include "check/crashes.h"
#include "inplace.h"
#include "twofile.h"
#include "slots.h"
#include "workload.h"

enum seed_bug seed_active;

enum how {
	BY_STATES,
	BY_FAILED_SYNC,
	BY_HELD_READER,
	BY_TWO_FILES,
	BY_IN_PLACE,
	BY_SLOTS,
	BY_REPAIR,
};

/* The configurations that bring a bug out soonest; -1 ends the list. */
static const struct {
	enum seed_bug bug;
	const char *name, *rule;
	enum how how;
	int config[4];
} bugs[] = {
	{ SEED_SKIP_F1, "skip-f1", "R1 R2", BY_STATES, { 0, 1, -1 } },
	{ SEED_PUBLISH_L2_EARLY, "publish-l2-early", "R1", BY_STATES,
	  { 0, 1, -1 } },
	{ SEED_PUBLISH_L1_EARLY, "publish-l1-early", "R1", BY_STATES,
	  { 0, 1, -1 } },
	{ SEED_COUNT_AFTER_REFERENCE, "count-after-reference", "R2", BY_STATES,
	  { 0, 1, -1 } },
	{ SEED_REUSE_EARLY, "reuse-early", "R3", BY_STATES, { 0, 2, 7, 3 } },
	{ SEED_DECREMENT_EARLY, "decrement-early", "R4", BY_STATES,
	  { 0, 1, -1 } },
	{ SEED_PUNCH_EARLY, "punch-early", "R5", BY_STATES, { 0, 7, 5, -1 } },
	{ SEED_COPIED_ON_SHARED, "copied-on-shared", "R6", BY_STATES,
	  { 1, 6, 10, -1 } },
	{ SEED_HEADER_EARLY, "header-early", "R7", BY_STATES, { 9, 2, -1 } },
	{ SEED_IGNORE_FAILED_F, "ignore-failed-f", "R8", BY_FAILED_SYNC,
	  { 0, 1, -1 } },
	{ SEED_REFTABLE_EARLY, "reftable-early", "R1", BY_STATES, { 2, 9, -1 } },
	{ SEED_COVERAGE_LATE, "coverage-late", "R2", BY_STATES, { 2, 9, -1 } },
	{ SEED_COW_FILL_LATE, "cow-fill-late", "R1", BY_STATES,
	  { 7, 6, 1, -1 } },
	{ SEED_INSTALL_BEFORE_DATA, "install-before-data", "R1", BY_STATES,
	  { 0, 1, 7, 17 } },
	{ SEED_SUBCLUSTER_UNSYNCED, "subcluster-unsynced", "R1", BY_STATES,
	  { 17, 19, -1 } },
	{ SEED_SUBCLUSTER_LEFT, "subcluster-left", "R1", BY_STATES,
	  { 18, -1 } },
	{ SEED_INSTALL_STREAM_FIRST, "install-stream-first", "R1", BY_STATES,
	  { 12, 13, -1 } },
	{ SEED_ROOTS_EARLY, "roots-early", "R1 R2 R7", BY_STATES,
	  { 0, 1, -1 } },
	{ SEED_SNAPSHOT_UNCOUNTED, "snapshot-uncounted", "R2", BY_STATES,
	  { 0, 1, -1 } },
	{ SEED_COPIED_KEPT, "copied-kept", "R6", BY_STATES, { 0, 4, -1 } },
	{ SEED_DROP_EARLY, "drop-early", "R4", BY_STATES, { 1, 6, -1 } },
	{ SEED_L1_IN_PLACE, "l1-in-place", "R7", BY_STATES, { 1, 6, -1 } },
	{ SEED_L1_ROOT_EARLY, "l1-root-early", "R1 R7", BY_STATES,
	  { 0, 5, 2, -1 } },
	{ SEED_SIZE_EARLY, "size-early", "size", BY_STATES, { 5, 11, 0, -1 } },
	{ SEED_SHRINK_EARLY, "shrink-early", "R4", BY_STATES, { 0, 2, -1 } },
	{ SEED_PIN_DROPPED, "pin-dropped", "R3", BY_HELD_READER, { 0, 3, 7, -1 } },
	{ SEED_BASE_UNSYNCED, "base-unsynced", "R9", BY_TWO_FILES,
	  { 0, 2, 6, 7 } },
	{ SEED_EMPTIED_FIRST, "emptied-first", "R9", BY_TWO_FILES,
	  { 1, 3, 5, 6 } },
	{ SEED_NAME_UNSYNCED, "name-unsynced", "R1", BY_IN_PLACE,
	  { 0, 1, -1 } },
	{ SEED_NAME_IN_PLACE, "name-in-place", "R1", BY_IN_PLACE, { 0, -1 } },
	{ SEED_WIDTH_EARLY, "width-early", "R1 R7", BY_IN_PLACE, { 4, 5, -1 } },
	{ SEED_DOWNGRADE_EARLY, "downgrade-early", "version", BY_IN_PLACE,
	  { 6, 8, -1 } },
	{ SEED_SKIP_DATA_F, "skip-data-f", "R1", BY_STATES,
	  { 20, 21, 22, -1 } },
	{ SEED_DATA_PUNCH_EARLY, "data-punch-early", "R5", BY_TWO_FILES,
	  { 4, 5, 7, -1 } },
	{ SEED_RAW_BY_FLAG, "raw-by-flag", "raw", BY_STATES, { 22, -1 } },
	{ SEED_AUTOCLEAR_LATE, "autoclear-late", "autoclear", BY_STATES,
	  { 8, -1 } },
	{ SEED_BITMAP_UNMARKED, "bitmap-unmarked", "R10", BY_STATES,
	  { 14, 15, -1 } },
	{ SEED_BITMAP_CLEAN_EARLY, "bitmap-clean-early", "R10", BY_STATES,
	  { 14, 15, -1 } },
	{ SEED_BITMAP_DIR_EARLY, "bitmap-dir-early", "R1 R7", BY_STATES,
	  { 14, 15, -1 } },
	{ SEED_BITMAP_FREED_EARLY, "bitmap-freed-early", "R4", BY_STATES,
	  { 14, 15, -1 } },
	{ SEED_BITMAP_EXT_EARLY, "bitmap-ext-early", "R1", BY_STATES,
	  { 16, -1 } },
	{ SEED_BITMAP_EXT_TORN, "bitmap-ext-torn", "R7", BY_STATES,
	  { 15, -1 } },
	{ SEED_SLOT_EARLY, "slot-early", "R11", BY_SLOTS, { 0, -1 } },
	{ SEED_REBUILD_EARLY, "rebuild-early", "R1 R7", BY_REPAIR,
	  { 14, -1 } },
	{ SEED_MOVED_EARLY, "moved-early", "R1 R2", BY_REPAIR, { 62, -1 } },
	{ SEED_UNGUARDED, "unguarded", "guard", BY_REPAIR, { 31, -1 } },
	{ SEED_UNDO_LATE, "undo-late", "R1", BY_REPAIR, { 0, -1 } },
	{ SEED_CIPHER_NUMBER, "cipher-number", "R12", BY_STATES,
	  { 24, 25, -1 } },
	{ SEED_CIPHER_HOLE, "cipher-hole", "R12", BY_STATES,
	  { 23, 24, 26, -1 } },
	{ SEED_CIPHER_CARRIED, "cipher-carried", "R12", BY_STATES,
	  { 26, -1 } },
	{ SEED_CIPHER_PUNCHED, "cipher-punched", "R12", BY_STATES,
	  { 27, -1 } },
	{ SEED_BITMAP_CLEAR_LATE, "bitmap-clear-late", "R10", BY_STATES,
	  { 14, 15, -1 } },
	{ SEED_BITMAP_DISABLE_BARE, "bitmap-disable-bare", "R10", BY_STATES,
	  { 14, 15, -1 } },
	{ SEED_BITMAP_MERGE_LOST, "bitmap-merge-lost", "R10", BY_STATES,
	  { 14, 15, -1 } },
};

static const char *const faults[] = { "corrupt", "lost", "foreign", "order",
				      "?" };

_Static_assert(sizeof(bugs) / sizeof(*bugs) == SEED_MAX - 1,
	       "every bug has a line");

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* A write that is under way when another thread's sync fails may go on: it is
 * not what these workloads are about. */
static void fail_a_sync(struct workload *w, int which)
{
	w->fail_sync = which;
	for (unsigned i = 0; i < w->n; i++)
		if (w->op[i].type == WORKLOAD_WRITE_FLUSH_1 ||
		    w->op[i].type == WORKLOAD_WRITE_FLUSH_2)
			w->op[i].type = WORKLOAD_WRITE;
}

/* Two operations on key slots, all their states. */
static bool check_slots(struct workload_run *r)
{
	unsigned states;
	bool caught = slots_check(r->text, sizeof(r->text), &states) < 0;

	r->stats.states += states;
	if (caught)
		r->fault = ENUMERATE_LOST; /* what a passphrase opened is lost */
	return caught;
}

/* A repair of an image of the corpus, interrupted, with an undo file; CONFIG is
 * where to begin in the list. */
static int check_repair(struct workload_run *r, unsigned config, unsigned i)
{
	struct hostmem *m = broken_build((config + i) % broken_n);
	bool ok = crashes_undo_order(m);

	if (!ok)
		snprintf(r->text, sizeof(r->text), "written before it was saved");
	else
		ok = crashes_run(m, r->text, sizeof(r->text));
	hostmem_free(m);
	return ok ? 0 : -1;
}

/* One workload of the series for this bug; true when it was caught. */
static bool attempt(struct workload_run *r, unsigned b, unsigned i)
{
	struct workload w;
	unsigned n = 0;
	int config;

	while (n < 4 && bugs[b].config[n] >= 0)
		n++;
	config = bugs[b].config[i % n];
	i /= n;
	if (bugs[b].how == BY_SLOTS)
		return check_slots(r);
	if (bugs[b].how == BY_HELD_READER)
		return workload_held_reader(r, (unsigned)config) < 0;
	if (bugs[b].how == BY_REPAIR)
		return check_repair(r, (unsigned)config, i) < 0;
	if (bugs[b].how == BY_TWO_FILES)
		return twofile_check(r, (unsigned)config, i) < 0;
	if (bugs[b].how == BY_IN_PLACE)
		return inplace_check(r, (unsigned)config, i) < 0;
	if (bugs[b].how == BY_STATES && i < workload_alphabet() && i % 2)
		workload_exhaustive(&w, (unsigned)config, 1, i);
	else
		workload_random(&w, (unsigned)config, 1000 + i);
	if (bugs[b].how == BY_FAILED_SYNC)
		fail_a_sync(&w, (int)(i % 6));
	return workload_check(r, &w) < 0;
}

static bool hunt(unsigned b, bool verbose)
{
	struct workload_run r = { .qemu_every = 1, .sample_every = 400,
				  .product_max = 512 };
	unsigned tries = bugs[b].how == BY_HELD_READER ? 6 :
			 bugs[b].how == BY_SLOTS ? 1 : 600, i;
	double end = now() + 60;
	bool caught = false;

	if (workload_start(&r))
		return false;
	seed_active = bugs[b].bug;
	for (i = 0; i < tries && !caught && now() < end; i++)
		caught = attempt(&r, b, i);
	seed_active = SEED_NONE;
	printf("%-22s %-9s %-10s %8" PRIu64 " states %4u workloads\n",
	       bugs[b].name, bugs[b].rule,
	       caught ? faults[r.fault] : "NOT CAUGHT", r.stats.states, i);
	if (verbose && caught)
		printf("    %s\n", r.text);
	fflush(stdout);
	workload_end(&r);
	return caught;
}

/* The same hunts without a bug find nothing. */
static bool hunt_nothing(void)
{
	struct workload_run r = { .qemu_every = 1, .sample_every = 400,
				  .product_max = 512 };
	bool quiet = true;
	unsigned b;

	if (workload_start(&r))
		return false;
	for (b = 0; b < SEED_MAX - 1 && quiet; b++)
		for (unsigned i = 0; i < (bugs[b].how == BY_SLOTS ? 1 : 12) &&
				     quiet; i++)
			if (attempt(&r, b, i)) {
				quiet = false;
				printf("    %s: %s\n", bugs[b].name, r.text);
			}
	printf("%-22s %-9s %-10s %8" PRIu64 " states %4" PRIu64 " workloads\n",
	       "none", "-", quiet ? "nothing" : "FALSE ALARM",
	       r.stats.states, r.runs);
	fflush(stdout);
	workload_end(&r);
	return quiet;
}

int mutants_run(unsigned only, bool verbose)
{
	unsigned caught = 0, tried = 0;

	bool quiet;

	printf("%-22s %-9s %-10s %8s\n", "bug", "rule", "caught by", "until");
	quiet = only || hunt_nothing();
	for (unsigned b = 0; b < SEED_MAX - 1; b++) {
		if (only && bugs[b].bug != only)
			continue;
		tried++;
		caught += hunt(b, verbose);
	}
	printf("%u of %u bugs caught\n", caught, tried);
	return caught == tried && quiet ? 0 : 1;
}
