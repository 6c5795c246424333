#include "unsynced.h"

#include <stdlib.h>
#include <string.h>

#include "dice.h"

#define SECTOR UNSYNCED_SECTOR
#define BLOCK_SECTORS 256

static void *grow_array(void *p, uint32_t *cap, uint32_t need, size_t size)
{
	if (need <= *cap)
		return p;
	*cap = need * 2 + 16;
	p = realloc(p, *cap * size);
	if (!p)
		abort();
	return p;
}

uint64_t unsynced_hash(uint64_t sec, const uint8_t *p)
{
	uint64_t w[SECTOR / 8], h = dice_mix(sec + 1);

	memcpy(w, p, SECTOR);
	for (unsigned i = 0; i < SECTOR / 8; i++)
		h = (h ^ w[i]) * 0x9fb21c651e98df25ULL + (h >> 29);
	return dice_mix(h);
}

/* --- set-up ---------------------------------------------------------------- */

static uint64_t reach(const struct unsynced *u)
{
	uint64_t max = u->data ? u->data_base + u->data_len : u->len;

	for (uint64_t i = 0; i < u->n; i++) {
		const struct hostrecord_entry *r = &u->log[i];
		uint64_t end = r->op == HOSTRECORD_TRUNCATE ? r->len :
							      r->off + r->len;

		if (r->op <= HOSTRECORD_TRUNCATE && end > max)
			max = end;
	}
	return (max + (2 << 20) / 16 + SECTOR - 1) / SECTOR * SECTOR;
}

void unsynced_init(struct unsynced *u)
{
	u->cap = reach(u);
	u->sectors = u->cap / SECTOR;
	u->newest = calloc(1, u->cap);
	u->stable = calloc(1, u->cap);
	u->meta = calloc(1, u->sectors);
	u->class = calloc(1, u->sectors);
	u->vix = malloc(u->sectors * sizeof(*u->vix));
	u->lens = malloc(16 * sizeof(*u->lens));
	if (!u->newest || !u->stable || !u->meta || !u->class || !u->vix ||
	    !u->lens)
		abort();
	u->len_cap = 16;
}

void unsynced_start(const struct unsynced *u, uint8_t *buf)
{
	memcpy(buf, u->image, u->len);
	if (u->data)
		memcpy(buf + u->data_base, u->data, u->data_len);
}

void unsynced_rewind(struct unsynced *u)
{
	memset(u->vix, 0xff, u->sectors * sizeof(*u->vix));
	memset(u->newest, 0, u->cap);
	unsynced_start(u, u->newest);
	memcpy(u->stable, u->newest, u->cap);
	u->newest_len = u->stable_len = u->len;
	u->from[0] = u->from[1] = 0;
	u->nvar = 0;
	unsynced_forget(u);
}

void unsynced_fini(struct unsynced *u)
{
	for (uint32_t i = 0; i < u->var_cap; i++) {
		free(u->var[i].ver);
		free(u->var[i].hash);
	}
	for (uint32_t i = 0; i < u->nblock; i++)
		free(u->blocks[i]);
	free(u->blocks);
	free(u->var);
	free(u->newest);
	free(u->stable);
	free(u->meta);
	free(u->class);
	free(u->vix);
	free(u->lens);
}

/* --- versions -------------------------------------------------------------- */

static uint8_t *new_block(struct unsynced *u)
{
	if (!u->nblock || u->in_block == BLOCK_SECTORS) {
		if (u->block_used == u->nblock) {
			u->blocks = grow_array(u->blocks, &u->block_cap,
					       u->nblock + 1,
					       sizeof(*u->blocks));
			u->blocks[u->nblock] = malloc(BLOCK_SECTORS * SECTOR);
			if (!u->blocks[u->nblock++])
				abort();
		}
		u->block_used++;
		u->in_block = 0;
	}
	return u->blocks[u->block_used - 1] + u->in_block++ * SECTOR;
}

static void add_version(struct unsynced_var *v, const uint8_t *copy,
			uint64_t h)
{
	if (v->nver == v->cap) {
		v->cap = v->cap * 2 + 4;
		v->ver = realloc(v->ver, v->cap * sizeof(*v->ver));
		v->hash = realloc(v->hash, v->cap * sizeof(*v->hash));
		if (!v->ver || !v->hash)
			abort();
	}
	v->ver[v->nver] = copy;
	v->hash[v->nver++] = h;
}

static uint8_t *copy_sector(struct unsynced *u, const uint8_t *p)
{
	return memcpy(new_block(u), p, SECTOR);
}

static struct unsynced_var *get_var(struct unsynced *u, uint64_t sec)
{
	const uint8_t *old = u->stable + sec * SECTOR;
	struct unsynced_var *v;
	uint32_t cap = u->var_cap;

