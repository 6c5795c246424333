/*
 * test_loop: the threads that serve requests, with a pair of sockets in place of
 * the kernel, and when they poll. That one polls is seen from outside: the
 * descriptor is O_NONBLOCK then.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuse/loop.h"
#include "fuse/pace.h"
#include "suite.h"

#define HEAD 80
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

enum kind { ECHO, WAIT, RELEASE };

struct message {
	unsigned char head[HEAD];
	enum kind kind;
	unsigned n;
};

static int ours, theirs; /* ends of the pair; "ours" is the loop's */
static atomic_bool over, released, misplaced;
static atomic_uint served;
static pthread_t thread;
static int result;

static void serve(void *arg, void *data, size_t len)
{
	struct message *m = data;

	(void)arg;
	if (len != sizeof(*m) || (uintptr_t)&m->kind % 4096)
		atomic_store(&misplaced, true);
	if (m->kind == RELEASE)
		atomic_store(&released, true);
	while (m->kind == WAIT && !atomic_load(&released))
		sched_yield();
	atomic_fetch_add(&served, 1);
	if (send(ours, m, len, 0) != (ssize_t)len)
		atomic_store(&misplaced, true);
}

static bool is_over(void *arg)
{
	(void)arg;
	return atomic_load(&over);
}

static void wake(int sig)
{
	(void)sig;
}

static void *loop_thread(void *arg)
{
	result = loop_run(arg);
	return NULL;
}

static struct loop_setup setup;

static void prepare(unsigned threads, unsigned poll_us)
{
	struct sigaction sa = { .sa_handler = wake };
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
	ours = fds[0];
	theirs = fds[1];
	sigaction(SIGUSR1, &sa, NULL);
	atomic_store(&over, false);
	atomic_store(&released, false);
	atomic_store(&misplaced, false);
	atomic_store(&served, 0);
	setup = (struct loop_setup){
		.fd = ours,
		.max_threads = threads,
		.poll_us = poll_us,
		.message_max = 8192,
		.head = HEAD,
		.serve = serve,
		.over = is_over,
	};
}

static void begin(void)
{
	ck_assert_int_eq(pthread_create(&thread, NULL, loop_thread, &setup), 0);
}

static void start(unsigned threads, unsigned poll_us)
{
	prepare(threads, poll_us);
	begin();
}

static void stop(void)
{
	atomic_store(&over, true);
	do {
		pthread_kill(thread, SIGUSR1);
		usleep(1000);
	} while (pthread_tryjoin_np(thread, NULL));
	close(ours);
	close(theirs);
	ck_assert_int_eq(result, 0);
	ck_assert(!atomic_load(&misplaced));
}

/* As ck_assert(), which notes each place that it passes, and that takes longer
 * than a request. */
static void must(bool ok)
{
	if (!ok)
		ck_abort_msg("errno %s", strerror(errno));
}

static void ask(enum kind kind, unsigned n)
{
	struct message m = { .kind = kind, .n = n };

	must(send(theirs, &m, sizeof(m), 0) == sizeof(m));
}

static unsigned answer(void)
{
	struct message m;

	must(recv(theirs, &m, sizeof(m), 0) == sizeof(m));
	return m.n;
}

static bool polls(void)
{
	return fcntl(ours, F_GETFL) & O_NONBLOCK;
}

/* One after the other until the loop polls; false where it never does, on one
 * CPU. */
static bool ask_until_polling(void)
{
	cpu_set_t cpus;

	must(!sched_getaffinity(0, sizeof(cpus), &cpus));
	for (unsigned i = 0; i < 200000; i++) {
		if (polls())
			return true;
		if (CPU_COUNT(&cpus) == 1 && i == 5000)
			return false;
		ask(ECHO, i);
		must(answer() == i);
	}
	ck_abort_msg("it never polls");
}

/* Each once, whatever the number of threads; many at once. */
START_TEST(all_served)
{
	static const unsigned threads[] = { 1, 2, 4, 16 };
	enum { N = 64, ROUNDS = 200 };

	for (unsigned t = 0; t < 4; t++) {
		start(threads[t], t % 2 ? 1000 : 0);
		for (unsigned r = 0; r < ROUNDS; r++) {
			unsigned char seen[N] = { 0 };

			for (unsigned i = 0; i < N; i++)
				ask(ECHO, i);
			for (unsigned i = 0; i < N; i++)
				seen[answer() % N]++;
			for (unsigned i = 0; i < N; i++)
				must(seen[i] == 1);
		}
		stop();
		ck_assert_uint_eq(atomic_load(&served), N * ROUNDS);
	}
}
END_TEST

/* Of four threads three may be stuck. */
START_TEST(stuck)
{
	start(4, 1000);
	for (unsigned i = 0; i < 3; i++)
		ask(WAIT, 1);
	ask(ECHO, 2);
	ck_assert_uint_eq(answer(), 2);
	ask(RELEASE, 3);
	for (unsigned i = 0, sum = 0; i < 4; i++) {
		sum += answer();
		ck_assert(i < 3 || sum == 6);
	}
	stop();
}
END_TEST

