/*
 * imagefix: an image in memory, whose calls of the host can be made to fail, and
 * the disk that it must show; for tests of core/admin. What goes wrong here
 * fails the test.
 */
#pragma once

#include <stdbool.h>

#include "core/admin/create.h"
#include "core/image/image.h"
#include "lib/hostfault.h"
#include "lib/hostmem.h"

#define IMAGEFIX_MAX (512U << 10)

struct imagefix {
	struct hostmem *mem;
	struct hostfault *fault;
	uint64_t size;			  /* of the disk, bytes */
	unsigned char want[IMAGEFIX_MAX]; /* what it must show */
	struct err err;			  /* of the last call that failed */
};

void imagefix_create(struct imagefix *fx, const struct create_opts *opts);
void imagefix_free(struct imagefix *fx);

/* Open it to write, FAULTY under fx->fault; a backing file is left alone. NULL:
 * it cannot be, see fx->err. */
struct image *imagefix_open(struct imagefix *fx, bool faulty);

/* From now on the disk must show what IMG does. */
void imagefix_take(struct imagefix *fx, struct image *img);

/* Does IMG show it? */
bool imagefix_shows(struct imagefix *fx, struct image *img);

/* Is the image consistent, with no leaks unless LEAKS, and shows it? */
void imagefix_look(struct imagefix *fx, bool leaks);
