/*
 * hostmem: content in 4 KiB pages below leaves of 512 pages. Pages are shared
 * between clones and copied before a change (refs > 1); leaves are not shared.
 *
 * Locks: m->lock guards everything in a struct hostmem but the references to
 * pages, which are atomics since clones have different locks. A page with
 * several references is never written.
 */
#include "lib/hostmem.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"

#define PAGE 4096U
#define LEAF_PAGES 512U

struct page {
	atomic_uint refs;
	unsigned char bytes[PAGE];
};

struct leaf {
	struct page *page[LEAF_PAGES];
};

struct hostmem {
	pthread_mutex_t lock;
	unsigned refs;
	uint64_t id;	/* const */
	uint64_t size;
	uint64_t pages; /* allocated */
	int64_t changes;
	struct leaf **leaf;
	size_t nleaf;
	uint64_t count[HOSTMEM_OPS];
};

/* --- pages ----------------------------------------------------------------*/

static struct page **find_slot(struct hostmem *m, uint64_t no)
{
	uint64_t l = no / LEAF_PAGES;

	if (l >= m->nleaf || !m->leaf[l])
		return NULL;
	return &m->leaf[l]->page[no % LEAF_PAGES];
}

static struct page *find_page(struct hostmem *m, uint64_t no)
{
	struct page **slot = find_slot(m, no);

	return slot ? *slot : NULL;
}

/* By hand, since calloc does not touch what it gives: one write at the end of
 * a huge sparse file stays cheap. */
static int grow_leaves(struct hostmem *m, size_t need)
{
	size_t n = NUM_MAX(need, m->nleaf * 2);
	struct leaf **p;

	if (need <= m->nleaf)
		return 0;
	p = calloc(n, sizeof(struct leaf *));
	if (!p)
		return -ENOMEM;
	if (m->nleaf)
		memcpy(p, m->leaf, m->nleaf * sizeof(struct leaf *));
	free(m->leaf);
	m->leaf = p;
	m->nleaf = n;
	return 0;
}

static struct page **make_slot(struct hostmem *m, uint64_t no)
{
	size_t l = (size_t)(no / LEAF_PAGES);

	if (grow_leaves(m, l + 1) < 0)
		return NULL;
	if (!m->leaf[l])
		m->leaf[l] = mem_array(1, sizeof(struct leaf));
	return m->leaf[l] ? &m->leaf[l]->page[no % LEAF_PAGES] : NULL;
}

static void put_page(struct page *p)
{
	if (p && atomic_fetch_sub(&p->refs, 1) == 1)
		free(p);
}

/* A page that may be written; all zeroes if there was none. */
static struct page *own_page(struct hostmem *m, uint64_t no)
{
	struct page **slot = make_slot(m, no);
	struct page *p;

	if (!slot)
		return NULL;
	if (*slot && atomic_load(&(*slot)->refs) == 1)
		return *slot;
	p = mem_array(1, sizeof(*p));
	if (!p)
		return NULL;
	atomic_init(&p->refs, 1);
	if (*slot)
		memcpy(p->bytes, (*slot)->bytes, PAGE);
	else
		m->pages++;
	put_page(*slot);
	*slot = p;
	return p;
}

static void drop_page(struct hostmem *m, uint64_t no)
{
	struct page **slot = find_slot(m, no);

	if (!slot || !*slot)
		return;
	put_page(*slot);
	*slot = NULL;
	m->pages--;
}

/* --- content; the caller holds m->lock ------------------------------------*/

static size_t part(uint64_t off, uint64_t len)
{
	return (size_t)NUM_MIN(len, (uint64_t)(PAGE - off % PAGE));
}

static void read_locked(struct hostmem *m, unsigned char *buf, uint64_t len,
			uint64_t off)
{
	while (len) {
		struct page *p = find_page(m, off / PAGE);
		size_t n = part(off, len);

		if (p)
			memcpy(buf, p->bytes + off % PAGE, n);
		else
			memset(buf, 0, n);
		buf += n;
		off += n;
		len -= n;
	}
}

static int write_locked(struct hostmem *m, const unsigned char *buf,
			uint64_t len, uint64_t off)
{
	if (!num_range_inside(off, len, HOSTMEM_MAX_SIZE))
		return -EFBIG;
	m->changes++;
	m->size = NUM_MAX(m->size, len ? off + len : 0);
	while (len) {
		struct page *p = own_page(m, off / PAGE);
		size_t n = part(off, len);

		if (!p)
			return -ENOMEM;
		memcpy(p->bytes + off % PAGE, buf, n);
		buf += n;
		off += n;
		len -= n;
	}
	return 0;
}

