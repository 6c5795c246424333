#include "import.h"

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC 0x6a736677736872ULL
#define FLAG_FLUSH 1
#define FLAG_FUA 2
#define FLAG_DISCARD 4
#define FLAG_MARK 8
#define VIEWS_MAX 64

struct buf {
	uint8_t *p;
	uint64_t len;
};

struct importing {
	struct buf log, image;
	struct hostrecord_entry *e;
	uint64_t n;
	uint8_t *views[VIEWS_MAX];
	unsigned n_views;
	uint64_t guest; /* sectors */
};

static int load(struct buf *b, const char *name)
{
	FILE *f = fopen(name, "rb");
	long n;

	if (!f || fseek(f, 0, SEEK_END) || (n = ftell(f)) < 0) {
		fprintf(stderr, "crash: cannot read %s\n", name);
		if (f)
			fclose(f);
		return -1;
	}
	rewind(f);
	b->len = (uint64_t)n;
	b->p = calloc(1, b->len + 1);
	if (!b->p)
		abort();
	n = (long)fread(b->p, 1, b->len, f);
	fclose(f);
	return (uint64_t)n == b->len ? 0 : -1;
}

static uint64_t le64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return le64toh(v);
}

static uint32_t le32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return le32toh(v);
}

static void push(struct importing *m, enum hostrecord_op op, uint64_t off,
		 uint64_t len, const uint8_t *data)
{
	struct hostrecord_entry *e = &m->e[m->n];

	*e = (struct hostrecord_entry){ .seq = m->n, .op = op, .off = off,
					.len = len, .data = data };
	if (op == HOSTRECORD_SYNC_END)
		e->pair = m->n - 1;
	m->n++;
}

static void push_sync(struct importing *m)
{
	push(m, HOSTRECORD_SYNC_BEGIN, 0, 0, NULL);
	push(m, HOSTRECORD_SYNC_END, 0, 0, NULL);
}

static int parse(struct importing *m)
{
	const uint8_t *p = m->log.p;
	uint64_t n, pos, ss;

	if (m->log.len < 512 || le64(p) != MAGIC) {
		fprintf(stderr, "crash: not a dm-log-writes log\n");
		return -1;
	}
	n = le64(p + 16);
	ss = le32(p + 24);
	if (ss < 512 || ss > 65536 || n > m->log.len / ss)
		return -1;
	m->e = calloc(n * 5 + 1, sizeof(*m->e));
	if (!m->e)
		abort();
	pos = ss;
	for (uint64_t i = 0; i < n && pos + ss <= m->log.len; i++) {
		uint64_t off = le64(p + pos) * ss, len = le64(p + pos + 8) * ss;
		uint64_t flags = le64(p + pos + 16);
		uint64_t bytes = le64(p + pos + 24);

		pos += ss;
		if (flags & FLAG_FLUSH)
			push_sync(m);
		if (flags & FLAG_DISCARD) {
			push(m, HOSTRECORD_ZERO, off, len, NULL);
		} else if (!(flags & FLAG_MARK) && len) {
			if (len > m->log.len - pos)
				return -1;
			push(m, HOSTRECORD_WRITE, off, len, p + pos);
			pos += len;
		} else if (flags & FLAG_MARK) {
			pos += (bytes + ss - 1) / ss * ss;
		}
		if (flags & FLAG_FUA)
			push_sync(m);
	}
	return 0;
}

/* The whole guest disk as IMG shows it. */
static void add_view(struct importing *m, struct checker *c, const uint8_t *img,
		     uint64_t len)
{
	uint8_t *v;

	if (m->n_views == VIEWS_MAX || checker_run(c, img, len))
		return;
	m->guest = c->h.size / 512;
	v = malloc(m->guest * 512);
	if (!v)
		abort();
	for (uint64_t s = 0; s < m->guest; s++)
		checker_read(c, img, len, 0, s, v + s * 512);
	m->views[m->n_views++] = v;
}

static void find_views(struct importing *m)
{
	uint64_t cap = m->image.len, len = m->image.len;
	struct checker c;
	uint8_t *img;

	for (uint64_t i = 0; i < m->n; i++)
		if (m->e[i].off + m->e[i].len > cap)
			cap = m->e[i].off + m->e[i].len;
	img = calloc(1, cap);
	if (!img)
		abort();
	checker_init(&c);
	memcpy(img, m->image.p, len);
	add_view(m, &c, img, len);
	for (uint64_t i = 0; i < m->n; i++) {
		const struct hostrecord_entry *e = &m->e[i];

		if (e->op == HOSTRECORD_WRITE)
			memcpy(img + e->off, e->data, e->len);
		else if (e->op == HOSTRECORD_ZERO)
			memset(img + e->off, 0, e->len);
		else if (e->op == HOSTRECORD_SYNC_END)
			add_view(m, &c, img, len);
		if (e->off + e->len > len)
			len = e->off + e->len;
	}
	add_view(m, &c, img, len);
	checker_fini(&c);
	free(img);
}

static int judge(struct importing *m)
{
	struct oracle o = { .sectors = m->guest, .n_views = m->n_views,
			    .views = (const uint8_t *const *)m->views };
	struct enumerate_stats st = { 0 };
	struct hashset seen = { 0 };
	struct enumerate e = { .log = m->e, .n = m->n, .image = m->image.p,
			       .len = m->image.len, .oracle = &o,
			       .stats = &st, .seen = &seen, .keep_going = true,
			       .dump = "crash-state.qcow2" };
	int rc = enumerate_run(&e);

	printf("%" PRIu64 " states, corrupt %" PRIu64 ", lost %" PRIu64
	       ", foreign %" PRIu64 "\n", st.states, st.bad[ENUMERATE_CORRUPT],
	       st.bad[ENUMERATE_LOST], st.bad[ENUMERATE_FOREIGN]);
	if (rc)
		printf("%s\nimage: %s\n", e.text, e.dump);
	hashset_fini(&seen);
	return rc ? 1 : 0;
}

int import_check(const char *log, const char *image)
{
	struct importing m = { .n = 0 };
	int rc = 2;

	if (load(&m.log, log) || load(&m.image, image) || parse(&m))
		goto out;
	find_views(&m);
	if (!m.n_views) {
		fprintf(stderr, "crash: %s is no image that can be walked\n",
			image);
		goto out;
	}
	rc = judge(&m);
out:
	for (unsigned i = 0; i < m.n_views; i++)
		free(m.views[i]);
	free(m.e);
	free(m.log.p);
	free(m.image.p);
	return rc;
}
