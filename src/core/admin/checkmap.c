/* checkmap: pages of cells in a hash; see checkmap.h. */
#include "core/admin/checkmap.h"

#include <errno.h>
#include <stdlib.h>

#define HASH_NONFATAL_OOM 1
#include "base/hash.h"

#define PAGE_BITS 8
#define PAGE_CELLS (1U << PAGE_BITS)
#define COUNT_BIG UINT16_MAX

struct checkmap_page {
	uint64_t number; /* hidx >> PAGE_BITS */
	struct checkcell cell[PAGE_CELLS];
	UT_hash_handle hh;
};

/* A cluster with one count of COUNT_BIG or more. */
struct checkmap_big {
	uint64_t hidx;
	uint64_t refs, stored;
	UT_hash_handle hh;
};

void checkmap_init(struct checkmap *m, uint64_t budget)
{
	*m = (struct checkmap){ .budget = budget };
}

void checkmap_fini(struct checkmap *m)
{
	struct checkmap_page *p = m->pages;
	struct checkmap_big *b = m->bigs;

	if (p)
		HASH_CLEAR(hh, m->pages);
	while (p) {
		struct checkmap_page *next = p->hh.next;

		free(p);
		p = next;
	}
	if (b)
		HASH_CLEAR(hh, m->bigs);
	while (b) {
		struct checkmap_big *next = b->hh.next;

		free(b);
		b = next;
	}
	m->last = NULL;
}

int checkmap_charge(struct checkmap *m, uint64_t bytes)
{
	if (bytes > m->budget - m->used)
		return -ENOMEM;
	m->used += bytes;
	return 0;
}

static struct checkmap_page *page_find(const struct checkmap *m,
				       uint64_t number)
{
	struct checkmap_page *p = m->last;

	if (p && p->number == number)
		return p;
	HASH_FIND(hh, m->pages, &number, sizeof(number), p);
	return p;
}

static struct checkmap_page *page_new(struct checkmap *m, uint64_t number)
{
	/* a bucket's share of the hash is not in sizeof */
	struct checkmap_page *p;

	if (checkmap_charge(m, sizeof(*p) + 2 * sizeof(UT_hash_bucket)) < 0)
		return NULL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->number = number;
	HASH_ADD(hh, m->pages, number, sizeof(number), p);
	if (!p->hh.tbl) {
		free(p);
		return NULL;
	}
	return p;
}

struct checkcell *checkmap_cell(struct checkmap *m, uint64_t hidx)
{
	struct checkmap_page *p = page_find(m, hidx >> PAGE_BITS);

	if (!p)
		p = page_new(m, hidx >> PAGE_BITS);
	if (!p)
		return NULL;
	m->last = p;
	return &p->cell[hidx & (PAGE_CELLS - 1)];
}

static struct checkmap_big *big_find(const struct checkmap *m, uint64_t hidx)
{
	struct checkmap_big *b;

	HASH_FIND(hh, m->bigs, &hidx, sizeof(hidx), b);
	return b;
}

static struct checkmap_big *big_get(struct checkmap *m, uint64_t hidx)
{
	struct checkmap_big *b = big_find(m, hidx);

	if (b)
		return b;
	if (checkmap_charge(m, sizeof(*b) + 2 * sizeof(UT_hash_bucket)) < 0)
		return NULL;
	b = calloc(1, sizeof(*b));
	if (!b)
		return NULL;
	b->hidx = hidx;
	HASH_ADD(hh, m->bigs, hidx, sizeof(hidx), b);
	if (!b->hh.tbl) {
		free(b);
		return NULL;
	}
	return b;
}

enum checkrole checkmap_role(const struct checkmap *m, uint64_t hidx)
{
	const struct checkmap_page *p = page_find(m, hidx >> PAGE_BITS);

	return p ? (enum checkrole)p->cell[hidx & (PAGE_CELLS - 1)].role
		 : CHECKROLE_NONE;
}

