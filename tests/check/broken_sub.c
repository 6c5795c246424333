#include "check/broken_sub.h"

#include "check/broken.h"

#define OFFSET_MASK 0x00fffffffffffe00ULL
#define ALL_DATA 0xffffffffULL

static uint64_t word(struct imgbuild *b, unsigned gidx)
{
	return imgbuild_peek(b, broken_slot(b, gidx), 8);
}

static uint64_t bitmap(struct imgbuild *b, unsigned gidx)
{
	return imgbuild_peek(b, broken_slot(b, gidx) + 8, 8);
}

static void set(struct imgbuild *b, unsigned gidx, uint64_t w, uint64_t bits)
{
	imgbuild_poke(b, broken_slot(b, gidx), 8, w);
	imgbuild_poke(b, broken_slot(b, gidx) + 8, 8, bits);
}

static void or_in(struct imgbuild *b, unsigned gidx, uint64_t w, uint64_t bits)
{
	set(b, gidx, word(b, gidx) | w, bitmap(b, gidx) | bits);
}

static void twice(struct imgbuild *b, unsigned gidx)
{
	set(b, BROKEN_NOTHING, word(b, gidx), bitmap(b, gidx));
}

/* --- the bitmap ---------------------------------------------------------------- */

void broken_sub_both(struct imgbuild *b)
{
	or_in(b, BROKEN_MIXED, 0, 0xfULL << 32);
}
void broken_sub_all_both(struct imgbuild *b)
{
	or_in(b, 0, 0, ALL_DATA << 32);
}
void broken_sub_no_cluster(struct imgbuild *b)
{
	set(b, BROKEN_MIXED, 0, bitmap(b, BROKEN_MIXED));
}
void broken_sub_stream(struct imgbuild *b)
{
	or_in(b, BROKEN_STREAM, 0, 1ULL << 40);
}
void broken_sub_stream_full(struct imgbuild *b)
{
	or_in(b, BROKEN_STREAM, 0, ALL_DATA);
}

/* --- the word ------------------------------------------------------------------ */

void broken_sub_zero_flag(struct imgbuild *b)
{
	or_in(b, BROKEN_MIXED, IMGBUILD_ZERO, 0);
}
void broken_sub_zero_flag_empty(struct imgbuild *b)
{
	or_in(b, BROKEN_NOTHING, IMGBUILD_ZERO, 0);
}
void broken_sub_reserved(struct imgbuild *b)
{
	or_in(b, BROKEN_MIXED, 0x80, 0);
}
void broken_sub_unaligned(struct imgbuild *b)
{
	or_in(b, BROKEN_MIXED, 1024, 0);
}
void broken_sub_outside(struct imgbuild *b)
{
	or_in(b, BROKEN_MIXED, 1ULL << 41, 0);
}

/* The place of another guest cluster; of a data file only. */
void broken_sub_elsewhere(struct imgbuild *b)
{
	set(b, 0, word(b, BROKEN_MIXED), bitmap(b, 0));
}
void broken_sub_place_zero(struct imgbuild *b)
{
	set(b, BROKEN_MIXED, IMGBUILD_COPIED, bitmap(b, BROKEN_MIXED));
}

/* --- clusters with two owners ---------------------------------------------------- */

void broken_sub_twice(struct imgbuild *b) { twice(b, BROKEN_DATA); }
void broken_sub_mixed_twice(struct imgbuild *b) { twice(b, BROKEN_MIXED); }
void broken_sub_place_twice(struct imgbuild *b) { twice(b, BROKEN_PLACE); }
void broken_sub_is_l2(struct imgbuild *b)
{
	uint64_t table = imgbuild_l1_get(b, 0) & OFFSET_MASK;

	set(b, BROKEN_NOTHING, table | IMGBUILD_COPIED, ALL_DATA);
}

/* --- counts ---------------------------------------------------------------------- */

static void count(struct imgbuild *b, uint64_t n)
{
	imgbuild_refcount_set(b, word(b, BROKEN_MIXED) & OFFSET_MASK, n);
}
void broken_sub_count_low(struct imgbuild *b) { count(b, 0); }
void broken_sub_count_high(struct imgbuild *b) { count(b, 5); }
