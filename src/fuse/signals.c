#include "fuse/signals.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "base/num.h"

#define WAKE_INTERVAL_NS 20000000L

static void end_signals(sigset_t *set)
{
	struct sigaction hangup;

	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGUSR2); /* our own: the loop has ended */
	/* nohup(1) has it ignored; blocked it would come nevertheless */
	if (!sigaction(SIGHUP, NULL, &hangup) && hangup.sa_handler != SIG_IGN)
		sigaddset(set, SIGHUP);
}

void signals_block(void)
{
	sigset_t set;

	end_signals(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void wake(int sig)
{
	(void)sig;
}

void signals_init(struct signals *s)
{
	struct sigaction sa = { .sa_handler = wake };
	sigset_t set;

	s->loop = pthread_self();
	sigaction(SIGUSR1, &sa, NULL);
	/* who started us may have had it blocked, which is inherited */
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* The thread of the loop may be anywhere before its wait: wake it until it is
 * out. */
static void end_loop(struct signals *s)
{
	const struct timespec t = { .tv_nsec = WAKE_INTERVAL_NS };

	fuse_session_exit(s->se);
	while (!atomic_load(&s->loop_ended)) {
		pthread_kill(s->loop, SIGUSR1);
		nanosleep(&t, NULL);
	}
}

/* The next signal; 0 when a second has passed, where a clock counts. */
static int next_signal(const struct signals *s, const sigset_t *set)
{
	const struct timespec second = { .tv_sec = 1 };
	int sig;

	if (s->due)
		return NUM_MAX(sigtimedwait(set, NULL, &second), 0);
	return sigwait(set, &sig) ? 0 : sig;
}

static void *thread_main(void *arg)
{
	struct signals *s = arg;
	sigset_t set;
	int sig;

	end_signals(&set);
	for (;;) {
		sig = next_signal(s, &set);
		if (atomic_load(&s->loop_ended))
			return NULL;
		if (sig > 0 ? sig != SIGUSR2 : s->due && s->due(s->arg))
			break;
	}
	s->before(s->arg);
	end_loop(s);
	return NULL;
}

int signals_start(struct signals *s)
{
	int rc = -pthread_create(&s->thread, NULL, thread_main, s);

	s->started = !rc;
	return rc;
}

void signals_raise(void)
{
	kill(getpid(), SIGTERM);
}

bool signals_over(const struct signals *s)
{
	return atomic_load(&s->loop_ended);
}

void signals_stop(struct signals *s)
{
	atomic_store(&s->loop_ended, true);
	if (!s->started)
		return;
	pthread_kill(s->thread, SIGUSR2);
	pthread_join(s->thread, NULL);
}
