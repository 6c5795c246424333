/*
 * writeback_priv: one commit, for writeback_group.c, which sees to it that only
 * one runs at a time.
 */
#pragma once

#include <stdbool.h>

#include "core/meta/metalock.h"

/* Is there anything to commit? ALL: refcounts that only say "free" count too. */
bool writeback_anything_locked(struct meta *m, bool all)
	LOCK_REQUIRES(metalock(m));

/* Commit, if there is. wb.running is the caller's. 0, -EIO (for good). */
int writeback_commit(struct meta *m, bool all) LOCK_EXCLUDES(metalock(m));