	if (u->vix[sec] >= 0)
		return &u->var[u->vix[sec]];
	u->var = grow_array(u->var, &u->var_cap, u->nvar + 1, sizeof(*u->var));
	if (u->var_cap > cap)
		memset(u->var + cap, 0, (u->var_cap - cap) * sizeof(*u->var));
	v = &u->var[u->nvar];
	u->vix[sec] = (int32_t)u->nvar++;
	v->sec = sec;
	v->nver = v->applied = 0;
	v->meta = u->meta[sec];
	v->class = u->class[sec];
	add_version(v, copy_sector(u, old), unsynced_hash(sec, old));
	v->first = 1;
	return v;
}

/* The newest content of SEC changed. */
static bool note_sector(struct unsynced *u, uint64_t sec)
{
	const uint8_t *p = u->newest + sec * SECTOR;
	uint64_t h = unsynced_hash(sec, p);
	struct unsynced_var *v = get_var(u, sec);

	for (uint32_t i = 0; i < v->nver; i++)
		if (v->hash[i] == h)
			return false;
	add_version(v, copy_sector(u, p), h);
	return true;
}

static bool note_len(struct unsynced *u, uint64_t len)
{
	if (len == u->newest_len)
		return false;
	u->newest_len = len;
	for (uint32_t i = 0; i < u->nlen; i++)
		if (u->lens[i] == len)
			return false;
	u->lens = grow_array(u->lens, &u->len_cap, u->nlen + 1,
			     sizeof(*u->lens));
	u->lens[u->nlen++] = len;
	return true;
}

void unsynced_apply(const struct unsynced *u, const struct hostrecord_entry *r,
		    uint8_t *buf, uint64_t *image_len, uint64_t *from,
		    uint64_t *to)
{
	uint64_t end = r->off + r->len, data_end = u->data_base + u->data_len;
	uint64_t *len = r->file ? &data_end : image_len;

	*from = r->off;
	*to = end;
	switch (r->op) {
	case HOSTRECORD_WRITE:
		memcpy(buf + r->off, r->data, r->len);
		break;
	case HOSTRECORD_PUNCH:
		*to = end > *len ? *len : end;
		if (*to > *from)
			memset(buf + *from, 0, *to - *from);
		else
			*to = *from;
		return;
	case HOSTRECORD_ZERO:
		memset(buf + r->off, 0, r->len);
		break;
	case HOSTRECORD_TRUNCATE:
		*from = r->len;
		*to = r->len < *len ? *len : r->len;
		memset(buf + *from, 0, *to - *from);
		*len = r->len;
		return;
	case HOSTRECORD_ALLOCATE:
	case HOSTRECORD_SYNC_BEGIN:
	case HOSTRECORD_SYNC_END:
	case HOSTRECORD_MARK:
		*to = *from;
		break;
	}
	if (r->op <= HOSTRECORD_ALLOCATE && end > *len)
		*len = end;
}

bool unsynced_is_change(const struct hostrecord_entry *r)
{
	return r->op <= HOSTRECORD_TRUNCATE && r->result >= 0;
}

bool unsynced_change(struct unsynced *u, const struct hostrecord_entry *r)
{
	uint64_t len = u->newest_len, from, to;
	bool grew;

	for (uint32_t i = 0; i < u->nvar; i++)
		u->var[i].first = u->var[i].nver;
	u->len_first = u->nlen;
	unsynced_apply(u, r, u->newest, &len, &from, &to);
	grew = note_len(u, len);
	for (uint64_t s = from / SECTOR; s * SECTOR < to; s++)
		if (note_sector(u, s))
			grew |= u->meta[s];
	return grew;
}

/* --- syncs ----------------------------------------------------------------- */

void unsynced_settle(struct unsynced *u, uint64_t begin, unsigned file)
{
	const struct hostrecord_entry *log = u->log;
	uint64_t from, to;

	for (uint64_t i = u->from[file]; i < begin; i++)
		if (unsynced_is_change(&log[i]) && log[i].file == file)
			unsynced_apply(u, &log[i], u->stable, &u->stable_len,
				       &from, &to);
	u->from[file] = begin;
}

void unsynced_forget(struct unsynced *u)
{
	for (uint32_t i = 0; i < u->nvar; i++)
		u->vix[u->var[i].sec] = -1;
	u->nvar = u->block_used = 0;
	u->in_block = BLOCK_SECTORS;
	u->nlen = 1;
	u->lens[0] = u->stable_len;
}

static bool is_open(const struct unsynced *u, uint64_t i)
{
	const struct hostrecord_entry *r = &u->log[i];

	return unsynced_is_change(r) && i >= u->from[r->file];
}

void unsynced_again(struct unsynced *u, uint64_t end)
{
	uint64_t from = u->from[0];
	bool any = false;

	if (u->data && u->from[1] < from)
		from = u->from[1];
	for (uint64_t i = from; i < end && !any; i++)
		any = is_open(u, i);
	if (!any)
		return;
	memcpy(u->newest, u->stable, u->cap);
	u->newest_len = u->stable_len;
	for (uint64_t i = from; i < end; i++)
		if (is_open(u, i))
			unsynced_change(u, &u->log[i]);
}

const struct unsynced_var *unsynced_var(const struct unsynced *u, uint64_t sec)
{
	return u->vix[sec] < 0 ? NULL : &u->var[u->vix[sec]];
}
