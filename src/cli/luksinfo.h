/*
 * luksinfo: what an image's header says of its encryption, in qemu-img's words.
 */
#pragma once

#include <json-c/json.h>

#include "core/image/info.h"

/* The object "encrypt"; NULL: the image is not encrypted. */
struct json_object *luksinfo_json(const struct info *info);

/* The same as text; nothing for an image that is not encrypted. */
void luksinfo_print(const struct info *info);
