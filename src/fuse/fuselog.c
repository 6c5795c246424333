#include "fuse/fuselog.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "fuse/fuselib.h"

/* Written while there is one thread. */
static char complaint[260]; /* the last line */
static char line[256];	    /* the one that is coming, in pieces */
static int own_stderr = -1; /* while another stands in its place */
static atomic_bool to_log;

static void collect(const char *piece)
{
	size_t n = strlen(line);

	snprintf(line + n, sizeof(line) - n, "%s", piece);
	if (!strchr(piece, '\n'))
		return;
	line[strcspn(line, "\n")] = '\0';
	snprintf(complaint, sizeof(complaint), ": %s", line);
	line[0] = '\0';
}

static void take_piece(enum fuse_log_level level, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

static void take_piece(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char piece[256];

	vsnprintf(piece, sizeof(piece), fmt, ap);
	if (level == FUSE_LOG_DEBUG) {
		fputs(piece, stderr);
	} else if (atomic_load(&to_log)) {
		piece[strcspn(piece, "\n")] = '\0';
		log_limited(LOG_LEVEL_WARN, "%s", piece);
	} else {
		collect(piece);
	}
}

void fuselog_init(void)
{
	fuse_set_log_func(take_piece);
}

const char *fuselog_complaint(void)
{
	return complaint;
}

void fuselog_listen(void)
{
	int fd = memfd_create("stderr", MFD_CLOEXEC);

	if (fd < 0)
		return;
	own_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (own_stderr >= 0)
		dup2(fd, STDERR_FILENO);
	close(fd);
}

void fuselog_hear(bool failed)
{
	char text[256];
	ssize_t n;

	if (own_stderr < 0)
		return;
	n = pread(STDERR_FILENO, text, sizeof(text) - 1, 0);
	dup2(own_stderr, STDERR_FILENO);
	close(own_stderr);
	own_stderr = -1;
	if (n <= 0)
		return;
	text[n] = '\0';
	if (!failed)
		fputs(text, stderr);
	else
		snprintf(complaint, sizeof(complaint), ": %.*s",
			 (int)strcspn(text, "\n"), text);
}

void fuselog_to_log(void)
{
	atomic_store(&to_log, true);
}
