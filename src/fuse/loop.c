#include "fuse/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/num.h"
#include "fuse/pace.h"

#define PAGE 4096U
#define WATCH_MS 2U
#define SLEEP_MS 1
#define WAKE_INTERVAL_NS 20000000L
/* Between two looks: they take a lock that the kernel's other side needs. */
#define PAUSES 8

struct worker {
	struct worker *next;
	struct loop *loop;
	pthread_t thread;
	char *mem; /* for messages, from "before" on [worker_new] */
	size_t before;
	atomic_bool reading;
	atomic_uint polled; /* requests served since it polls */
	atomic_uint beat; /* odd while it serves a request as the poller */
};

struct loop {
	const struct loop_setup *set;
	struct pace pace;
	sem_t ended; /* posted by whoever ends the loop from inside */
	atomic_bool over;
	atomic_int rc;

	atomic_uint waiting; /* workers that serve nothing */
	atomic_uint count;
	_Atomic(struct worker *) poller; /* the others are parked; or NULL */

	struct lock lock; /* guards what follows, and changes of poller, count */
	struct lock_cond unpark;
	struct worker *workers;
	bool watched; /* a parked worker watches the poller */
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static void pause_cpu(void)
{
	for (int i = 0; i < PAUSES; i++)
#if defined(__x86_64__) || defined(__i386__)
		__builtin_ia32_pause();
#elif defined(__aarch64__)
		__asm__ volatile("isb");
#else
		__asm__ volatile("" ::: "memory");
#endif
}

static bool is_over(struct loop *l)
{
	return atomic_load_explicit(&l->over, memory_order_relaxed) ||
	       l->set->over(l->set->arg);
}

/* --- polling --------------------------------------------------------------- */

static void set_nonblock(struct loop *l, bool on)
{
	int flags = fcntl(l->set->fd, F_GETFL);

	fcntl(l->set->fd, F_SETFL,
	      on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

/* A poller on the only CPU keeps its clients from asking. */
static bool has_cpus(void)
{
	cpu_set_t set;

	return !sched_getaffinity(0, sizeof(set), &set) && CPU_COUNT(&set) > 1;
}

static void poll_end_locked(struct loop *l) LOCK_REQUIRES(&l->lock)
{
	struct worker *w = atomic_load(&l->poller);

	if (!w)
		return;
	pace_ended(&l->pace, atomic_load(&w->polled));
	set_nonblock(l, false);
	atomic_store(&l->poller, NULL);
	lock_cond_wake_all(&l->unpark);
}

static void poll_end(struct loop *l, const struct worker *w)
{
	lock_take(&l->lock);
	if (atomic_load(&l->poller) == w)
		poll_end_locked(l);
	lock_drop(&l->lock);
}

/* The others leave their reads, which do not block any more, to be parked: the
 * kernel would wake one of them for each request that the poller gets. */
static void poll_begin(struct loop *l, struct worker *w)
{
	lock_take(&l->lock);
	if (!has_cpus()) {
		pace_ended(&l->pace, 0); /* or it is asked at each request */
	} else if (!atomic_load(&l->poller) && !is_over(l)) {
		atomic_store(&w->polled, 0);
		atomic_store(&l->poller, w);
		set_nonblock(l, true);
		for (struct worker *o = l->workers; o; o = o->next)
			if (atomic_load(&o->reading))
				pthread_kill(o->thread, SIGUSR1);
	}
	lock_drop(&l->lock);
}

/* Wait until nobody polls. One of those who do watches that the poller is not
 * stuck in a request. */
static void park(struct loop *l)
{
	struct worker *w;

	lock_take(&l->lock);
	while ((w = atomic_load(&l->poller)) && !is_over(l)) {
		unsigned beat = atomic_load(&w->beat);

		if (l->watched) {
			lock_cond_wait(&l->unpark, &l->lock);
			continue;
		}
		l->watched = true;
		lock_cond_wait_ms(&l->unpark, &l->lock, WATCH_MS);
		l->watched = false;
		if (beat % 2 && atomic_load(&w->beat) == beat &&
		    atomic_load(&l->poller) == w)
			poll_end_locked(l);
	}
	lock_drop(&l->lock);
}

/* --- taking a request ------------------------------------------------------ */

/* Bytes, or -errno; -EAGAIN: look what has changed. */
static ssize_t try_receive(struct loop *l, void *buf)
{
	ssize_t n = read(l->set->fd, buf, l->set->message_max);

	if (n < 0 && (errno == EINTR || errno == ENOENT))
		return -EAGAIN; /* ENOENT: it was interrupted before we had it */
	return n < 0 ? -errno : n;
}

static ssize_t receive(struct loop *l, struct worker *w, void *buf)
{
	ssize_t n;

	atomic_store(&w->reading, true);
	n = try_receive(l, buf);
	atomic_store_explicit(&w->reading, false, memory_order_relaxed);
	return n;
}

/* Look for a request; then sleep a moment, but not long with others parked. */
static ssize_t wait_polling(struct loop *l, void *buf, enum pace_wait *how)
{
	uint64_t end = now_ns() + l->set->poll_us * 1000ULL;
	struct pollfd p = { .fd = l->set->fd, .events = POLLIN };
	ssize_t n;

	*how = PACE_FOUND;
	do {
		pause_cpu();
		n = try_receive(l, buf);
	} while (n == -EAGAIN && now_ns() < end);
	if (n != -EAGAIN)
		return n;
	*how = PACE_SLEPT;
	return poll(&p, 1, SLEEP_MS) > 0 ? try_receive(l, buf) : -EAGAIN;
}

static ssize_t receive_polling(struct loop *l, struct worker *w, void *buf)
{
	enum pace_wait how = PACE_AT_ONCE;
	ssize_t n = try_receive(l, buf);

	if (n == -EAGAIN)
		n = wait_polling(l, buf, &how);
	if (n <= 0 || !pace_polled(&l->pace, how))
		poll_end(l, w);
	return n;
}

/* --- workers --------------------------------------------------------------- */

static void *worker_main(void *arg);

static void worker_free(struct worker *w)
{
	free(w->mem);
	free(w);
}

/* The head ends where a page begins, so what is written is aligned. */
static struct worker *worker_new(struct loop *l)
{
	struct worker *w = calloc(1, sizeof(*w));
	size_t head = num_round_up(l->set->head, PAGE);

	if (!w)
		return NULL;
	w->loop = l;
	w->before = head - l->set->head;
	w->mem = aligned_alloc(PAGE, head + num_round_up(l->set->message_max,
							 PAGE));
	if (w->mem)
		return w;
	worker_free(w);
	return NULL;
}

static int worker_start_locked(struct loop *l) LOCK_REQUIRES(&l->lock)
{
	struct worker *w = worker_new(l);
	int rc;

	if (!w)
		return -ENOMEM;
	/* before it takes its first request */
	atomic_fetch_add(&l->waiting, 1);
	atomic_fetch_add(&l->count, 1);
	rc = -pthread_create(&w->thread, NULL, worker_main, w);
	if (rc) {
		atomic_fetch_sub(&l->waiting, 1);
		atomic_fetch_sub(&l->count, 1);
		worker_free(w);
		return rc;
	}
	w->next = l->workers;
	l->workers = w;
	return 0;
}

static int worker_start(struct loop *l)
{
	int rc = 0;

	lock_take(&l->lock);
	if (atomic_load(&l->count) < l->set->max_threads && !is_over(l))
		rc = worker_start_locked(l);
	lock_drop(&l->lock);
	return rc;
}

/* A worker has a request. How many wait? If none does, there shall be one more:
 * it may have to keep watch, too. */
static unsigned begin_request(struct loop *l)
{
	unsigned left = atomic_fetch_sub(&l->waiting, 1) - 1;

	if (!left && atomic_load(&l->count) < l->set->max_threads)
		(void)!worker_start(l);
	return left;
}

static void serve_polling(struct loop *l, struct worker *w, void *msg,
			  size_t len)
{
	atomic_fetch_add_explicit(&w->polled, 1, memory_order_relaxed);
	atomic_fetch_add(&w->beat, 1);
	(void)begin_request(l);
	l->set->serve(l->set->arg, msg, len);
	atomic_fetch_add(&l->waiting, 1);
	atomic_fetch_add(&w->beat, 1);
}

static void serve(struct loop *l, struct worker *w, void *msg, size_t len)
{
	unsigned others = begin_request(l) + 1;
	bool poll = false;

	if (others < atomic_load_explicit(&l->count, memory_order_relaxed))
		pace_shared(&l->pace);
	else if (l->set->poll_us)
		poll = pace_alone(&l->pace, now_ns());
	l->set->serve(l->set->arg, msg, len);
	atomic_fetch_add(&l->waiting, 1);
	if (poll)
		poll_begin(l, w);
}

static void end_from_inside(struct loop *l, int rc)
{
	if (rc < 0 && rc != -ENODEV)
		atomic_store(&l->rc, rc);
	atomic_store(&l->over, true);
	sem_post(&l->ended);
}

static void run(struct loop *l, struct worker *w)
{
	char *buf = w->mem + w->before;

	while (!is_over(l)) {
		struct worker *poller = atomic_load(&l->poller);
		ssize_t n;

		if (poller && poller != w) {
			park(l);
			continue;
		}
		n = poller ? receive_polling(l, w, buf) : receive(l, w, buf);
		if (n == -EAGAIN)
			continue;
		if (n <= 0) {
			end_from_inside(l, (int)n);
			return;
		}
		if (poller)
			serve_polling(l, w, buf, (size_t)n);
		else
			serve(l, w, buf, (size_t)n);
	}
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	run(w->loop, w);
	return NULL;
}

/* --- up and down ----------------------------------------------------------- */

/* It may be just before a read: interrupt it until it is gone. */
static void worker_join(const struct worker *w)
{
	struct timespec until;

	do {
		pthread_kill(w->thread, SIGUSR1);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += WAKE_INTERVAL_NS;
		until.tv_sec += until.tv_nsec / 1000000000L;
		until.tv_nsec %= 1000000000L;
	} while (pthread_timedjoin_np(w->thread, NULL, &until));
}

static void workers_stop(struct loop *l)
{
	struct worker *w, *next;

	lock_take(&l->lock);
	atomic_store(&l->over, true);
	lock_cond_wake_all(&l->unpark);
	w = l->workers;
	lock_drop(&l->lock);
	for (next = w; next; next = next->next)
		worker_join(next);
	/* not before: who watches the poller looks at it until its own end */
	for (; w; w = next) {
		next = w->next;
		worker_free(w);
	}
}

int loop_run(const struct loop_setup *setup)
{
	struct loop l = { .set = setup };
	int rc;

	pace_init(&l.pace, setup->poll_us * 1000ULL);
	sem_init(&l.ended, 0, 0);
	lock_init(&l.lock);
	lock_cond_init(&l.unpark);
	rc = worker_start(&l);
	while (!rc && !is_over(&l))
		sem_wait(&l.ended);
	workers_stop(&l);
	lock_cond_fini(&l.unpark);
	lock_fini(&l.lock);
	sem_destroy(&l.ended);
	return rc ? rc : atomic_load(&l.rc);
}
