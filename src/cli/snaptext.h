/*
 * snaptext: a list of snapshots, as qemu-img prints it.
 */
#pragma once

#include "cli/json.h"
#include "core/image/info.h"

/* The table, with its headings; nothing when there are no snapshots. Names are
 * escaped. */
void snaptext_print(const struct info *info);

/* An array of objects with qemu-img's keys; the caller's. */
struct json_object *snaptext_json(const struct info *info);
