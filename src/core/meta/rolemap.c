#include "core/meta/rolemap.h"

#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/num.h"

#define PAGE_CLUSTERS (1ULL << ROLEMAP_PAGE_BITS)
#define FAN (1ULL << ROLEMAP_FAN_BITS)
#define TOP (1ULL << ROLEMAP_TOP_BITS)
#define LOW_SHIFT ROLEMAP_PAGE_BITS
#define MID_SHIFT (LOW_SHIFT + ROLEMAP_FAN_BITS)
#define TOP_SHIFT (MID_SHIFT + ROLEMAP_FAN_BITS)
#define PER_WORD 16
#define EACH 0x1111111111111111ULL /* times a role: a word full of it */

int rolemap_init(struct rolemap *rm, uint64_t budget)
{
	*rm = (struct rolemap){.budget = budget};
	rm->mid = mem_array(TOP, sizeof(*rm->mid));
	return rm->mid ? 0 : -ENOMEM;
}

static void free_low(struct rolemap_low *low)
{
	for (uint64_t i = 0; low && i < FAN; i++)
		free(atomic_load(&low->page[i]));
	free(low);
}

static void free_mid(struct rolemap_mid *mid)
{
	for (uint64_t i = 0; mid && i < FAN; i++)
		free_low(atomic_load(&mid->low[i]));
	free(mid);
}

void rolemap_fini(struct rolemap *rm)
{
	for (uint64_t i = 0; rm->mid && i < TOP; i++)
		free_mid(atomic_load(&rm->mid[i]));
	free(rm->mid);
	rm->mid = NULL;
}

/* A page, or NULL, and the first cluster behind what is known to lack one. */
static struct rolemap_page *find_page(const struct rolemap *rm, uint64_t hidx,
				      uint64_t *next)
{
	struct rolemap_mid *mid = NULL;
	struct rolemap_low *low = NULL;

	*next = UINT64_MAX;
	if (!rm->mid || hidx >> TOP_SHIFT >= TOP)
		return NULL;
	mid = atomic_load_explicit(&rm->mid[hidx >> TOP_SHIFT],
				   memory_order_acquire);
	*next = ((hidx >> TOP_SHIFT) + 1) << TOP_SHIFT;
	if (!mid)
		return NULL;
	low = atomic_load_explicit(&mid->low[(hidx >> MID_SHIFT) & (FAN - 1)],
				   memory_order_acquire);
	*next = ((hidx >> MID_SHIFT) + 1) << MID_SHIFT;
	if (!low)
		return NULL;
	*next = ((hidx >> LOW_SHIFT) + 1) << LOW_SHIFT;
	return atomic_load_explicit(&low->page[(hidx >> LOW_SHIFT) & (FAN - 1)],
				    memory_order_acquire);
}

/* Memory for one node; BUDGET is what the whole map may use. */
static void *node(struct rolemap *rm, size_t size, uint64_t budget)
{
	void *p = rm->used + size <= budget ? mem_array(1, size) : NULL;

	if (p)
		rm->used += size;
	return p;
}

/* The page of HIDX, made if it is missing; NULL: -ENOMEM, or no offset can
 * express HIDX. */
static struct rolemap_page *make_page(struct rolemap *rm, uint64_t hidx,
				      uint64_t budget)
{
	struct rolemap_mid *_Atomic *top;
	struct rolemap_low *_Atomic *l;
	struct rolemap_page *_Atomic *p;

	if (hidx >> TOP_SHIFT >= TOP)
		return NULL;
	top = &rm->mid[hidx >> TOP_SHIFT];
	if (!atomic_load(top))
		atomic_store(top, node(rm, sizeof(struct rolemap_mid), budget));
	if (!atomic_load(top))
		return NULL;
	l = &atomic_load(top)->low[(hidx >> MID_SHIFT) & (FAN - 1)];
	if (!atomic_load(l))
		atomic_store(l, node(rm, sizeof(struct rolemap_low), budget));
	if (!atomic_load(l))
		return NULL;
	p = &atomic_load(l)->page[(hidx >> LOW_SHIFT) & (FAN - 1)];
	if (!atomic_load(p))
		atomic_store(p, node(rm, sizeof(struct rolemap_page), budget));
	return atomic_load(p);
}

static unsigned shift_of(uint64_t hidx)
{
	return (unsigned)(hidx % PER_WORD) * 4;
}

static _Atomic uint64_t *word_of(struct rolemap_page *p, uint64_t hidx)
{
	return &p->w[(hidx & (PAGE_CLUSTERS - 1)) / PER_WORD];
}

