#include "fuse/jobs.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/lock.h"

struct jobs {
	pthread_t thread;

	struct lock lock; /* guards what follows */
	struct lock_cond changed;
	struct job *first, **last;
	bool stop;
	bool joined; /* who ends it */
};

static struct job *next_job(struct jobs *j)
{
	struct job *job;

	lock_take(&j->lock);
	while (!j->first && !j->stop)
		lock_cond_wait(&j->changed, &j->lock);
	job = j->first;
	if (job)
		j->first = job->next;
	if (!j->first)
		j->last = &j->first;
	lock_drop(&j->lock);
	return job;
}

static void *run(void *arg)
{
	struct job *job;

	while ((job = next_job(arg)))
		job->run(job);
	return NULL;
}

static void destroy(struct jobs *j)
{
	lock_cond_fini(&j->changed);
	lock_fini(&j->lock);
	free(j);
}

int jobs_start(struct jobs **out)
{
	struct jobs *j = calloc(1, sizeof(*j));
	int rc;

	if (!j)
		return -ENOMEM;
	j->last = &j->first;
	lock_init(&j->lock);
	lock_cond_init(&j->changed);
	rc = -pthread_create(&j->thread, NULL, run, j);
	if (rc) {
		destroy(j);
		return rc;
	}
	*out = j;
	return 0;
}

bool jobs_add(struct jobs *j, struct job *job)
{
	bool taken;

	job->next = NULL;
	lock_take(&j->lock);
	taken = !j->stop;
	if (taken) {
		*j->last = job;
		j->last = &job->next;
		lock_cond_wake_all(&j->changed);
	}
	lock_drop(&j->lock);
	return taken;
}

void jobs_end(struct jobs *j)
{
	if (!j || j->joined)
		return;
	lock_take(&j->lock);
	j->stop = true;
	lock_cond_wake_all(&j->changed);
	lock_drop(&j->lock);
	pthread_join(j->thread, NULL);
	j->joined = true;
}

void jobs_stop(struct jobs *j)
{
	jobs_end(j);
	if (j)
		destroy(j);
}
