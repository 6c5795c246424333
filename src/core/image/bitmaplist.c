/* bitmaplist: reads the bitmap directory; see bitmaplist.h. */
#include "core/image/bitmaplist.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "core/format/qcow2.h"

static void bitmap_fini(struct bitmap *b)
{
	free(b->words);
	free(b->text);
	memset(b, 0, sizeof(*b));
}

void bitmaplist_fini(struct bitmaplist *list)
{
	for (size_t i = 0; i < list->n; i++)
		bitmap_fini(&list->b[i]);
	free(list->b);
	memset(list, 0, sizeof(*list));
}

int bitmaplist_add(struct bitmaplist *list, const struct bitmapdir_entry *e)
{
	uint8_t *text = malloc((size_t)e->extra_len + e->name_len + 1);
	struct bitmap *b;

	if (!text ||
	    mem_grow(&list->b, &list->cap, list->n + 1, sizeof(*list->b)) < 0) {
		free(text);
		return -ENOMEM;
	}
	b = &list->b[list->n++];
	memset(b, 0, sizeof(*b));
	if (e->extra_len)
		memcpy(text, e->extra, e->extra_len);
	memcpy(text + e->extra_len, e->name, e->name_len);
	text[e->extra_len + e->name_len] = '\0';
	b->e = *e;
	b->text = text;
	b->e.extra = text;
	b->e.name = (char *)text + e->extra_len;
	return 0;
}

void bitmaplist_drop(struct bitmaplist *list, size_t i)
{
	bitmap_fini(&list->b[i]);
	memmove(&list->b[i], &list->b[i + 1],
		(--list->n - i) * sizeof(*list->b));
}

const char *bitmaplist_name(const struct bitmap *b)
{
	return b->e.name;
}

int bitmaplist_find(const struct bitmaplist *list, const char *name, size_t *i,
		    struct err *err)
{
	char safe[128];

	for (*i = 0; *i < list->n; ++*i)
		if (list->b[*i].e.name_len == strlen(name) &&
		    !strcmp(bitmaplist_name(&list->b[*i]), name))
			return 0;
	return err_set(err, -ENOENT, "no bitmap has the name '%s'",
		       err_escape(safe, sizeof(safe), name, strlen(name)));
}

/* --- reading ----------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
	const struct bitmapdir_entry *x = &(*(struct bitmap *const *)a)->e;
	const struct bitmapdir_entry *y = &(*(struct bitmap *const *)b)->e;
	int r = memcmp(x->name, y->name, NUM_MIN(x->name_len, y->name_len));

	return r ? r : (int)x->name_len - (int)y->name_len;
}

/* A name must be the only one of its kind. */
static int check_names(struct bitmaplist *list, struct err *err)
{
	autofree struct bitmap **p = mem_array(list->n, sizeof(struct bitmap *));
	char safe[128];

	if (!p)
		return err_set(err, -ENOMEM, "no memory for bitmaps");
	for (size_t i = 0; i < list->n; i++)
		p[i] = &list->b[i];
	qsort(p, list->n, sizeof(struct bitmap *), by_name);
	for (size_t i = 1; i < list->n; i++)
		if (by_name(&p[i - 1], &p[i]) == 0)
			return err_set(err, -EUCLEAN,
				       "two bitmaps have the name '%s'",
				       err_escape(safe, sizeof(safe),
						  p[i]->e.name,
						  p[i]->e.name_len));
	return 0;
}

static int read_entry(struct bitmaplist *list, const uint8_t *buf, size_t *pos,
		      const struct geom *g, uint64_t file_size,
		      uint64_t *tables, struct err *err)
{
	struct bitmapdir_entry e;
	int r = bitmapdir_decode(&e, buf, (size_t)list->dir.len, pos, err);

	if (r == 0)
		r = bitmapdir_check(&e, g, file_size, err);
	if (r == 0)
		r = bitmapdir_add_table(tables, e.table_entries, err);
	if (r < 0) {
		err_wrap(err, "bitmap %zu", list->n + 1);
		return r;
	}
	if (bitmaplist_add(list, &e) < 0)
		return err_set(err, -ENOMEM, "no memory for bitmaps");
	return 0;
}

static int read_dir(struct bitmaplist *list, struct hostfile *file,
		    const struct geom *g, uint64_t file_size, struct err *err)
{
	const struct bitmapdir *d = &list->dir;
	autofree uint8_t *buf = mem_array(1, (size_t)d->len);
	uint64_t tables = 0;
	size_t pos = 0;
	int r;

	if (!buf)
		return err_set(err, -ENOMEM, "no memory for bitmaps");
	r = hostfile_pread(file, buf, (size_t)d->len, d->off, NULL);
	if (r < 0)
		return err_set_sys(err, r, "cannot read the bitmap directory");
	for (uint32_t i = 0; i < d->n && r == 0; i++)
		r = read_entry(list, buf, &pos, g, file_size, &tables, err);
	if (r == 0 && pos != d->len)
		r = err_set(err, -EUCLEAN,
			    "the bitmap directory has %" PRIu64 " bytes too many",
			    d->len - pos);
	return r < 0 ? r : check_names(list, err);
}

int bitmaplist_read(struct bitmaplist *list, struct hostfile *file,
		    const struct header *h, const struct headerext_list *ext,
		    const struct geom *g, uint64_t file_size, struct err *err)
{
	const struct headerext *x = headerext_find(ext, QCOW2_EXT_BITMAPS);
	int r;

	memset(list, 0, sizeof(*list));
	if (!x || !(h->autoclear & QCOW2_AUTOCLEAR_BITMAPS))
		return 0;
	r = bitmapdir_decode_ext(&list->dir, x->data, x->len, g, file_size,
				 err);
	if (r < 0)
		memset(&list->dir, 0, sizeof(list->dir));
	return r < 0 ? r : read_dir(list, file, g, file_size, err);
}

int bitmaplist_load(struct bitmaplist *list, struct hostfile *file,
		    const struct header *h, const struct geom *g,
		    struct err *err)
{
	autofree uint8_t *head = mem_array(1, (size_t)g->cluster_size);
	struct headerext_list ext;
	struct host_stat st;
	size_t got;
	int r;

	memset(list, 0, sizeof(*list));
	if (!head)
		return err_set(err, -ENOMEM, "no memory for the header");
	r = hostfile_stat(file, &st);
	if (r == 0)
		r = hostfile_pread(file, head, (size_t)g->cluster_size, 0, &got);
	if (r < 0)
		return err_set_sys(err, r, "cannot read the header");
	r = headerext_decode(&ext, h, head, got, err);
	return r < 0 ? r : bitmaplist_read(list, file, h, &ext, g, st.size, err);
}
