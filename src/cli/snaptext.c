#include "cli/snaptext.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/size.h"

struct json_object *snaptext_json(const struct snapshot *snap, size_t n)
{
	struct json_object *a = json_object_new_array();

	for (size_t i = 0; i < n; i++) {
		const struct snapshot *s = &snap[i];
		struct json_object *o = json_object_new_object();

		if (s->icount != UINT64_MAX)
			json_put_int(o, "icount", s->icount);
		json_put_int(o, "vm-clock-nsec", s->vm_clock_nsec % 1000000000);
		json_put_text(o, "name", s->name);
		json_put_int(o, "date-sec", s->date_sec);
		json_put_int(o, "date-nsec", s->date_nsec);
		json_put_int(o, "vm-clock-sec", s->vm_clock_nsec / 1000000000);
		json_put_text(o, "id", s->id);
		json_put_int(o, "vm-state-size", s->vm_state_size);
		json_object_array_add(a, o);
	}
	return a;
}

static char *escape(const char *text)
{
	size_t size = strlen(text) * 4 + 8;
	char *buf = malloc(size);

	if (buf)
		err_escape(buf, size, text, strlen(text));
	return buf;
}

static void print_snapshot(const struct snapshot *s)
{
	autofree char *id = escape(s->id);
	autofree char *name = escape(s->name);
	uint64_t ms = s->vm_clock_nsec / 1000000;
	time_t when = (time_t)s->date_sec;
	char date[32] = "", clock[48], icount[24] = "", size[SIZE_TEXT_MAX];
	struct tm tm;

	if (localtime_r(&when, &tm))
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
	snprintf(clock, sizeof(clock),
		 "%02" PRIu64 ":%02" PRIu64 ":%02" PRIu64 ".%03" PRIu64,
		 ms / 3600000, ms / 60000 % 60, ms / 1000 % 60, ms % 1000);
	if (s->icount != UINT64_MAX)
		snprintf(icount, sizeof(icount), "%" PRIu64, s->icount);
	printf("%-9s %-16s %8s%20s%13s%11s\n",
	       id ? id : "?", name ? name : "?",
	       size_format(size, s->vm_state_size), date, clock, icount);
}

void snaptext_print(const struct snapshot *snap, size_t n)
{
	if (!n)
		return;
	puts("Snapshot list:");
	printf("%-10s%-17s%8s%20s%13s%11s\n", "ID", "TAG", "VM SIZE", "DATE",
	       "VM CLOCK", "ICOUNT");
	for (size_t i = 0; i < n; i++)
		print_snapshot(&snap[i]);
}
