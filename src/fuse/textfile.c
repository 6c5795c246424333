#include "fuse/textfile.h"

#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

#include "base/num.h"

struct textfile {
	char *text;
	size_t len;
	struct textfile *prev, *next;
};

static void destroy(struct textfile *t)
{
	free(t->text);
	free(t);
}

void textfile_init(struct textfiles *all)
{
	lock_init(&all->lock);
	all->open = NULL;
}

void textfile_fini(struct textfiles *all)
{
	while (all->open)
		textfile_close(all, all->open);
	lock_fini(&all->lock);
}

bool textfile_full(FILE *f)
{
	return ftell(f) > (long)TEXTFILE_MAX;
}

static int write_text(FILE *f, int (*make)(void *arg, FILE *f), void *arg)
{
	int r = make(arg, f);

	if (r == 0 && textfile_full(f))
		r = -EFBIG;
	if (fclose(f) && r == 0)
		r = -ENOMEM;
	return r;
}

int textfile_open(struct textfiles *all, struct textfile **out,
		  int (*make)(void *arg, FILE *f), void *arg)
{
	struct textfile *t = calloc(1, sizeof(*t));
	FILE *f = t ? open_memstream(&t->text, &t->len) : NULL;
	int r = f ? write_text(f, make, arg) : -ENOMEM;

	if (r < 0) {
		if (t)
			destroy(t);
		return r;
	}
	lock_take(&all->lock);
	DL_APPEND(all->open, t);
	lock_drop(&all->lock);
	*out = t;
	return 0;
}

void textfile_close(struct textfiles *all, struct textfile *t)
{
	lock_take(&all->lock);
	DL_DELETE(all->open, t);
	lock_drop(&all->lock);
	destroy(t);
}

const char *textfile_at(const struct textfile *t, uint64_t off, size_t *len)
{
	off = NUM_MIN(off, (uint64_t)t->len);
	*len = NUM_MIN(*len, t->len - (size_t)off);
	return t->text + off;
}
