/*
 * mem: checked allocation and automatic release in control paths.
 */
#pragma once

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Zeroed array of N elements of SIZE bytes, NULL on overflow or no memory. A
 * zero N gives a pointer that may be freed. */
void *mem_array(size_t n, size_t size);

/* LEN bytes, aligned for direct I/O (4096), not zeroed; NULL on no memory.
 * Free with free(). */
void *mem_aligned(size_t len);

/* Make *BUF (CAP elements of SIZE bytes) hold at least NEED elements, growing
 * by doubling. 0 or -ENOMEM; on failure nothing changes. */
int mem_grow(void *buf, size_t *cap, size_t need, size_t size);

static inline void mem_free_ptr(void *p)
{
	free(*(void **)p);
}

/* Free the variable when it goes out of scope: "autofree char *s = NULL;" */
#define autofree __attribute__((cleanup(mem_free_ptr)))

/* Give up ownership of an autofree variable. */
static inline void *mem_steal(void *pp)
{
	void *p;

	memcpy(&p, pp, sizeof(p));
	memset(pp, 0, sizeof(p));
	return p;
}
