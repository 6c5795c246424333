/* progress: see progress.h. */
#include "cli/progress.h"

#include <stdio.h>
#include <unistd.h>

void progress_begin(struct progress *p, bool wanted)
{
	p->shown = wanted && isatty(STDERR_FILENO);
	p->permille = 1001;
}

void progress_update(void *arg, unsigned permille)
{
	struct progress *p = arg;

	if (!p->shown || permille == p->permille)
		return;
	p->permille = permille;
	fprintf(stderr, "    (%u.%u/100%%)\r", permille / 10, permille % 10);
	fflush(stderr);
}

void progress_end(struct progress *p)
{
	if (p->shown)
		fputs("                    \r", stderr);
	p->shown = false;
}
