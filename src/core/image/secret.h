/*
 * secret: a passphrase, from where a user keeps it to memory that is locked,
 * left out of core dumps and wiped (base/secmem.h). It is never taken from the
 * command line or the environment. Making one also hardens the process.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum { SECRET_MAX = 65536 }; /* bytes */

struct secret; /* opaque */

/*
 * The bytes of the file PATH, all of them, as QEMU takes them: a newline at the
 * end belongs to it. The last component may not be a symbolic link. Warns when
 * others than the owner may read it. 0; -ELOOP, -ENOENT, ...; -EINVAL: empty,
 * or more than SECRET_MAX bytes.
 */
int secret_from_file(struct secret **out, const char *path, struct err *err);

/* What can be read from descriptor FD, which is closed. */
int secret_from_fd(struct secret **out, int fd, struct err *err);

/* The systemd credential "rawcow.key". 0 also when there is none: *OUT is NULL
 * then. */
int secret_from_credential(struct secret **out, struct err *err);

/* Can somebody be asked? */
bool secret_can_prompt(void);

/* Ask on the terminal, without echo, in two lines if TWICE, which must agree.
 * -ENOTTY; -ECANCELED: the user gave up; -EINVAL: empty, not the same. */
int secret_prompt(struct secret **out, const char *question, bool twice,
		  struct err *err);

/* A new random one, for what nobody shall ever open again. */
int secret_random(struct secret **out, struct err *err);

/* Remove one newline from the end. -EINVAL: nothing is left. */
int secret_strip(struct secret *s, struct err *err);

/* 0, or -EINVAL: QEMU could not be given it (it wants UTF-8 and no NUL). */
int secret_check_text(const struct secret *s, struct err *err);

const void *secret_bytes(const struct secret *s);
size_t secret_len(const struct secret *s);

/* This process, which got it by fork(), keeps it. NULL is allowed. */
void secret_keep(struct secret *s);

/* Wipe and free; NULL is allowed. */
void secret_free(struct secret *s);
