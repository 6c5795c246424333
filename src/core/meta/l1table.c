#include "core/meta/l1table.h"

#include <errno.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/num.h"
#include "core/format/qcow2.h"

/* Entries read at once: the largest table would need 32 MiB more. */
#define PIECE 8192U

int l1table_load(struct l1table *t, struct hostfile *file, uint64_t hoff,
		 uint32_t n)
{
	size_t sectors = (size_t)num_div_ceil(n, L1TABLE_SECTOR_ENTRIES);
	autofree uint64_t *raw = mem_array(PIECE, sizeof(*raw));
	int r = -ENOMEM;

	memset(t, 0, sizeof(*t));
	t->n = n;
	t->hoff = hoff;
	t->e = mem_array(sectors * L1TABLE_SECTOR_ENTRIES, sizeof(*t->e));
	t->dirty = mem_array(sectors, sizeof(*t->dirty));
	if (!raw || !t->e || !t->dirty)
		goto out;
	r = 0;
	for (uint32_t done = 0; r == 0 && done < n; done += PIECE) {
		uint32_t k = NUM_MIN(n - done, PIECE);

		r = hostfile_pread_full(file, raw, k * sizeof(*raw),
					hoff + done * 8ULL);
		for (uint32_t i = 0; i < k; i++)
			atomic_init(&t->e[done + i], be64_load(&raw[i]));
	}
out:
	if (r < 0)
		l1table_fini(t);
	return r;
}

void l1table_fini(struct l1table *t)
{
	free(t->e);
	free(t->dirty);
	free(t->dirty_list);
	free(t->room);
	memset(t, 0, sizeof(*t));
}

uint64_t *l1table_copy(const struct l1table *t)
{
	uint64_t *copy = mem_array(t->n, sizeof(*copy));

	for (uint32_t i = 0; copy && i < t->n; i++)
		copy[i] = l1table_get(t, i);
	return copy;
}

int l1table_reserve(struct l1table *t, uint64_t i)
{
	size_t need = (size_t)t->dirty_n + 1;

	if (t->dirty[i / L1TABLE_SECTOR_ENTRIES])
		return 0;
	if (mem_grow(&t->dirty_list, &t->list_cap, need,
		     sizeof(*t->dirty_list)) < 0)
		return -ENOMEM;
	return mem_grow(&t->room, &t->room_cap, need, QCOW2_SECTOR);
}

void l1table_set(struct l1table *t, uint64_t i, uint64_t raw)
{
	uint32_t sec = (uint32_t)(i / L1TABLE_SECTOR_ENTRIES);

	atomic_store_explicit(&t->e[i], raw, memory_order_release);
	if (t->dirty[sec])
		return;
	t->dirty[sec] = true;
	t->dirty_list[t->dirty_n++] = sec;
}

int l1table_clear_copied(struct l1table *t, struct hostfile *file)
{
	autofree uint8_t *raw = mem_array(t->n, 8);
	bool any = false;

	if (!raw)
		return -ENOMEM;
	for (uint32_t i = 0; i < t->n; i++) {
		uint64_t e = l1table_get(t, i);

		any |= (e & QCOW2_ENTRY_COPIED) != 0;
		be64_store(raw + (size_t)i * 8, e & ~QCOW2_ENTRY_COPIED);
	}
	if (!any)
		return 0;
	for (uint32_t i = 0; i < t->n; i++)
		atomic_store(&t->e[i],
			     l1table_get(t, i) & ~QCOW2_ENTRY_COPIED);
	return hostfile_pwrite_full(file, raw, (size_t)t->n * 8, t->hoff);
}

void l1table_take_cut(struct l1table *t, struct l1table_cut *cut)
{
	for (uint32_t i = 0; i < t->dirty_n; i++) {
		uint8_t *out = t->room + (size_t)i * QCOW2_SECTOR;
		uint64_t first = (uint64_t)t->dirty_list[i] *
				 L1TABLE_SECTOR_ENTRIES;

		t->dirty[t->dirty_list[i]] = false;
		for (unsigned k = 0; k < L1TABLE_SECTOR_ENTRIES; k++)
			be64_store(out + k * 8, l1table_get(t, first + k));
	}
	cut->copies = t->room;
	cut->list = t->dirty_list;
	cut->n = t->dirty_n;
	t->room = NULL;
	t->dirty_list = NULL;
	t->room_cap = t->list_cap = 0;
	t->dirty_n = 0;
}

void l1table_cut_fini(struct l1table_cut *cut)
{
	free(cut->copies);
	free(cut->list);
	memset(cut, 0, sizeof(*cut));
}

void l1table_cut_place(const struct l1table *t, const struct l1table_cut *cut,
		       uint32_t i, uint64_t *hoff, size_t *len)
{
	uint64_t first = (uint64_t)cut->list[i] * L1TABLE_SECTOR_ENTRIES;

	*hoff = t->hoff + first * 8;
	*len = (size_t)NUM_MIN(t->n - first, (uint64_t)L1TABLE_SECTOR_ENTRIES) * 8;
}
