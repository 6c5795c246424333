#include "running.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bitmapops.h"
#include "core/image/secret.h"

#define MAX_CONFIGS 32

/* Built once for each configuration. */
static struct imgmake_out start_image[MAX_CONFIGS];

int running_say(struct workload_run *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->text, sizeof(r->text), fmt, ap);
	va_end(ap);
	return -1;
}

/* A pipe brings the passphrase in, as a mount's key_fd does. */
static int take_key(struct workload_run *r)
{
	int fd[2];

	if (pipe(fd))
		return running_say(r, "cannot make a pipe");
	if (write(fd[1], GUESTCRYPT_PASS, strlen(GUESTCRYPT_PASS)) < 0)
		return running_say(r, "cannot write to a pipe");
	close(fd[1]);
	return secret_from_fd(&r->key, fd[0], NULL) < 0 ?
		       running_say(r, "no passphrase") : 0;
}

/* The file NAME of the scratch folder, with so many sectors. */
static int make_backing(struct workload_run *r, const char *base,
			uint64_t sectors)
{
	struct oracle o;
	char name[96];
	uint8_t sec[512];
	FILE *f;

	snprintf(name, sizeof(name), "%s/%s", r->dir, base);
	f = fopen(name, "wb");
	if (!f)
		return running_say(r, "cannot make %s", name);
	oracle_init(&o, 0, 0, sectors, NULL);
	for (uint64_t i = 0; i < sectors; i++) {
		oracle_fill(&o, i, ORACLE_BACKING, sec);
		fwrite(sec, 512, 1, f);
	}
	oracle_fini(&o);
	fclose(f);
	return 0;
}

int workload_start(struct workload_run *r)
{
	snprintf(r->dir, sizeof(r->dir), "/tmp/rawcow-crash-XXXXXX");
	if (!mkdtemp(r->dir))
		return running_say(r, "cannot make %s", r->dir);
	if (make_backing(r, IMGMAKE_BACKING_NAME, 200) ||
	    make_backing(r, "short.raw", 100) ||
	    make_backing(r, IMGMAKE_DATA_NAME, 0))
		return -1;
	return take_key(r);
}

void workload_end(struct workload_run *r)
{
	static const char *const files[] = { IMGMAKE_BACKING_NAME, "short.raw",
					     IMGMAKE_DATA_NAME,
					     "state.qcow2", "out" };
	char name[96];

	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		snprintf(name, sizeof(name), "%s/%s", r->dir, files[i]);
		unlink(name);
	}
	rmdir(r->dir);
	secret_free(r->key);
	r->key = NULL;
	hashset_fini(&r->seen);
	for (unsigned i = 0; i < MAX_CONFIGS; i++)
		imgmake_free(&start_image[i]);
}

static struct imgmake_out *get_start(unsigned config)
{
	if (!start_image[config].img)
		imgmake_build(workload_config(config), &start_image[config]);
	return &start_image[config];
}

/* A hostfile on MEM, recorded as number FILE. */
static int open_layers(struct running *k, struct hostfile **out,
		       struct hostmem *mem, unsigned file)
{
	struct hostfile *f = NULL, *g = NULL;
	int rc = hostmem_open(out, mem, true);

	if (rc || !k->recording)
		return rc;
	f = *out;
	rc = hostfault_wrap(k->fault, &g, f);
	if (!rc)
		rc = hostrecord_wrap_as(k->rec, &f, g, file);
	if (!rc)
		rc = hookfile_wrap(&k->hook, &g, f);
	*out = g;
	return rc;
}

/* In the place of the data file, which is an empty one: the one in memory. */
static int wrap_data(void *arg, struct hostfile **file)
{
	struct running *k = arg;

	if (!strstr((*file)->name, IMGMAKE_DATA_NAME))
		return 0;
	hostfile_close(*file);
	if (open_layers(k, file, k->data, 1))
		abort();
	return 0;
}

int running_open(struct running *k, struct hostmem *mem, bool record)
{
	const struct imgmake *m = workload_config(k->w->config);
	struct image_opts opts = { .no_lock = true,
				   .backing = IMAGE_BACKING_ANY };
	char name[96], data[96];
	struct hostfile *f = NULL;
	struct err err = { "" };
	int rc;

	opts.key = m->crypt ? k->r->key : NULL;
	opts.compress = m->compress ? IMAGE_COMPRESS_ON : IMAGE_COMPRESS_OFF;
	snprintf(name, sizeof(name), "%s/%s", k->r->dir,
		 m->backing_sectors == 100 ? "short.raw" : IMGMAKE_BACKING_NAME);
	if (m->backing_sectors) {
		opts.backing_file = name;
		opts.backing_format = "raw";
	}
	snprintf(data, sizeof(data), "%s/" IMGMAKE_DATA_NAME, k->r->dir);
	if (m->data_file) {
		opts.data_file = data;
		opts.wrap = wrap_data;
		opts.wrap_arg = k;
	}
	k->recording = record;
	rc = open_layers(k, &f, mem, 0);
	if (!rc)
		rc = image_open_file(&k->img, f, &opts, &err);
	if (rc) {
		k->img = NULL;
		hostfile_close(f);
		return running_say(k->r, "open: %s (%s)", err.text, strerror(-rc));
	}
	if (image_readonly(k->img))
		return running_say(k->r, "opened read-only: %s",
			   image_readonly_reason(k->img));
	return 0;
}