/* The bits of K clusters from HIDX on, all in one word. */
static uint64_t mask_of(uint64_t hidx, uint64_t k)
{
	return (k == PER_WORD ? UINT64_MAX : (1ULL << (k * 4)) - 1)
	       << shift_of(hidx);
}

enum role rolemap_get(const struct rolemap *rm, uint64_t hidx)
{
	uint64_t next;
	struct rolemap_page *p = find_page(rm, hidx, &next);

	if (!p)
		return ROLE_NONE;
	return (enum role)(
		atomic_load_explicit(word_of(p, hidx), memory_order_relaxed) >>
			shift_of(hidx) &
		15);
}

bool rolemap_all(const struct rolemap *rm, uint64_t hidx, uint64_t n,
		 enum role role)
{
	while (n) {
		uint64_t k = NUM_MIN(n, PER_WORD - hidx % PER_WORD);
		uint64_t next;
		struct rolemap_page *p = find_page(rm, hidx, &next);
		uint64_t w = p ? atomic_load_explicit(word_of(p, hidx),
						      memory_order_relaxed)
			       : 0;

		if ((w ^ role * EACH) & mask_of(hidx, k))
			return false;
		hidx += k;
		n -= k;
	}
	return true;
}

int rolemap_set(struct rolemap *rm, uint64_t hidx, uint64_t n, enum role role)
{
	while (n) {
		uint64_t k = NUM_MIN(n, PER_WORD - hidx % PER_WORD);
		uint64_t mask = mask_of(hidx, k);
		uint64_t next;
		struct rolemap_page *p = find_page(rm, hidx, &next);
		_Atomic uint64_t *w;

		if (!p && role != ROLE_NONE)
			p = make_page(rm, hidx, rm->budget);
		if (!p && role != ROLE_NONE)
			return -ENOMEM;
		if (p) {
			w = word_of(p, hidx);
			atomic_store_explicit(w,
					      (atomic_load(w) & ~mask) |
						      (role * EACH & mask),
					      memory_order_release);
		}
		hidx += k;
		n -= k;
	}
	return 0;
}

int rolemap_reserve(struct rolemap *rm, uint64_t hidx, uint64_t n)
{
	uint64_t end = hidx + n;

	for (uint64_t h = num_round_down(hidx, PAGE_CLUSTERS); h < end;
	     h += PAGE_CLUSTERS)
		if (!make_page(rm, h, UINT64_MAX))
			return -ENOMEM;
	return 0;
}

/* Is one of the sixteen roles in W equal to ROLE? */
static bool has_role(uint64_t w, enum role role)
{
	uint64_t x = w ^ role * EACH;

	return (x - EACH) & ~x & (EACH << 3);
}

uint64_t rolemap_find(const struct rolemap *rm, uint64_t from, enum role a,
		      enum role b)
{
	while (from < TOP << TOP_SHIFT) {
		uint64_t next;
		struct rolemap_page *p = find_page(rm, from, &next);

		for (; p && from < next; from++) {
			uint64_t w = atomic_load(word_of(p, from));
			enum role r = (enum role)(w >> shift_of(from) & 15);

			if (r == a || r == b)
				return from;
			if (!has_role(w, a) && !has_role(w, b))
				from |= PER_WORD - 1;
		}
		from = next;
	}
	return UINT64_MAX;
}

const char *rolemap_text(enum role role)
{
	static const char *const text[16] = {
		[ROLE_NONE] = "free",
		[ROLE_HEADER] = "the header",
		[ROLE_REFTABLE] = "the refcount table",
		[ROLE_REFBLOCK] = "a refcount block",
		[ROLE_L1] = "the L1 table",
		[ROLE_L2] = "an L2 table",
		[ROLE_L2_UNSEEN] = "an L2 table",
		[ROLE_L2_SHARED] = "an L2 table of a snapshot",
		[ROLE_L2_SHARED_UNSEEN] = "an L2 table of a snapshot",
		[ROLE_SNAPTABLE] = "the snapshot table",
		[ROLE_SNAP_L1] = "the L1 table of a snapshot",
		[ROLE_BITMAP] = "a part of a bitmap",
		[ROLE_CRYPTO] = "the encryption header",
		[ROLE_DATA] = "data",
		[ROLE_DATA_SHARED] = "shared data",
		[ROLE_COMPRESSED] = "compressed data",
	};

	return text[role & 15];
}
