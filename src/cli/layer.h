/*
 * layer: one file of a backing chain, as "rawcow info" shows it. Text and JSON
 * keys are qemu-img's.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>

#include "base/err.h"
#include "core/host/hostfile.h"
#include "core/image/info.h"

struct layer {
	char *path; /* owned */
	bool raw;
	struct host_stat st;
	struct info info; /* unless raw */
};

/* Fill L, whose PATH and RAW are set. SHARED: although another program writes
 * it. 0 or -errno with text, which names the file. */
int layer_read(struct layer *l, bool shared, struct err *err);

/* Also after a layer_read() that failed. */
void layer_fini(struct layer *l);

/* The object belongs to the caller. */
struct json_object *layer_json(const struct layer *l);

/* To stdout. */
void layer_print(const struct layer *l);

/* Of enum qcow2_compression. */
const char *layer_compression(unsigned type);
