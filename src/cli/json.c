/* json: see json.h. */
#include "cli/json.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

/* The length of the UTF-8 character at S (LEN bytes left), 0: none. */
static size_t utf8_char(const unsigned char *s, size_t len)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 :
		   s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;

	if (!n || n > len)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

static bool is_utf8(const char *text)
{
	size_t len = strlen(text);

	while (len) {
		size_t n = utf8_char((const unsigned char *)text, len);

		if (!n)
			return false;
		text += n;
		len -= n;
	}
	return true;
}

void json_put_int(struct json_object *obj, const char *key, uint64_t v)
{
	json_object_object_add(obj, key, json_object_new_uint64(v));
}

void json_put_bool(struct json_object *obj, const char *key, bool v)
{
	json_object_object_add(obj, key, json_object_new_boolean(v));
}

void json_put_text(struct json_object *obj, const char *key, const char *text)
{
	size_t size = strlen(text) * 4 + 8;
	autofree char *escaped = NULL;

	if (!is_utf8(text)) {
		escaped = malloc(size);
		text = escaped ? err_escape(escaped, size, text, strlen(text)) :
				 "";
	}
	json_object_object_add(obj, key, json_object_new_string(text));
}

int json_write(struct json_object *obj, FILE *f)
{
	int ret = fprintf(f, "%s\n", json_object_to_json_string_ext(
		obj, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
			     JSON_C_TO_STRING_NOSLASHESCAPE));

	json_object_put(obj);
	return ret < 0 || fflush(f) ? -1 : 0;
}

void json_print(struct json_object *obj)
{
	(void)json_write(obj, stdout);
}
