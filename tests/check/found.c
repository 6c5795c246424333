#include "check/found.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/admin/check.h"

void found_add(void *arg, const struct problem *p)
{
	((struct found *)arg)->n[p->code]++;
}

void found_check(struct hostmem *m, struct found *found)
{
	struct check_opts opts = { .report = found_add, .report_arg = found };
	struct check_result res;
	struct err err = { "" };
	struct hostfile *f;

	memset(found, 0, sizeof(*found));
	if (hostmem_open(&f, m, false) < 0)
		abort();
	if (check_image(f, &opts, &res, &err) < 0) {
		found->n[PROBLEM_IO]++;
	}
	hostfile_close(f);
}

const char *found_text(struct hostmem *m, char *text)
{
	struct found found;
	size_t len = 0;

	found_check(m, &found);
	*text = '\0';
	for (unsigned c = 0; c < PROBLEM_N; c++)
		if (found.n[c])
			len += (size_t)snprintf(
				text + len, FOUND_TEXT - len, "%s%s %u",
				len ? ", " : "",
				problem_name((enum problem_code)c), found.n[c]);
	return text;
}
