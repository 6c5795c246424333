/*
 * hash: uthash with a hash function that nobody can foresee. The keys of our
 * tables come from images: with uthash's own function, whose value for a key is
 * always the same, an image may be made so that all its keys lie in one chain.
 * Include this in the place of <uthash.h>, behind the macros that change it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define HASH_FUNCTION(key, len, value) ((value) = hash_bytes(key, len))
#include <uthash.h>

/* SipHash-1-3 of LEN bytes at BUF under KEY. */
uint64_t hash_keyed(const uint64_t key[2], const void *buf, size_t len);

/* The same under a key that this process has drawn when it began. */
unsigned hash_bytes(const void *buf, size_t len);
