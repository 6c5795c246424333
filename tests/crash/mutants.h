/*
 * mutants: each bug of base/seed.h must be caught.
 */
#pragma once

#include <stdbool.h>

/* Prints a table; 0 when all were caught. ONLY: one bug's number, or 0. */
int mutants_run(unsigned only, bool verbose);
