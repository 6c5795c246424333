/*
 * slots: see slots.h. Between two syncs any subset of the writes may have
 * reached the disk; they are few, so all subsets are tried. In each state the passphrases that stay must open
 * the image, and no slot may be active that its passphrase does not open.
 */
#include "slots.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/admin/create.h"
#include "core/admin/keyslots.h"
#include "core/image/open.h"
#include "lib/hostmem.h"
#include "lib/hostrecord.h"

struct run {
	struct secret *pass[3];
	struct hostmem *base; /* before the operation */
	struct hostrecord *log;
	char *text;
	size_t size;
	unsigned states;
	/* passphrase that stays, and the one that comes or goes */
	unsigned stays, moves;
};

static struct secret *secret_of(const char *text)
{
	struct secret *s = NULL;
	int fds[2];

	if (pipe(fds))
		abort();
	if (write(fds[1], text, strlen(text)) != (ssize_t)strlen(text))
		abort();
	close(fds[1]);
	if (secret_from_fd(&s, fds[0], NULL) < 0)
		abort();
	return s;
}

static int open_mem(struct image **img, struct hostmem *m,
		    struct hostrecord *log, const struct image_opts *o)
{
	struct hostfile *f, *inner;
	int r;

	if (hostmem_open(&inner, m, !o->readonly) < 0)
		abort();
	f = inner;
	if (log && hostrecord_wrap(log, &f, inner) < 0)
		abort();
	r = image_open_file(img, f, o, NULL);
	if (r < 0)
		hostfile_close(f);
	return r;
}

static bool opens(struct hostmem *m, const struct secret *s)
{
	const struct image_opts o = { .readonly = true,
				      .no_lock = true,
				      .key = s };
	struct image *img;

	if (open_mem(&img, m, NULL, &o) < 0)
		return false;
	image_abandon(img);
	return true;
}

/* Active slots, counted in the header's bytes: the area is at cluster 4. */
static unsigned active(struct hostmem *m)
{
	uint8_t be[8], mark[4];
	uint64_t at = 0;
	unsigned n = 0;

	hostmem_read(m, be, 8, 120); /* the extension comes first */
	for (int i = 0; i < 8; i++)
		at = at << 8 | be[i];
	for (unsigned i = 0; i < 8; i++) {
		hostmem_read(m, mark, 4, at + 208 + i * 48);
		n += !memcmp(mark, "\x00\xac\x71\xf3", 4);
	}
	return n;
}

static int judge(struct run *r, struct hostmem *m)
{
	bool moved = opens(m, r->pass[r->moves]);
	unsigned n = active(m);

	r->states++;
	if (!opens(m, r->pass[r->stays]))
		snprintf(r->text, r->size,
			 "state %u: a passphrase that stays opens nothing",
			 r->states);
	else if (n != 1U + moved)
		snprintf(r->text, r->size,
			 "state %u: %u slots are active, and %u open the image",
			 r->states, n, 1U + moved);
	else
		return 0;
	return -1;
}

/* The log's writes before FROM, and of those up to TO the ones in SUBSET. */
static int state(struct run *r, uint64_t from, uint64_t to, unsigned subset)
{
	struct hostmem *m = hostmem_clone(r->base);
	unsigned bit = 0;
	int bad;

	for (uint64_t i = 0; i < to; i++) {
		struct hostrecord_entry e;

		hostrecord_get(r->log, i, &e);
		if (e.op != HOSTRECORD_WRITE)
			continue;
		if (i < from || subset >> bit++ & 1)
			hostrecord_apply(&e, m);
	}
	bad = judge(r, m);
	hostmem_free(m);
	return bad;
}

/* All states of the interval that ends with the sync at TO. */
static int interval(struct run *r, uint64_t from, uint64_t to)
{
	unsigned writes = 0;
	int bad = 0;

	for (uint64_t i = from; i < to; i++) {
		struct hostrecord_entry e;

		hostrecord_get(r->log, i, &e);
		writes += e.op == HOSTRECORD_WRITE;
	}
	for (unsigned s = 0; s < 1U << writes && !bad; s++)
		bad = state(r, from, to, s);
	return bad;
}

static int all_states(struct run *r)
{
	uint64_t n = hostrecord_len(r->log);
	uint64_t from = 0;
	int bad = 0;

	for (uint64_t i = 0; i < n && !bad; i++) {
		struct hostrecord_entry e;

		hostrecord_get(r->log, i, &e);
		if (e.op != HOSTRECORD_SYNC_END)
			continue;
		bad = interval(r, from, i);
		from = i + 1;
	}
	return bad ? bad : interval(r, from, n);
}

/* Do it on M, recording; then look at every state. */
static int operation(struct run *r, struct hostmem *m, bool erase)
{
	const struct image_opts o = { .no_lock = true, .no_key = true };
	struct image *img;
	unsigned slot;
	int done, bad;

	r->base = hostmem_clone(m);
	r->log = hostrecord_new();
	if (open_mem(&img, m, r->log, &o) < 0)
		abort();
	done = erase ? keyslots_erase(img, r->pass[r->moves], KEYSLOTS_ANY,
				      NULL)
		     : keyslots_add(img, r->pass[r->stays], r->pass[r->moves],
				    KEYSLOTS_ANY, 1, &slot, NULL);
	image_close(img);
	bad = all_states(r);
	if (!bad && (done < 0 || opens(m, r->pass[r->moves]) == erase)) {
		snprintf(r->text, r->size, "the operation did nothing");
		bad = -1;
	}
	hostrecord_free(r->log);
	hostmem_free(r->base);
	return bad;
}

static void make(struct hostmem *m, const struct secret *s)
{
	const struct create_luks_opts luks = { .secret = s,
					       .cipher_alg = "aes-128",
					       .cipher_mode = "cbc",
					       .iter_ms = 1 };
	const struct create_opts c = { .size = 1 << 20, .luks = &luks };
	struct hostfile *f;

	if (hostmem_open(&f, m, true) < 0 || create_image(f, &c, NULL) < 0)
		abort();
	hostfile_close(f);
}

int slots_check(char *text, size_t size, unsigned *states)
{
	struct run r = { .text = text, .size = size };
	struct hostmem *m = hostmem_new();
	int bad;

	r.pass[0] = secret_of("first");
	r.pass[1] = secret_of("second");
	make(m, r.pass[0]);
	r.stays = 0;
	r.moves = 1;
	bad = operation(&r, m, false);
	if (!bad) { /* the first goes, the second stays */
		r.stays = 1;
		r.moves = 0;
		bad = operation(&r, m, true);
	}
	secret_free(r.pass[0]);
	secret_free(r.pass[1]);
	hostmem_free(m);
	*states = r.states;
	return bad;
}
