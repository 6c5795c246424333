/* ctl_list: the lists that other rawcow commands ask for. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/num.h"
#include "core/image/view.h"
#include "fuse/ctl.h"

static void put(FILE *f, const void *p, size_t len)
{
	fwrite(p, 1, len, f);
}

static void put_text(FILE *f, const char *text)
{
	put(f, text, strlen(text) + 1);
}

static int put_snapshots(FILE *f, struct image *img, struct err *err)
{
	struct snaplist list;
	int r = view_list(img, &list, err);

	for (size_t i = 0; r == 0 && i < list.n; i++) {
		const struct snapshot *s = &list.snap[i];
		const struct ctl_snapshot c = {
			.vm_clock_nsec = s->vm_clock_nsec,
			.vm_state_size = s->vm_state_size,
			.icount = s->icount,
			.date_sec = s->date_sec,
			.date_nsec = s->date_nsec,
		};

		put(f, &c, sizeof(c));
		put_text(f, s->id);
		put_text(f, s->name);
	}
	snaplist_fini(&list);
	return r;
}

static int put_bitmap(void *arg, const struct image_bitmap *b)
{
	const struct ctl_bitmap c = {
		.granularity = b->granularity,
		.enabled = b->enabled,
		.in_use = b->in_use,
		.invalid = b->invalid != NULL,
	};

	put(arg, &c, sizeof(c));
	put_text(arg, b->name);
	return 0;
}

static int put_all(FILE *f, struct image *img, uint32_t what, struct err *err)
{
	switch (what) {
	case CTL_LIST_SNAPSHOTS:
		return put_snapshots(f, img, err);
	case CTL_LIST_BITMAPS:
		return image_bitmap_list(img, put_bitmap, f, err);
	default:
		return err_set(err, -ENOTSUP,
			       "the server of this mount is older and does not know that");
	}
}

static void cut_piece(struct ctl_list *l, const char *all, size_t size)
{
	static const uint64_t no_key[2]; /* it need not be a secret */
	uint64_t off = NUM_MIN(l->offset, (uint64_t)size);

	l->size = size;
	l->sum = hash_keyed(no_key, all, size);
	l->len = (uint32_t)NUM_MIN(size - off, (uint64_t)CTL_LIST_MAX);
	memcpy(l->data, all + off, l->len);
}

void ctl_list(struct image *img, struct ctl_list *l)
{
	autofree char *all = NULL;
	struct err err = { "" };
	size_t size = 0;
	FILE *f = open_memstream(&all, &size);

	l->result = f ? put_all(f, img, l->what, &err) : -ENOMEM;
	if (f && fclose(f) && !l->result)
		l->result = -ENOMEM;
	if (l->result && !*err.text)
		err_set_sys(&err, l->result, "no list");
	snprintf(l->text, sizeof(l->text), "%s", err.text);
	if (!l->result)
		cut_piece(l, all, size);
}
