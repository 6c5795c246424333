/*
 * be: big-endian integers that the compiler will not let you mix with native
 * ones. qcow2 stores every number in big-endian order; a struct with one field
 * cannot be added, compared or assigned by mistake.
 */
#pragma once

#include <endian.h>
#include <stdint.h>
#include <string.h>

struct be16 { uint16_t raw; };
struct be32 { uint32_t raw; };
struct be64 { uint64_t raw; };

static inline uint16_t be16_get(struct be16 v) { return be16toh(v.raw); }
static inline uint32_t be32_get(struct be32 v) { return be32toh(v.raw); }
static inline uint64_t be64_get(struct be64 v) { return be64toh(v.raw); }
static inline struct be16 be16_make(uint16_t v) { return (struct be16){ htobe16(v) }; }
static inline struct be32 be32_make(uint32_t v) { return (struct be32){ htobe32(v) }; }
static inline struct be64 be64_make(uint64_t v) { return (struct be64){ htobe64(v) }; }

/* From and to bytes at any alignment. */
static inline uint16_t be16_load(const void *p)
{
	struct be16 v;

	memcpy(&v, p, sizeof(v));
	return be16_get(v);
}

static inline uint32_t be32_load(const void *p)
{
	struct be32 v;

	memcpy(&v, p, sizeof(v));
	return be32_get(v);
}

static inline uint64_t be64_load(const void *p)
{
	struct be64 v;

	memcpy(&v, p, sizeof(v));
	return be64_get(v);
}

static inline void be16_store(void *p, uint16_t x)
{
	struct be16 v = be16_make(x);

	memcpy(p, &v, sizeof(v));
}

static inline void be32_store(void *p, uint32_t x)
{
	struct be32 v = be32_make(x);

	memcpy(p, &v, sizeof(v));
}

static inline void be64_store(void *p, uint64_t x)
{
	struct be64 v = be64_make(x);

	memcpy(p, &v, sizeof(v));
}
