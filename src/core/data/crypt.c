#include "core/data/crypt.h"

#include <errno.h>
#include <string.h>

#include "base/num.h"
#include "base/scratch.h"
#include "base/seed.h"
#include "core/data/payload.h"

#define SECTOR ((uint64_t)CIPHER_SECTOR)
/* What is encrypted before it is written: small enough to stay in the CPU's
 * cache until then. */
#define CHUNK (256U << 10)

/* A range of one cluster, or of neighbouring ones. */
struct place {
	uint64_t hoff, goff;
};

void crypt_init(struct crypt *c, struct cipher *cipher, bool guest_sectors)
{
	c->cipher = cipher;
	c->guest_sectors = guest_sectors;
	inflight_init(&c->writing);
	atomic_init(&c->begun, 0);
	atomic_init(&c->ended, 0);
}

void crypt_fini(struct crypt *c)
{
	cipher_free(c->cipher);
	inflight_fini(&c->writing);
}

/* The number under which P's sector, P its first byte, is encrypted [R12]. */
static uint64_t number(const struct crypt *c, struct place p)
{
	if (SEED_BUG(SEED_CIPHER_NUMBER))
		return p.goff / SECTOR;
	return (c->guest_sectors ? p.goff : p.hoff) / SECTOR;
}

static struct place moved(struct place p, uint64_t by)
{
	return (struct place){ p.hoff + by, p.goff + by };
}

/* P's sector from its first byte on. */
static struct place floored(struct place p)
{
	uint64_t in = p.hoff % SECTOR;

	return (struct place){ p.hoff - in, p.goff - in };
}

/* --- reading ------------------------------------------------------------------ */

static int read_sectors(struct disk *d, void *buf, size_t len, struct place p)
{
	int r = payload_read_raw(d, buf, len, p.hoff);

	return r < 0 ? r
		     : cipher_decrypt(d->crypt->cipher, buf, buf, len,
				      number(d->crypt, p));
}

/* LEN bytes that lie in one sector. */
static int read_part(struct disk *d, uint8_t *buf, size_t len, struct place p)
{
	uint8_t sector[CIPHER_SECTOR];
	int r = read_sectors(d, sector, sizeof(sector), floored(p));

	if (r == 0)
		memcpy(buf, sector + p.hoff % SECTOR, len);
	return r;
}

static int read_any(struct disk *d, uint8_t *buf, size_t len, struct place p)
{
	size_t head = (size_t)NUM_MIN(num_round_up(p.hoff, SECTOR) - p.hoff,
				      (uint64_t)len);
	size_t tail = (size_t)((p.hoff + len) % SECTOR);
	size_t body;
	int r = 0;

	if (head == len)
		tail = 0;
	body = len - head - tail;
	if (head)
		r = read_part(d, buf, head, p);
	if (r == 0 && body)
		r = read_sectors(d, buf + head, body, moved(p, head));
	if (r == 0 && tail)
		r = read_part(d, buf + head + body, tail,
			      moved(p, head + body));
	return r;
}

static void hold(struct disk *d, struct inflight_range *held, struct place p,
		 size_t len)
{
	uint64_t first = num_round_down(p.hoff, SECTOR);

	inflight_begin(&d->crypt->writing, held, first,
		       num_round_up(p.hoff + len, SECTOR) - first);
}

int crypt_read(struct disk *d, void *buf, size_t len, uint64_t hoff,
	       uint64_t goff)
{
	struct place p = { hoff, goff };
	struct crypt *c = d->crypt;
	struct inflight_range held;
	unsigned ended = atomic_load(&c->ended);
	int r;

	if (!c->cipher)
		return -ENOKEY;
	r = read_any(d, buf, len, p);
	if (r < 0 || atomic_load(&c->begun) == ended)
		return r;
	hold(d, &held, p, len);
	r = read_any(d, buf, len, p);
	inflight_end(&c->writing, &held);
	return r;
}

/* --- writing ------------------------------------------------------------------ */

/* The sectors at the edges of LEN bytes at P, as far as they are covered in
 * part, to their place in OUT, which begins with P's sector. */
static int fetch_edges(struct disk *d, uint8_t *out, size_t len,
		       struct place p)
{
	uint64_t in = p.hoff % SECTOR;
	uint64_t last = num_round_down(in + len, SECTOR);
	bool tail = (in + len) % SECTOR;
	int r = 0;

	if (in)
		r = read_sectors(d, out, CIPHER_SECTOR, floored(p));
	if (r == 0 && tail && !(in && last == 0))
		r = read_sectors(d, out + last, CIPHER_SECTOR,
				 moved(floored(p), last));
	return r;
}

/* Write BUF where P is, which is held. */
static int write_chunk(struct disk *d, const uint8_t *buf, size_t len,
		       struct place p)
{
	struct crypt *c = d->crypt;
	struct place from = floored(p);
	uint64_t in = p.hoff - from.hoff;
	size_t whole = (size_t)num_round_up(in + len, SECTOR);
	uint8_t *out = scratch_get(SCRATCH_CRYPT, CHUNK + 2 * CIPHER_SECTOR);
	const uint8_t *plain = buf;
	int r = out ? 0 : -ENOMEM;

	if (r == 0 && whole != len) {
		r = fetch_edges(d, out, len, p);
		memcpy(out + in, buf, len);
		plain = out;
	}
	if (r == 0)
		r = cipher_encrypt(c->cipher, out, plain, whole,
				   number(c, from));
	return r < 0 ? r : payload_write_raw(d, out, whole, from.hoff);
}

static int write_held(struct disk *d, const uint8_t *buf, size_t len,
		      struct place p)
{
	int r = 0;

	while (len && r == 0) {
		size_t n = NUM_MIN(len, CHUNK - (size_t)(p.hoff % SECTOR));

		r = write_chunk(d, buf, n, p);
		p = moved(p, n);
		buf += n;
		len -= n;
	}
	return r;
}

int crypt_write(struct disk *d, const void *buf, size_t len, uint64_t hoff,
		uint64_t goff)
{
	struct place p = { hoff, goff };
	bool part = hoff % SECTOR || (hoff + len) % SECTOR;
	struct crypt *c = d->crypt;
	struct inflight_range held;
	int r;

	if (!c->cipher)
		return -ENOKEY;
	hold(d, &held, p, len);
	if (part)
		atomic_fetch_add(&c->begun, 1);
	r = write_held(d, buf, len, p);
	if (part)
		atomic_fetch_add(&c->ended, 1);
	inflight_end(&c->writing, &held);
	return r;
}
