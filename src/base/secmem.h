/*
 * secmem: memory for keys. Whole pages of their own: locked against swapping
 * where the limit allows it, left out of core dumps, wiped when freed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* LEN zeroed bytes; NULL on no memory. */
void *secmem_new(size_t len);

/* Wipe and free what secmem_new(LEN) gave; NULL is allowed. */
void secmem_free(void *p, size_t len);

/*
 * The process that got P by fork() is the one that keeps it: lock it again,
 * which a fork undoes, and let later children see zeroes.
 */
void secmem_keep(void *p, size_t len);

/* Has the system refused to lock some of it (RLIMIT_MEMLOCK)? */
bool secmem_unlocked(void);

/* No core dump of this process, and no ptrace by others of the user. */
void secmem_harden_process(void);
