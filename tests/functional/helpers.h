/*
 * helpers: small programs for the functional tests, all in one binary:
 * "helpers COMMAND ARG...". Each does one thing to a file that a shell cannot.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Print "helpers: WHAT: reason" and exit 1. */
void helpers_die(const char *what) __attribute__((noreturn));
/* A number with an optional k, M or G. */
uint64_t helpers_num(const char *text);
/* Open with the words of HOW ("direct", "sync", "dsync", "ro", "create"),
 * separated by commas; may be NULL. */
int helpers_open(const char *path, const char *how);
/* The byte that a file filled with SEED has at each offset: the same for the
 * mounted disk and for its oracle. */
void helpers_fill(void *buf, size_t len, uint64_t off, uint64_t seed);
void *helpers_buffer(size_t len); /* aligned for O_DIRECT */
void helpers_pwrite(int fd, const void *buf, size_t len, uint64_t off);
void helpers_pread(int fd, void *buf, size_t len, uint64_t off);
uint64_t helpers_random(uint64_t *state);

int helpers_stamp(int argc, char **argv);
int helpers_stampcheck(int argc, char **argv);
int helpers_threads(int argc, char **argv);
int helpers_seekers(int argc, char **argv);
int helpers_load_write(int argc, char **argv);
int helpers_load_at(int argc, char **argv);
int helpers_load_verify(int argc, char **argv);
int helpers_watch(int argc, char **argv);
int helpers_commit(int argc, char **argv);
int helpers_soak(int argc, char **argv);
int helpers_soak_read(int argc, char **argv);