/* So too when it polls: the others wait no longer than a moment. */
START_TEST(stuck_while_polling)
{
	for (unsigned round = 0; round < 20; round++) {
		start(4, 1000);
		if (ask_until_polling()) {
			for (unsigned i = 0; i < 3; i++)
				ask(WAIT, 1);
			ask(ECHO, 2);
			ck_assert_uint_eq(answer(), 2);
			ask(RELEASE, 3);
			for (unsigned i = 0; i < 4; i++)
				(void)answer();
		}
		stop();
	}
}
END_TEST

/* Who asks no more leaves no thread that looks. */
START_TEST(stops_polling)
{
	start(3, 200);
	if (ask_until_polling())
		for (int i = 0; i < 5000 && polls(); i++)
			usleep(1000);
	ck_assert(!polls());
	stop();
}
END_TEST

START_TEST(never_polls)
{
	start(3, 0);
	for (unsigned i = 0; i < 5000; i++) {
		ask(ECHO, i);
		must(answer() == i);
		must(!polls());
	}
	stop();
}
END_TEST

/* It ends from outside at any time, and when the device does. */
START_TEST(ends)
{
	for (unsigned round = 0; round < 40; round++) {
		start(1 + round % 5, round % 2 ? 1000 : 0);
		for (unsigned i = 0; i < round * 8; i++) {
			ask(ECHO, i);
			must(answer() == i);
		}
		if (round % 4 == 3)
			(void)ask_until_polling();
		stop();
	}
	for (unsigned round = 0; round < 10; round++) {
		start(4, 1000);
		ask(ECHO, 1);
		ck_assert_uint_eq(answer(), 1);
		if (round % 2)
			(void)ask_until_polling();
		shutdown(theirs, SHUT_WR);
		pthread_join(thread, NULL);
		ck_assert_int_eq(result, 0);
		close(ours);
		close(theirs);
	}
}
END_TEST

static uint64_t address_space(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long pages;

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%lu", &pages), 1);
	fclose(f);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* One thread serves all, where there is no memory for another. */
START_TEST(no_memory)
{
	const size_t large = 1U << 30;
	struct rlimit lim;

	if (SANITIZED) /* they need all the addresses that there are */
		return;
	ck_assert_int_eq(getrlimit(RLIMIT_AS, &lim), 0);
	prepare(4, 0);
	setup.message_max = large;
	lim.rlim_cur = address_space() + large + large / 2;
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &lim), 0);
	begin();
	for (unsigned i = 0; i < 100; i++) {
		ask(ECHO, i);
		ck_assert_uint_eq(answer(), i);
	}
	stop();
}
END_TEST

/* --- pace ------------------------------------------------------------------- */

/* So many requests, each NS after the one before: how many until it polls? */
static unsigned needed(struct pace *p, uint64_t *now, uint64_t ns)
{
	for (unsigned i = 0; i < 100000; i++)
		if (pace_alone(p, *now += ns))
			return i;
	return 0;
}

START_TEST(pace_streaks)
{
	uint64_t now = 1000000;
	struct pace p;
	unsigned first;

	pace_init(&p, 50000);
	first = needed(&p, &now, 40000);
	ck_assert_uint_gt(first, 8);
	/* too slow for it to pay */
	pace_init(&p, 50000);
	ck_assert_uint_eq(needed(&p, &now, 120000), 0);
	/* company begins the count anew */
	pace_init(&p, 50000);
	for (unsigned i = 0; i < 10 * first; i++) {
		if (i % (first / 2) == 0)
			pace_shared(&p);
		must(!pace_alone(&p, now += 40000));
	}
}
END_TEST

START_TEST(pace_learns)
{
	uint64_t now = 1000000;
	unsigned before, after;
	struct pace p;

	/* polling that served nobody makes the next one harder to begin */
	pace_init(&p, 50000);
	(void)pace_alone(&p, now); /* the first has none before it */
	before = needed(&p, &now, 10000);
	pace_ended(&p, 3);
	after = needed(&p, &now, 10000);
	ck_assert_uint_gt(after, before + before / 2);
	for (int i = 0; i < 40; i++)
		pace_ended(&p, 3);
	after = needed(&p, &now, 10000);
	ck_assert_uint_gt(after, 1000); /* but not for ever */
	pace_ended(&p, 1000000);
	ck_assert_uint_eq(needed(&p, &now, 10000), before);
}
END_TEST

START_TEST(pace_stays)
{
	struct pace p;
	unsigned n;

	pace_init(&p, 50000);
	for (n = 0; n < 10000; n++) /* one of four comes late */
		must(pace_polled(&p, n % 4 ? PACE_FOUND : PACE_SLEPT));
	for (n = 0; n < 10000; n++) /* one of two is there already */
		must(pace_polled(&p, n % 2 ? PACE_FOUND : PACE_AT_ONCE));
	for (n = 0; n < 100 && pace_polled(&p, PACE_AT_ONCE); n++)
		;
	ck_assert_uint_lt(n, 100); /* a queue */
	pace_ended(&p, 1);
	for (n = 0; n < 100 && pace_polled(&p, PACE_SLEPT); n++)
		;
	ck_assert_uint_lt(n, 100); /* looking does not help */
}
END_TEST

SUITE_MAIN("loop", all_served, stuck, stuck_while_polling, stops_polling,
	   never_polls, ends, no_memory, pace_streaks, pace_learns, pace_stays)