static void *flush_thread(void *arg)
{
	struct running *k = arg;

	hostrecord_mark(k->rec, ENUMERATE_FLUSH_BEGIN, 0, 0);
	k->flush_rc = image_flush(k->img);
	hostrecord_mark(k->rec, ENUMERATE_FLUSH_ACK, 0,
			(uint64_t)(k->flush_rc != 0));
	return NULL;
}

/* Let another thread commit before the write under way reaches the host. */
static void hook_write(void *arg, size_t len, uint64_t off)
{
	struct running *k = arg;
	struct timespec end;

	(void)len;
	(void)off;
	/* only the writer's own thread may look at `armed` */
	if (!pthread_equal(pthread_self(), k->writer) || k->armed < 0 ||
	    k->armed-- > 0)
		return;
	if (pthread_create(&k->flusher, NULL, flush_thread, k))
		abort();
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_nsec += 20000000;
	end.tv_sec += end.tv_nsec / 1000000000;
	end.tv_nsec %= 1000000000;
	/* a commit may wait for the write: then it goes on without it */
	k->flushing = pthread_timedjoin_np(k->flusher, NULL, &end) != 0;
}

int running_write(struct running *k, const struct workload_op *op,
		    uint32_t gen)
{
	uint8_t *buf = malloc(op->n * 512 + 1);
	int rc;

	if (!buf)
		abort();
	for (uint64_t i = 0; i < op->n; i++)
		oracle_fill(&k->oracle, op->sec + i, gen, buf + i * 512);
	if (op->type != WORKLOAD_WRITE) {
		k->writer = pthread_self();
		k->armed = op->type == WORKLOAD_WRITE_FLUSH_2;
	}
	rc = image_write(k->img, buf, op->n * 512, op->sec * 512);
	k->armed = -1;
	if (k->flushing)
		pthread_join(k->flusher, NULL);
	k->flushing = false;
	free(buf);
	return rc;
}

/* Where the data file stands behind an image of LEN bytes; 0: there is none. */
uint64_t running_data_base(const struct running *k, uint64_t len)
{
	return k->data ? (len + (512 << 10)) >> 16 << 16 : 0;
}

/* What MEM and k->data hold, as the checker wants it. *LEN: of the image. */
uint8_t *running_flatten(const struct running *k, struct hostmem *mem,
			uint64_t *len, struct checker *c)
{
	uint64_t data = k->data ? k->start->sectors * 512 : 0;
	uint8_t *buf;

	*len = hostmem_size(mem);
	c->data_base = running_data_base(k, *len);
	buf = calloc(1, c->data_base ? c->data_base + data : *len);
	if (!buf)
		abort();
	hostmem_read(mem, buf, *len, 0);
	if (data)
		hostmem_read(k->data, buf + c->data_base, data, 0);
	return buf;
}

static void free_model(struct bitmodel *b)
{
	if (b)
		bitmodel_fini(b);
	free(b);
}

void running_begin(struct running *k, struct workload_run *r,
		      const struct workload *w)
{
	const struct imgmake *m = workload_config(w->config);

	memset(k, 0, sizeof(*k));
	k->r = r;
	k->w = w;
	k->armed = -1;
	k->start = get_start(w->config);
	oracle_init(&k->oracle, 1 + r->runs, k->start->sectors,
		    m->backing_sectors, k->start->init);
	oracle_init(&k->model, 1 + r->runs, k->start->sectors,
		    m->backing_sectors, k->start->init);
	k->oracle.bits = bitmapops_model(w->config, k->start->sectors,
					 k->start->init);
	k->model.bits = bitmapops_model(w->config, k->start->sectors,
					k->start->init);
	if (m->snapshot) {
		oracle_preset(&k->oracle);
		oracle_preset(&k->model);
	}
	k->mem = hostmem_new();
	k->rec = hostrecord_new();
	k->fault = hostfault_new();
	if (!k->mem || !k->rec || !k->fault ||
	    hostmem_write(k->mem, k->start->img, k->start->len, 0))
		abort();
	if (m->data_file) {
		k->data = hostmem_new();
		if (!k->data ||
		    hostmem_write(k->data, k->start->data,
				  k->start->sectors * 512, 0))
			abort();
	}
	k->hook.before_pwrite = hook_write;
	k->hook.arg = k;
	r->runs++;
	r->text[0] = '\0';
}

void running_end(struct running *k)
{
	free_model(k->oracle.bits);
	free_model(k->model.bits);
	oracle_fini(&k->oracle);
	oracle_fini(&k->model);
	hostrecord_free(k->rec);
	hostfault_free(k->fault);
	hostmem_free(k->mem);
	hostmem_free(k->data);
}
