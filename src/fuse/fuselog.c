#include "fuse/fuselog.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "fuse/fuselib.h"

static char complaint[260]; /* written while there is one thread */
static atomic_bool to_log;

static void take_line(enum fuse_log_level level, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

static void take_line(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char line[256];

	vsnprintf(line, sizeof(line), fmt, ap);
	line[strcspn(line, "\n")] = '\0';
	if (level == FUSE_LOG_DEBUG)
		fprintf(stderr, "%s\n", line);
	else if (atomic_load(&to_log))
		log_limited(LOG_LEVEL_WARN, "%s", line);
	else
		snprintf(complaint, sizeof(complaint), ": %s", line);
}

void fuselog_init(void)
{
	fuse_set_log_func(take_line);
}

const char *fuselog_complaint(void)
{
	return complaint;
}

void fuselog_to_log(void)
{
	atomic_store(&to_log, true);
}
