/*
 * json: a little on top of json-c. Objects belong to whom they are added to.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Add a member to OBJ. */
void json_put_int(struct json_object *obj, const char *key, uint64_t v);
void json_put_bool(struct json_object *obj, const char *key, bool v);
/* Bytes from an image: those that are not UTF-8 text are escaped. */
void json_put_text(struct json_object *obj, const char *key, const char *text);

/* Print OBJ on stdout in the manner of qemu-img and release it. */
void json_print(struct json_object *obj);
/* The same to F. 0, or -1 when F failed. */
int json_write(struct json_object *obj, FILE *f);
