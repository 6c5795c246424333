#include "base/mem.h"

#include <errno.h>
#include <stdint.h>

void *mem_array(size_t n, size_t size)
{
	return calloc(n ? n : 1, size);
}

void *mem_aligned(size_t len)
{
	void *p;

	return posix_memalign(&p, 4096, len ? len : 1) == 0 ? p : NULL;
}

int mem_grow(void *buf, size_t *cap, size_t need, size_t size)
{
	size_t n = *cap ? *cap : 16;
	void *old;
	void *p;

	if (need <= *cap)
		return 0;
	while (n < need) {
		if (n > SIZE_MAX / 2)
			return -ENOMEM;
		n *= 2;
	}
	memcpy(&old, buf, sizeof(old));
	p = reallocarray(old, n, size);
	if (!p)
		return -ENOMEM;
	memcpy(buf, &p, sizeof(p));
	*cap = n;
	return 0;
}
