/*
 * slots: the key slots of a LUKS image, cut off at every moment of adding and
 * erasing one [R11].
 */
#pragma once

#include <stddef.h>

/* 0 when every state is right; else -1, and TEXT (SIZE bytes) says what is
 * wrong in one. *STATES: how many were looked at. */
int slots_check(char *text, size_t size, unsigned *states);