/* Without changing the size. Stops at the last leaf, so that LEN may be huge. */
static int clear_locked(struct hostmem *m, uint64_t off, uint64_t len)
{
	uint64_t top = (uint64_t)m->nleaf * LEAF_PAGES * PAGE;
	uint64_t end = NUM_MIN(off + len, top);

	m->changes++;
	while (off < end) {
		size_t n = part(off, end - off);
		uint64_t no = off / PAGE;

		if (n == PAGE) {
			drop_page(m, no);
		} else if (find_page(m, no)) {
			struct page *p = own_page(m, no);

			if (!p)
				return -ENOMEM;
			memset(p->bytes + off % PAGE, 0, n);
		}
		off += n;
	}
	return 0;
}

static int resize_locked(struct hostmem *m, uint64_t size)
{
	uint64_t old = m->size;

	if (size > HOSTMEM_MAX_SIZE)
		return -EFBIG;
	m->size = size;
	m->changes++;
	return size < old ? clear_locked(m, size, old - size) : 0;
}

static int zero_locked(struct hostmem *m, uint64_t off, uint64_t len)
{
	if (!num_range_inside(off, len, HOSTMEM_MAX_SIZE))
		return -EFBIG;
	m->size = NUM_MAX(m->size, len ? off + len : 0);
	return clear_locked(m, off, len);
}

static int falloc_locked(struct hostmem *m, enum host_falloc mode,
			 uint64_t off, uint64_t len)
{
	switch (mode) {
	case HOST_FALLOC_ALLOCATE:
		if (!num_range_inside(off, len, HOSTMEM_MAX_SIZE))
			return -EFBIG;
		m->size = NUM_MAX(m->size, off + len);
		return 0;
	case HOST_FALLOC_ZERO:
		return zero_locked(m, off, len);
	case HOST_FALLOC_PUNCH:
		break;
	}
	if (off >= m->size)
		return 0;
	return clear_locked(m, off, NUM_MIN(len, m->size - off));
}

static int64_t seek_locked(struct hostmem *m, uint64_t off,
			   enum host_seek what)
{
	uint64_t top = (uint64_t)m->nleaf * LEAF_PAGES;
	uint64_t no;

	if (off >= m->size)
		return -ENXIO;
	for (no = off / PAGE; no < top; no++) {
		bool data = find_page(m, no) != NULL;

		if (data == (what == HOST_SEEK_DATA))
			break;
	}
	if (no >= top && what == HOST_SEEK_DATA)
		return -ENXIO;
	if (what == HOST_SEEK_HOLE && no * PAGE > m->size)
		return (int64_t)m->size;
	return (int64_t)NUM_MAX(off, no * PAGE);
}

/* --- objects --------------------------------------------------------------*/

struct hostmem *hostmem_new(void)
{
	static atomic_uint next_id = 1;
	struct hostmem *m = mem_array(1, sizeof(*m));

	if (!m)
		return NULL;
	pthread_mutex_init(&m->lock, NULL);
	m->refs = 1;
	m->id = atomic_fetch_add(&next_id, 1);
	return m;
}

