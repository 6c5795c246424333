#include "base/threadlocal.h"

#include <stdlib.h>

static bool make_key(struct threadlocal *t, void (*release)(void *))
{
	pthread_mutex_lock(&t->making);
	if (!atomic_load(&t->made)) {
		t->failed = pthread_key_create(&t->key, release) != 0;
		atomic_store(&t->made, true);
	}
	pthread_mutex_unlock(&t->making);
	return !t->failed;
}

void *threadlocal_get(struct threadlocal *t, size_t size,
		      void (*release)(void *))
{
	void *p;

	if (!atomic_load_explicit(&t->made, memory_order_acquire) &&
	    !make_key(t, release))
		return NULL;
	if (t->failed)
		return NULL;
	p = pthread_getspecific(t->key);
	if (p)
		return p;
	p = calloc(1, size);
	if (p && pthread_setspecific(t->key, p)) {
		free(p);
		return NULL;
	}
	return p;
}
