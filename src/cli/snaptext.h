/*
 * snaptext: a list of snapshots, as qemu-img prints it.
 */
#pragma once

#include "cli/json.h"
#include "core/format/snaptable.h"

/* The table of N snapshots, with its headings; nothing when there are none. Names
 * are escaped. */
void snaptext_print(const struct snapshot *snap, size_t n);

/* An array of objects with qemu-img's keys; the caller's. */
struct json_object *snaptext_json(const struct snapshot *snap, size_t n);