uint64_t checkmap_refs(const struct checkmap *m, uint64_t hidx)
{
	const struct checkmap_page *p = page_find(m, hidx >> PAGE_BITS);
	uint16_t v = p ? p->cell[hidx & (PAGE_CELLS - 1)].refs : 0;

	return v == COUNT_BIG ? big_find(m, hidx)->refs : v;
}

uint64_t checkmap_stored(const struct checkmap *m, uint64_t hidx)
{
	const struct checkmap_page *p = page_find(m, hidx >> PAGE_BITS);
	uint16_t v = p ? p->cell[hidx & (PAGE_CELLS - 1)].stored : 0;

	return v == COUNT_BIG ? big_find(m, hidx)->stored : v;
}

int checkmap_add_refs(struct checkmap *m, uint64_t hidx, uint64_t n)
{
	struct checkcell *c = checkmap_cell(m, hidx);
	struct checkmap_big *b;
	uint64_t sum;

	if (!c)
		return -ENOMEM;
	if (__builtin_add_overflow(checkmap_refs(m, hidx), n, &sum))
		sum = UINT64_MAX;
	if (sum < COUNT_BIG) {
		c->refs = (uint16_t)sum;
		return 0;
	}
	b = big_get(m, hidx);
	if (!b)
		return -ENOMEM;
	b->refs = sum;
	c->refs = COUNT_BIG;
	return 0;
}

int checkmap_set_stored(struct checkmap *m, uint64_t hidx, uint64_t count)
{
	struct checkcell *c = checkmap_cell(m, hidx);
	struct checkmap_big *b;

	if (!c)
		return -ENOMEM;
	if (count < COUNT_BIG) {
		c->stored = (uint16_t)count;
		return 0;
	}
	b = big_get(m, hidx);
	if (!b)
		return -ENOMEM;
	b->stored = count;
	c->stored = COUNT_BIG;
	return 0;
}

static int page_order(const struct checkmap_page *a,
		      const struct checkmap_page *b)
{
	return (a->number > b->number) - (a->number < b->number);
}

void checkmap_each(struct checkmap *m,
		   void (*fn)(void *arg, uint64_t hidx, uint64_t refs,
			      uint64_t stored),
		   void *arg)
{
	HASH_SORT(m->pages, page_order);
	for (struct checkmap_page *p = m->pages; p; p = p->hh.next) {
		m->last = p;
		for (uint64_t i = 0; i < PAGE_CELLS; i++) {
			uint64_t hidx = (p->number << PAGE_BITS) + i;

			if (p->cell[i].refs || p->cell[i].stored)
				fn(arg, hidx, checkmap_refs(m, hidx),
				   checkmap_stored(m, hidx));
		}
	}
}

const char *checkmap_role_text(enum checkrole role)
{
	static const char *const text[CHECKROLE_N] = {
		[CHECKROLE_NONE] = "nothing",
		[CHECKROLE_HEADER] = "the header",
		[CHECKROLE_REFTABLE] = "the refcount table",
		[CHECKROLE_REFBLOCK] = "a refcount block",
		[CHECKROLE_L1] = "the L1 table",
		[CHECKROLE_L2] = "an L2 table",
		[CHECKROLE_SNAPTABLE] = "the snapshot table",
		[CHECKROLE_SNAP_L1] = "a snapshot's L1 table",
		[CHECKROLE_SNAP_L2] = "a snapshot's L2 table",
		[CHECKROLE_DATA] = "data",
		[CHECKROLE_COMPRESSED] = "compressed data",
		[CHECKROLE_BITMAP_DIR] = "the bitmap directory",
		[CHECKROLE_BITMAP_TABLE] = "a bitmap table",
		[CHECKROLE_BITMAP_DATA] = "bitmap data",
		[CHECKROLE_CRYPTO] = "the encryption header",
		[CHECKROLE_OUTSIDE] = "outside the file",
	};

	return role < CHECKROLE_N ? text[role] : "unknown";
}
