/*
 * wholestate: crash states as a whole: what qemu-img finds in them, and what
 * becomes of them when they are mounted again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "core/admin/snapshot.h"
#include "kept.h"
#include "running.h"

static bool benign_line(const char *line)
{
	return strncmp(line, "ERROR", 5) != 0 || strstr(line, "OFLAG_COPIED");
}

static int qemu_check(struct running *k, const uint8_t *img, uint64_t len,
		      char *text, size_t n)
{
	const char *how = workload_config(k->w->config)->crypt ?
				  "--object secret,id=key,data=" GUESTCRYPT_PASS
				  " --image-opts driver=qcow2,"
				  "file.filename=state.qcow2,"
				  "encrypt.key-secret=key" :
				  "-f qcow2 state.qcow2";
	char name[96], cmd[300], line[200];
	bool ok = true;
	FILE *f;
	int rc;

	snprintf(name, sizeof(name), "%s/state.qcow2", k->r->dir);
	f = fopen(name, "wb");
	if (!f || fwrite(img, 1, len, f) != len || fclose(f))
		abort();
	/* QEMU looks for a data file in the working folder */
	snprintf(cmd, sizeof(cmd),
		 "cd %s && qemu-img check %s >out 2>&1", k->r->dir, how);
	rc = system(cmd);
	rc = WIFEXITED(rc) ? WEXITSTATUS(rc) : 255;
	k->r->qemu_done++;
	if (rc == 0 || rc == 3)
		return 0;
	snprintf(name, sizeof(name), "%s/out", k->r->dir);
	f = fopen(name, "r");
	snprintf(text, n, "qemu-img check: exit %d", rc);
	while (f && fgets(line, sizeof(line), f)) {
		if (benign_line(line))
			continue;
		ok = false;
		snprintf(text, n, "qemu-img check: exit %d: %.100s", rc, line);
	}
	if (f)
		fclose(f);
	return rc == 2 && ok ? 0 : -1;
}

/* After the new operations: old data where they did not go, theirs else. */
static int verify_content(struct running *k, struct checker *c,
			  const uint8_t *img, uint64_t len,
			  const uint32_t *gen)
{
	uint8_t have[512], want[512];

	for (uint64_t s = 0; s < c->h.size / 512; s++) {
		bool here = checker_read(c, img, len, 0, s, have);

		if (!gen[s]) {
			if (oracle_check(&k->oracle, s, here ? have : NULL))
				return -1;
			continue;
		}
		oracle_fill(&k->oracle, s, gen[s], want);
		if (!here)
			oracle_fill(&k->oracle, s, ORACLE_BACKING, have);
		if (memcmp(have, want, 512))
			return -1;
	}
	return 0;
}

/* The first of them, if there is one. */
static int drop_snapshot(struct image *img)
{
	struct err err = { "" };
	int rc = snapshot_delete(img, "1", &err);

	return rc == -ENOENT || rc == -ENOTSUP ? 0 : rc;
}

static int work_on(struct running *k, uint64_t *s, uint32_t *gen)
{
	const struct imgmake *m = workload_config(k->w->config);
	uint64_t spc = 1ULL << (m->cluster_bits - 9);
	int rc = 0;

	for (unsigned i = 0; i < 10 && !rc; i++) {
		struct workload_op op = { .type = WORKLOAD_WRITE };
		uint32_t g = 1000000 + i;

		op.sec = kept_throw(s) % 16 * spc + kept_throw(s) % spc;
		op.n = 1 + kept_throw(s) % (2 * spc);
		op.sec %= image_size(k->img) / 512;
		if (op.n > image_size(k->img) / 512 - op.sec)
			op.n = image_size(k->img) / 512 - op.sec;
		if (kept_throw(s) % 4) {
			rc = running_write(k, &op, g);
		} else {
			g = ORACLE_ZERO;
			rc = image_zero(k->img, op.sec * 512, op.n * 512,
					kept_throw(s) % 2);
		}
		if (!rc && kept_throw(s) % 16 == 0)
			rc = drop_snapshot(k->img);
		for (uint64_t j = 0; j < op.n; j++)
			gen[op.sec + j] = g;
		if (!rc && kept_throw(s) % 3 == 0)
			rc = image_flush(k->img);
	}
	return rc;
}

/* Open the state as the next mount would, write, and check what comes of it:
 * finds wrong COPIED flags and leaks that are not free. */
static int compound(struct running *k, const uint8_t *img, uint64_t len,
		    char *text, size_t n)
{
	struct running k2 = { .r = k->r, .w = k->w, .start = k->start,
			      .oracle = k->oracle, .armed = -1 };
	uint32_t *gen = calloc(k->start->sectors, sizeof(*gen));
	uint64_t seed = k->w->seed + len, size;
	struct checker c;
	uint8_t *buf = NULL;
	int rc;

	k->r->compounds++;
	k2.mem = hostmem_new();
	if (!gen || !k2.mem || hostmem_write(k2.mem, img, len, 0) ||
	    hostmem_resize(k2.mem, len))
		abort();
	if (k->data) {
		k2.data = hostmem_new();
		if (!k2.data ||
		    hostmem_write(k2.data, img + k->base,
				  k->start->sectors * 512, 0))
			abort();
	}
	checker_init(&c);
	rc = running_open(&k2, k2.mem, false);
	if (!rc)
		rc = work_on(&k2, &seed, gen);
	if (k2.img)
		rc |= image_close(k2.img);
	snprintf(text, n, "remount: %s", k->r->text);
	if (!rc) {
		buf = running_flatten(&k2, k2.mem, &size, &c);
		rc = checker_run_deep(&c, buf, size);
		snprintf(text, n, "after a remount: %s", c.text);
		if (!rc && (rc = verify_content(k, &c, buf, size, gen)))
			snprintf(text, n, "after a remount: wrong data");
	}
	checker_fini(&c);
	free(buf);
	free(gen);
	hostmem_free(k2.mem);
	hostmem_free(k2.data);
	return rc ? -1 : 0;
}

int wholestate_sample(void *arg, const uint8_t *img, uint64_t len, char *text,
		  size_t n)
{
	struct running *k = arg;

	if (k->r->qemu_left && k->r->stats.sampled % k->r->qemu_every == 0) {
		k->r->qemu_left--;
		if (qemu_check(k, img, len, text, n))
			return -1;
	}
	return compound(k, img, len, text, n);
}
