/*
 * metalock: meta.lock by a name that needs no complete struct meta, so that the
 * headers which make up struct meta can say in their annotations that it is
 * held. Nothing calls it.
 */
#pragma once

#include "base/lock.h"

struct meta;

struct lock *metalock(struct meta *m); /* &m->lock: see meta.h */
