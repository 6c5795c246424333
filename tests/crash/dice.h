/*
 * dice: numbers that are the same in each run from the same seed.
 */
#pragma once

#include <stdint.h>

/* X, its bits well mixed. */
uint64_t dice_mix(uint64_t x);

/* The next number. *S: the seed at first. */
uint64_t dice_throw(uint64_t *s);
