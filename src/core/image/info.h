/*
 * info: the facts about an image as a plain struct. Opens nothing but the
 * image itself, whatever its header names.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/format/header.h"
#include "core/format/lukshdr.h"
#include "core/format/snaptable.h"
#include "core/host/hostfile.h"
#include "core/image/image.h"
#include "core/image/bitmaplist.h"

struct info {
	struct header header;
	struct geom geom;
	uint64_t file_size;   /* bytes */
	uint64_t disk_bytes;  /* bytes that the host has allocated */
	char *backing_name;   /* NULL: none; bytes as stored, not escaped */
	char *backing_format; /* NULL: not recorded */
	char *data_file;      /* external data file name, NULL: none */
	struct snapshot *snapshots; /* header.nb_snapshots of them */
	/* names of unknown feature bits and of unknown extension types */
	uint32_t *unknown_ext;
	size_t n_unknown_ext;
	/* those that are valid (the autoclear bit is set) */
	struct bitmaplist bitmaps;
	/* owned; NULL: not encrypted by LUKS, or its header is broken */
	struct lukshdr *luks;
};

/* 0 or -errno with text; INFO is then empty. */
int info_read(struct info *info, struct hostfile *file, struct err *err);
/* The same for an open image, whose tables do not move meanwhile. */
int info_of(struct info *info, struct image *img, struct err *err);
void info_fini(struct info *info);
