/* hash: SipHash (Aumasson and Bernstein, 2012) with one round a word and three
 * at the end, which is enough for a table in memory; see hash.h. */
#include "base/hash.h"

#include <endian.h>
#include <string.h>
#include <sys/auxv.h>

static uint64_t own[2]; /* const once main() has begun */

/* The kernel gives each program 16 random bytes. */
__attribute__((constructor)) static void draw_key(void)
{
	const void *random = (const void *)getauxval(AT_RANDOM);

	if (random)
		memcpy(own, random, sizeof(own));
}

/* Inline, or the state would go through memory in each of the rounds. */
#define INLINE static inline __attribute__((always_inline))

INLINE uint64_t rotate(uint64_t x, unsigned by)
{
	return x << by | x >> (64 - by);
}

INLINE void mix(uint64_t v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] = rotate(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] = rotate(v[2], 32);
}

INLINE void take_word(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	mix(v);
	v[0] ^= word;
}

uint64_t hash_keyed(const uint64_t key[2], const void *buf, size_t len)
{
	uint64_t v[4] = {
		key[0] ^ 0x736f6d6570736575ULL,
		key[1] ^ 0x646f72616e646f6dULL,
		key[0] ^ 0x6c7967656e657261ULL,
		key[1] ^ 0x7465646279746573ULL,
	};
	const unsigned char *p = buf;
	uint64_t word;

	for (size_t left = len; left >= 8; left -= 8, p += 8) {
		memcpy(&word, p, 8);
		take_word(v, le64toh(word));
	}
	word = 0;
	memcpy(&word, p, len % 8);
	take_word(v, le64toh(word) | (uint64_t)len << 56);
	v[2] ^= 0xff;
	mix(v);
	mix(v);
	mix(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

unsigned hash_bytes(const void *buf, size_t len)
{
	return (unsigned)hash_keyed(own, buf, len);
}
