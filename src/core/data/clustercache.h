/*
 * clustercache: the last decoded compressed clusters, by the host offset of
 * their stream. Nothing in this program writes a stream in place of an older
 * one, so an entry never goes stale while the image is open.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct clustercache;

/* About LIMIT bytes of clusters of CLUSTER_SIZE; at least two. -ENOMEM. */
int clustercache_new(struct clustercache **out, uint64_t cluster_size,
		     uint64_t limit);
void clustercache_free(struct clustercache *c);

/* Copy LEN bytes from FROM within the cluster at HOFF; false: not here. */
bool clustercache_copy(struct clustercache *c, uint64_t hoff, void *buf,
		       size_t from, size_t len);

/* Remember a decoded cluster (copied). Without memory nothing happens. */
void clustercache_insert(struct clustercache *c, uint64_t hoff,
			 const void *data);