static void destroy(struct hostmem *m)
{
	for (size_t l = 0; l < m->nleaf; l++) {
		if (!m->leaf[l])
			continue;
		for (unsigned i = 0; i < LEAF_PAGES; i++)
			put_page(m->leaf[l]->page[i]);
		free(m->leaf[l]);
	}
	free(m->leaf);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

void hostmem_free(struct hostmem *m)
{
	unsigned left;

	if (!m)
		return;
	pthread_mutex_lock(&m->lock);
	left = --m->refs;
	pthread_mutex_unlock(&m->lock);
	if (left == 0)
		destroy(m);
}

static int copy_leaf(struct hostmem *to, const struct leaf *from, size_t l)
{
	struct leaf *leaf = malloc(sizeof(*leaf));

	if (!leaf)
		return -ENOMEM;
	memcpy(leaf, from, sizeof(*leaf));
	for (unsigned i = 0; i < LEAF_PAGES; i++) {
		if (leaf->page[i])
			atomic_fetch_add(&leaf->page[i]->refs, 1);
	}
	to->leaf[l] = leaf;
	return 0;
}

static int copy_locked(struct hostmem *to, struct hostmem *from)
{
	int ret = grow_leaves(to, from->nleaf);

	for (size_t l = 0; ret == 0 && l < from->nleaf; l++) {
		if (from->leaf[l])
			ret = copy_leaf(to, from->leaf[l], l);
	}
	to->size = from->size;
	to->pages = from->pages;
	return ret;
}

struct hostmem *hostmem_clone(struct hostmem *m)
{
	struct hostmem *c = hostmem_new();
	int ret;

	if (!c)
		return NULL;
	pthread_mutex_lock(&m->lock);
	ret = copy_locked(c, m);
	pthread_mutex_unlock(&m->lock);
	if (ret < 0) {
		hostmem_free(c);
		return NULL;
	}
	return c;
}

/* --- the table ------------------------------------------------------------*/

static struct hostmem *enter(void *ctx, enum hostmem_op op)
{
	struct hostmem *m = ctx;

	pthread_mutex_lock(&m->lock);
	m->count[op]++;
	return m;
}

static ssize_t mem_pread(void *ctx, void *buf, size_t len, uint64_t off)
{
	struct hostmem *m = enter(ctx, HOSTMEM_PREAD);

	len = off < m->size ? (size_t)NUM_MIN(len, m->size - off) : 0;
	read_locked(m, buf, len, off);
	pthread_mutex_unlock(&m->lock);
	return (ssize_t)len;
}

static ssize_t mem_pwrite(void *ctx, const void *buf, size_t len, uint64_t off)
{
	struct hostmem *m = enter(ctx, HOSTMEM_PWRITE);
	int ret = write_locked(m, buf, len, off);

	pthread_mutex_unlock(&m->lock);
	return ret < 0 ? ret : (ssize_t)len;
}

static int mem_sync(void *ctx)
{
	pthread_mutex_unlock(&enter(ctx, HOSTMEM_SYNC)->lock);
	return 0;
}

static int mem_falloc(void *ctx, enum host_falloc mode, uint64_t off,
		      uint64_t len)
{
	struct hostmem *m = enter(ctx, HOSTMEM_FALLOC);
	int ret = falloc_locked(m, mode, off, len);

	pthread_mutex_unlock(&m->lock);
	return ret;
}

static int mem_truncate(void *ctx, uint64_t size)
{
	struct hostmem *m = enter(ctx, HOSTMEM_TRUNCATE);
	int ret = resize_locked(m, size);

	pthread_mutex_unlock(&m->lock);
	return ret;
}

static int mem_stat(void *ctx, struct host_stat *st)
{
	struct hostmem *m = enter(ctx, HOSTMEM_STAT);

	*st = (struct host_stat){
		.size = m->size,
		.blocks = m->pages * (PAGE / 512),
		.dev = 0,
		.ino = m->id,
		.mtime_ns = m->changes,
	};
	pthread_mutex_unlock(&m->lock);
	return 0;
}

static int64_t mem_seek(void *ctx, uint64_t off, enum host_seek what)
{
	struct hostmem *m = enter(ctx, HOSTMEM_SEEK);
	int64_t ret = seek_locked(m, off, what);

	pthread_mutex_unlock(&m->lock);
	return ret;
}

static int mem_lock(void *ctx, enum host_lock what, uint64_t byte)
{
	(void)ctx;
	(void)what;
	(void)byte;
	return -EOPNOTSUPP;
}

static void mem_close(void *ctx)
{
	hostmem_free(ctx);
}

static const struct host_ops mem_ops = {
	.pread = mem_pread,
	.pwrite = mem_pwrite,
	.sync = mem_sync,
	.falloc = mem_falloc,
	.truncate = mem_truncate,
	.stat = mem_stat,
	.seek = mem_seek,
	.lock = mem_lock,
	.close = mem_close,
};

int hostmem_open(struct hostfile **out, struct hostmem *m, bool writable)
{
	int ret = hostfile_wrap(out, &mem_ops, m, "mem", writable);

	if (ret < 0)
		return ret;
	pthread_mutex_lock(&m->lock);
	m->refs++;
	pthread_mutex_unlock(&m->lock);
	return 0;
}

/* --- direct access --------------------------------------------------------*/

uint64_t hostmem_size(struct hostmem *m)
{
	uint64_t size;

	pthread_mutex_lock(&m->lock);
	size = m->size;
	pthread_mutex_unlock(&m->lock);
	return size;
}

void hostmem_read(struct hostmem *m, void *buf, size_t len, uint64_t off)
{
	pthread_mutex_lock(&m->lock);
	read_locked(m, buf, len, off);
	pthread_mutex_unlock(&m->lock);
}

int hostmem_write(struct hostmem *m, const void *buf, size_t len, uint64_t off)
{
	int ret;

	pthread_mutex_lock(&m->lock);
	ret = write_locked(m, buf, len, off);
	pthread_mutex_unlock(&m->lock);
	return ret;
}

int hostmem_zero(struct hostmem *m, uint64_t off, uint64_t len)
{
	int ret;

	pthread_mutex_lock(&m->lock);
	ret = zero_locked(m, off, len);
	pthread_mutex_unlock(&m->lock);
	return ret;
}

int hostmem_resize(struct hostmem *m, uint64_t size)
{
	int ret;

	pthread_mutex_lock(&m->lock);
	ret = resize_locked(m, size);
	pthread_mutex_unlock(&m->lock);
	return ret;
}

uint64_t hostmem_count(struct hostmem *m, enum hostmem_op op)
{
	uint64_t n;

	pthread_mutex_lock(&m->lock);
	n = m->count[op];
	pthread_mutex_unlock(&m->lock);
	return n;
}

static bool page_equal(struct hostmem *a, struct hostmem *b, uint64_t no)
{
	static const unsigned char zero[PAGE];
	struct page *p = find_page(a, no);
	struct page *q = find_page(b, no);

	return p == q || !memcmp(p ? p->bytes : zero, q ? q->bytes : zero, PAGE);
}

static bool leaf_equal(struct hostmem *a, struct hostmem *b, uint64_t l)
{
	bool none = (l >= a->nleaf || !a->leaf[l]) &&
		    (l >= b->nleaf || !b->leaf[l]);
	bool same = true;

	for (unsigned i = 0; same && !none && i < LEAF_PAGES; i++)
		same = page_equal(a, b, l * LEAF_PAGES + i);
	return same;
}

bool hostmem_equal(struct hostmem *a, struct hostmem *b)
{
	struct hostmem *low = a->id < b->id ? a : b;
	struct hostmem *high = low == a ? b : a;
	uint64_t n = NUM_MAX(a->nleaf, b->nleaf);
	bool same;

	if (a == b)
		return true;
	pthread_mutex_lock(&low->lock);
	pthread_mutex_lock(&high->lock);
	same = a->size == b->size;
	for (uint64_t l = 0; same && l < n; l++)
		same = leaf_equal(a, b, l);
	pthread_mutex_unlock(&high->lock);
	pthread_mutex_unlock(&low->lock);
	return same;
}

/* --- files ----------------------------------------------------------------*/

static int load_extents(struct hostmem *m, struct hostfile *f, uint64_t size)
{
	static const size_t chunk = 64 << 10;
	autofree unsigned char *buf = malloc(chunk);
	uint64_t off = 0;
	uint64_t end;
	bool data;
	int ret = buf ? 0 : -ENOMEM;

	while (ret == 0 && off < size) {
		ret = hostfile_next_extent(f, off, &data, &end);
		while (ret == 0 && data && off < end) {
			size_t n = (size_t)NUM_MIN(end - off, (uint64_t)chunk);

			ret = hostfile_pread_full(f, buf, n, off);
			if (ret == 0)
				ret = hostmem_write(m, buf, n, off);
			off += n;
		}
		off = end;
	}
	return ret;
}

int hostmem_load(struct hostmem *m, const char *path)
{
	struct hostfile *f;
	struct host_stat st;
	int ret;

	ret = hostfile_open(&f, AT_FDCWD, path, HOSTFILE_BLKDEV_OK, NULL);
	if (ret < 0)
		return ret;
	ret = hostfile_stat(f, &st);
	if (ret == 0)
		ret = hostmem_resize(m, 0);
	if (ret == 0)
		ret = hostmem_resize(m, st.size);
	if (ret == 0)
		ret = load_extents(m, f, st.size);
	hostfile_close(f);
	return ret;
}

static int save_locked(struct hostmem *m, struct hostfile *f)
{
	int ret = hostfile_truncate(f, 0);

	for (uint64_t no = 0; ret == 0 && no * PAGE < m->size; no++) {
		struct page *p = find_page(m, no);

		if (!m->leaf || no / LEAF_PAGES >= m->nleaf)
			break;
		if (p)
			ret = hostfile_pwrite_full(
				f, p->bytes,
				(size_t)NUM_MIN((uint64_t)PAGE,
						m->size - no * PAGE),
				no * PAGE);
	}
	return ret < 0 ? ret : hostfile_truncate(f, m->size);
}

int hostmem_save(struct hostmem *m, const char *path)
{
	struct hostfile *f;
	int ret;

	ret = hostfile_open(&f, AT_FDCWD, path, HOSTFILE_RDWR | HOSTFILE_CREATE,
			    NULL);
	if (ret < 0)
		return ret;
	pthread_mutex_lock(&m->lock);
	ret = save_locked(m, f);
	pthread_mutex_unlock(&m->lock);
	hostfile_close(f);
	return ret;
}
