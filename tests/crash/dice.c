#include "dice.h"

uint64_t dice_mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ULL;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

uint64_t dice_throw(uint64_t *s)
{
	return dice_mix(*s += 0x9e3779b97f4a7c15ULL);
}
