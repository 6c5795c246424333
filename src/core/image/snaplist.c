/* snaplist: reads the snapshot table through a window; see snaplist.h. */
#include "core/image/snaplist.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "core/format/qcow2.h"

/* More than one record can be: 40 bytes, 1 KiB of extra data, two names of
 * 64 KiB. */
#define WINDOW (256U << 10)

struct window {
	struct hostfile *file;
	uint64_t off;  /* of buf in the file */
	size_t len;    /* bytes in buf */
	size_t pos;    /* the next record in buf */
	uint64_t end;  /* the file's end */
	uint8_t *buf;  /* WINDOW bytes */
};

static int window_fill(struct window *win)
{
	win->off += win->pos;
	win->pos = 0;
	win->len = win->off < win->end ?
			   (size_t)NUM_MIN(WINDOW, win->end - win->off) : 0;
	return hostfile_pread(win->file, win->buf, win->len, win->off, NULL);
}

static int next_record(struct window *win, struct snapshot *s,
		       const struct geom *g, struct err *err)
{
	int ret = snaptable_decode(s, win->buf, win->len, &win->pos, g,
				   win->end, err);

	if (ret != -ENODATA)
		return ret;
	ret = window_fill(win);
	if (ret)
		return err_set_sys(err, ret, "cannot read it");
	ret = snaptable_decode(s, win->buf, win->len, &win->pos, g, win->end,
			       err);
	if (ret == -ENODATA)
		ret = err_set(err, -EUCLEAN, "the file ends inside it");
	return ret;
}

int snaplist_read(struct snaplist *list, struct hostfile *file,
		  const struct header *h, const struct geom *g,
		  uint64_t file_size, struct err *err)
{
	autofree uint8_t *buf = malloc(WINDOW);
	struct window win = { .file = file, .off = h->snapshots_offset,
			      .end = file_size, .buf = buf };
	uint64_t l1_bytes = 0;
	size_t cap = 0;

	*list = (struct snaplist){ 0 };
	if (!buf)
		return err_set(err, -ENOMEM, "no memory for snapshots");
	for (uint32_t i = 0; i < h->nb_snapshots; i++) {
		int ret = mem_grow(&list->snap, &cap, i + 1,
				   sizeof(*list->snap));

		if (ret)
			return err_set(err, ret, "no memory for snapshots");
		memset(&list->snap[i], 0, sizeof(*list->snap));
		ret = next_record(&win, &list->snap[i], g, err);
		if (ret) {
			err_wrap(err, "snapshot record %" PRIu32, i + 1);
			return ret;
		}
		list->n++;
		l1_bytes += list->snap[i].l1_entries * 8ULL;
		if (l1_bytes > QCOW2_MAX_SNAPSHOT_L1S)
			return err_set(err, -EUCLEAN,
				       "the L1 tables of all snapshots are longer than %u MiB",
				       QCOW2_MAX_SNAPSHOT_L1S >> 20);
		list->bytes = win.off + win.pos - h->snapshots_offset;
		if (list->bytes > QCOW2_MAX_SNAPSHOT_TABLE)
			return err_set(err, -EUCLEAN, "the snapshot table is "
				       "longer than 64 MiB");
	}
	return 0;
}

int snaplist_find(const struct snaplist *list, const char *name_or_id,
		  size_t *i, struct err *err)
{
	char safe[128];

	for (*i = 0; *i < list->n; ++*i)
		if (!strcmp(list->snap[*i].name, name_or_id))
			return 0;
	for (*i = 0; *i < list->n; ++*i)
		if (!strcmp(list->snap[*i].id, name_or_id))
			return 0;
	return err_set(err, -ENOENT,
		       "no snapshot has the name or id '%s'; see rawcow snapshot -l",
		       err_escape(safe, sizeof(safe), name_or_id,
				  strlen(name_or_id)));
}

void snaplist_fini(struct snaplist *list)
{
	for (size_t i = 0; i < list->n; i++)
		snaptable_fini(&list->snap[i]);
	free(list->snap);
	*list = (struct snaplist){ 0 };
}
