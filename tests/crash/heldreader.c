/*
 * heldreader: a reader that is held inside its request, workload_held_reader().
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "running.h"

struct reader {
	struct running *k;
	pthread_t thread;
	pthread_mutex_t m;
	pthread_cond_t c;
	uint64_t hoff, sec;
	bool armed, inside, go;
	uint8_t data[512];
	int rc;
};

static void hold(void *arg, size_t len, uint64_t off)
{
	struct reader *rd = arg;
	struct timespec end;
	int rc = 0;

	(void)len;
	pthread_mutex_lock(&rd->m);
	if (rd->armed && pthread_equal(pthread_self(), rd->thread) &&
	    off <= rd->hoff && rd->hoff < off + len) {
		rd->armed = false;
		rd->inside = true;
		pthread_cond_broadcast(&rd->c);
		clock_gettime(CLOCK_REALTIME, &end);
		end.tv_sec += 1;
		/* whoever waits for this reader may wait: then it goes on */
		while (!rd->go && rc != ETIMEDOUT)
			rc = pthread_cond_timedwait(&rd->c, &rd->m, &end);
	}
	pthread_mutex_unlock(&rd->m);
}

static void *reader_thread(void *arg)
{
	struct reader *rd = arg;

	pthread_mutex_lock(&rd->m);
	rd->thread = pthread_self();
	rd->armed = true;
	pthread_mutex_unlock(&rd->m);
	rd->rc = image_read(rd->k->img, rd->data, 512, rd->sec * 512);
	pthread_mutex_lock(&rd->m);
	rd->inside = true;
	pthread_cond_broadcast(&rd->c);
	pthread_mutex_unlock(&rd->m);
	return NULL;
}

/* Free the cluster and write until it is used again. */
static int churn(struct running *k, const struct reader *rd, uint64_t spc)
{
	struct workload_op op = { .type = WORKLOAD_WRITE, .n = spc };
	int rc = image_zero(k->img, rd->sec * 512, spc * 512, true);

	if (!rc)
		rc = image_flush(k->img);
	if (!rc)
		rc = image_commit_all(k->img);
	for (uint64_t c = 16; c < k->start->sectors / spc && !rc; c++) {
		op.sec = c * spc;
		rc = running_write(k, &op, (uint32_t)c);
		if (!rc && c % 8 == 0)
			rc = image_flush(k->img);
	}
	return rc ? rc : image_flush(k->img);
}

int workload_held_reader(struct workload_run *r, unsigned config)
{
	uint64_t spc = 1ULL << (workload_config(config)->cluster_bits - 9);
	struct workload w = { .config = config, .fail_sync = -1 };
	struct reader rd = { .sec = 0 };
	struct image_extent x;
	enum oracle_verdict v;
	struct running k;
	pthread_t t;
	int rc;

	running_begin(&k, r, &w);
	rd.k = &k;
	pthread_mutex_init(&rd.m, NULL);
	pthread_cond_init(&rd.c, NULL);
	k.hook.before_pread = hold;
	k.hook.before_pwrite = NULL;
	k.hook.arg = &rd;
	rc = running_open(&k, k.mem, true);
	if (rc || image_map(k.img, 0, 512, &x) || !x.has_hoff)
		abort();
	rd.hoff = x.hoff;
	pthread_create(&t, NULL, reader_thread, &rd);
	pthread_mutex_lock(&rd.m);
	while (!rd.inside)
		pthread_cond_wait(&rd.c, &rd.m);
	pthread_mutex_unlock(&rd.m);
	rc = churn(&k, &rd, spc);
	pthread_mutex_lock(&rd.m);
	rd.go = true;
	pthread_cond_broadcast(&rd.c);
	pthread_mutex_unlock(&rd.m);
	pthread_join(t, NULL);
	oracle_begin(&k.oracle, rd.sec, 1, ORACLE_ZERO);
	v = oracle_check(&k.oracle, rd.sec, rd.data);
	if (rc || rd.rc)
		rc = running_say(r, "held reader: %s", strerror(-(rc ? rc : rd.rc)));
	else if (v)
		rc = running_say(r, "held reader got data of another place");
	r->fault = v == ORACLE_OK ? ENUMERATE_CORRUPT : ENUMERATE_FOREIGN;
	image_close(k.img);
	pthread_mutex_destroy(&rd.m);
	pthread_cond_destroy(&rd.c);
	running_end(&k);
	return rc ? -1 : 0;
}
