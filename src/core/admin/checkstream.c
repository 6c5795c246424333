/* checkstream: see checkstream.h. */
#include "core/admin/checkstream.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/num.h"
#include "core/format/qcow2.h"

#define VERIFIED_BITS 10 /* of the number of streams remembered as good */

/* The sectors that an entry names, and where the stream begins in them. */
struct place {
	uint64_t start, len;
	uint64_t hoff;
};

int checkstream_init(struct checkstream *s, const struct geom *g)
{
	size_t cs = (size_t)g->cluster_size;

	s->codec = codec_get(g->compression);
	s->in = mem_aligned(2 * cs + QCOW2_SECTOR);
	s->out = mem_aligned(cs);
	s->verified = mem_array(1U << VERIFIED_BITS, 8);
	return s->in && s->out && s->verified ? 0 : -ENOMEM;
}

void checkstream_fini(struct checkstream *s)
{
	free(s->in);
	free(s->out);
	free(s->verified);
}

static struct place place_of(const struct geom *g, uint64_t raw)
{
	unsigned shift = 62 - (g->cluster_bits - 8);
	uint64_t hoff = raw & ((1ULL << shift) - 1);
	uint64_t sectors = ((raw & ~(3ULL << 62)) >> shift) + 1;

	return (struct place){ num_round_down(hoff, QCOW2_SECTOR),
			       sectors * QCOW2_SECTOR, hoff };
}

/* Decompress it, unless that very stream was found good a moment ago. */
static void decompress(struct checkstream *s, struct checkwalk *w, uint64_t raw,
		       const struct place *p)
{
	uint64_t hash = raw * 0x9e3779b97f4a7c15ULL;
	uint64_t *slot = &s->verified[hash >> (64 - VERIFIED_BITS)];
	uint64_t len = p->start + p->len - p->hoff;

	if (*slot == raw || !s->codec)
		return;
	if (!checkwalk_read(w, s->in, len, p->hoff))
		return;
	if (s->codec->decompress(s->out, (size_t)w->g.cluster_size, s->in,
				 (size_t)len) < 0)
		checkwalk_report(w, PROBLEM_COMPRESSED_DATA, p->hoff,
				 "the compressed data at %#" PRIx64
				 " does not decompress", p->hoff);
	else
		*slot = raw;
}

/* Compressed data counts as fragmented, as in qemu-img. */
static void count(struct check_result *res)
{
	res->allocated_clusters++;
	res->compressed_clusters++;
	res->fragmented_clusters++;
}

static int outside(const struct checkentry_table *t, const struct checkentry *e,
		   const struct place *p)
{
	struct checkwalk *w = t->w;
	int ret;

	checkentry_report(t, e, PROBLEM_COMPRESSED_RANGE, p->hoff,
			  ": compressed data at %#" PRIx64
			  " is outside the file", p->hoff);
	ret = checkwalk_outside(w, p->start, p->len);
	return ret ? ret
		   : checkentry_become(w, e, checkentry_nothing(w, e->raw));
}

int checkstream_entry(struct checkstream *s, struct checkentry_table *t,
		      const struct checkentry *e)
{
	struct checkwalk *w = t->w;
	const struct place p = place_of(&w->g, e->raw);
	uint64_t want = e->raw & ~QCOW2_ENTRY_COPIED;
	enum checkwalk_place place;
	int ret;

	if (want != e->raw)
		checkentry_report(t, e, PROBLEM_L2_ENTRY, p.hoff,
				  " has COPIED on compressed data");
	if (t->active)
		count(w->res);
	if (p.start >= QCOW2_HOST_OFFSET_MAX || p.start >= w->file_size ||
	    !checkwalk_inside(w, p.start, p.len))
		return outside(t, e, &p);
	decompress(s, w, want, &p);
	ret = checkwalk_name(w, p.start, p.len, CHECKROLE_COMPRESSED, t->refs,
			     &place);
	if (ret)
		return ret;
	if (place == CHECKWALK_CONTESTED)
		return checkentry_move(w, e, want, p.start, p.len, t->refs);
	return checkentry_become(w, e, want);
}
