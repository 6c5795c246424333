#include "base/secmem.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/num.h"

static atomic_bool unlocked;

static size_t pages(size_t len)
{
	return (size_t)num_round_up(len ? len : 1,
				    (uint64_t)sysconf(_SC_PAGESIZE));
}

static void lock_pages(void *p, size_t len)
{
	if (mlock(p, pages(len)) < 0)
		atomic_store(&unlocked, true);
}

void *secmem_new(size_t len)
{
	void *p = mmap(NULL, pages(len), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	(void)madvise(p, pages(len), MADV_DONTDUMP);
	lock_pages(p, len);
	return p;
}

void secmem_free(void *p, size_t len)
{
	if (!p)
		return;
	explicit_bzero(p, len);
	munmap(p, pages(len));
}

void secmem_keep(void *p, size_t len)
{
	lock_pages(p, len);
#if defined(MADV_WIPEONFORK)
	(void)madvise(p, pages(len), MADV_WIPEONFORK);
#endif
}

bool secmem_unlocked(void)
{
	return atomic_load(&unlocked);
}

void secmem_harden_process(void)
{
	const struct rlimit none = { 0, 0 };

	(void)setrlimit(RLIMIT_CORE, &none);
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}
