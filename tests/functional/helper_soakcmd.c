/* helper_soakcmd: other programs on the same mount: commands of rawcow, and
 * readers that are killed. */
#include "helper_soak.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

#define OUT_MAX 65536

/* --- JSON ------------------------------------------------------------------------- */

/* Not by json-c, which rawcow writes it with: its strict mode takes control
 * characters within strings. */

static const char *json_value(const char *p, const char *end);

static const char *json_space(const char *p, const char *end)
{
	while (p < end && strchr(" \t\r\n", *p) && *p)
		p++;
	return p;
}

static const char *json_string(const char *p, const char *end)
{
	if (p == end || *p++ != '"')
		return NULL;
	for (; p < end && *p != '"'; p++) {
		if ((unsigned char)*p < 0x20)
			return NULL;
		if (*p == '\\' && ++p == end)
			return NULL;
	}
	return p < end ? p + 1 : NULL;
}

static const char *json_word(const char *p, const char *end)
{
	const char *start = p;

	while (p < end && *p && strchr("+-.0123456789aeflnrstuE", *p))
		p++;
	return p > start ? p : NULL;
}

/* "[1, 2]", or with KEYS "{"a": 1, "b": 2}". */
static const char *json_list(const char *p, const char *end, bool keys)
{
	char close = keys ? '}' : ']';

	p = json_space(p + 1, end);
	if (p < end && *p == close)
		return p + 1;
	for (;;) {
		if (keys) {
			p = json_string(json_space(p, end), end);
			p = p ? json_space(p, end) : NULL;
			if (!p || p == end || *p++ != ':')
				return NULL;
		}
		p = json_value(p, end);
		p = p ? json_space(p, end) : NULL;
		if (!p || p == end)
			return NULL;
		if (*p == close)
			return p + 1;
		if (*p++ != ',')
			return NULL;
	}
}

static const char *json_value(const char *p, const char *end)
{
	p = json_space(p, end);
	if (p == end)
		return NULL;
	if (*p == '{' || *p == '[')
		return json_list(p, end, *p == '{');
	return *p == '"' ? json_string(p, end) : json_word(p, end);
}

bool soak_is_json(const char *text, size_t len)
{
	const char *end = text + len;
	const char *p = json_value(text, end);

	return p && json_space(p, end) == end;
}

/* --- commands --------------------------------------------------------------------- */

static pid_t start(struct soak_worker *w, char *const argv[], int out)
{
	posix_spawn_file_actions_t fa;
	pid_t pid;

	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, out, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&fa, out, STDERR_FILENO);
	errno = posix_spawnp(&pid, argv[0], &fa, NULL, argv, environ);
	if (errno)
		soak_bad(w, "cannot start %s", argv[0]);
	posix_spawn_file_actions_destroy(&fa);
	return pid;
}

/* Its exit status, and what it prints. */
static int command(struct soak_worker *w, char out[OUT_MAX], char *const argv[])
{
	size_t len = 0;
	int fds[2], ws;
	ssize_t n;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		soak_bad(w, "pipe");
	pid = start(w, argv, fds[1]);
	close(fds[1]);
	while ((n = read(fds[0], out + len, OUT_MAX - 1 - len)) > 0)
		len += (size_t)n;
	out[len] = '\0';
	close(fds[0]);
	if (waitpid(pid, &ws, 0) != pid || !WIFEXITED(ws))
		soak_bad(w, "%s %s: ended by signal %d: %s", argv[0], argv[1],
			 WTERMSIG(ws), out);
	return WEXITSTATUS(ws);
}

/* rawcow A B C MNT D: must succeed. */
static void rawcow(struct soak_worker *w, char *a, char *b, char *c, char *d)
{
	static _Thread_local char out[OUT_MAX];
	char *argv[8] = { getenv("RAWCOW") }, *const in[] = { a, b, c };
	int n = 1, status, tries = 0;

	for (int i = 0; i < 3; i++)
		if (in[i])
			argv[n++] = in[i];
	argv[n++] = (char *)(uintptr_t)w->soak->mnt;
	argv[n] = d;
	errno = 0;
	while ((status = command(w, out, argv))) {
		/* somebody just looks at it */
		if (!strstr(out, "is in use: a program") || ++tries > 200)
			soak_bad(w, "%s %s %s: exit %d: %s", a, b ? b : "",
				 c ? c : "", status, out);
		soak_nap(w);
	}
	if (b && !strcmp(b, "--json") && !soak_is_json(out, strlen(out)))
		soak_bad(w, "%s: not JSON: %s", a, out);
}

#define WORD(s) ((char *)(uintptr_t)(s))

static void bitmap_life(struct soak_worker *w)
{
	static const char *const between[] = { "--disable", "--enable",
					       "--clear" };
	char name[16];

	snprintf(name, sizeof(name), "map%u", (unsigned)soak_dice(w, 3));
	rawcow(w, WORD("bitmap"), WORD("--add"), NULL, name);
	for (int i = 0; i < 3; i++)
		rawcow(w, WORD("bitmap"), WORD(between[soak_dice(w, 3)]), NULL,
		       name);
	rawcow(w, WORD("bitmap"), WORD("--json"), NULL, NULL);
	rawcow(w, WORD("bitmap"), WORD("--remove"), NULL, name);
}

static void snapshot_life(struct soak_worker *w)
{
	char name[16];

	if (!w->soak->snapshots)
		return;
	snprintf(name, sizeof(name), "cmd%u", (unsigned)soak_dice(w, 3));
	rawcow(w, WORD("snapshot"), WORD("-c"), name, NULL);
	rawcow(w, WORD("snapshot"), WORD("--json"), NULL, NULL);
	rawcow(w, WORD("snapshot"), WORD("-d"), name, NULL);
}

void soak_commands(struct soak_worker *w)
{
	while (soak_step(w)) {
		switch (soak_dice(w, 4)) {
		case 0:
			rawcow(w, WORD("status"), WORD("--json"), NULL, NULL);
			break;
		case 1:
			rawcow(w, WORD("check"), WORD("--json"), NULL, NULL);
			break;
		case 2:
			bitmap_life(w);
			break;
		default:
			snapshot_life(w);
		}
	}
}

/* --- readers that are killed --------------------------------------------------------- */

/* soak-read FOLDER SEED: read all over until killed */
int helpers_soak_read(int argc, char **argv)
{
	uint64_t rnd = helpers_num(argv[2]);
	char path[256], *buf = helpers_buffer(1 << 20);
	struct stat st;
	int fd;

	(void)argc;
	alarm(60); /* if nobody does */
	for (;;) {
		snprintf(path, sizeof(path), "%s/%s", argv[1],
			 helpers_random(&rnd) % 8 ? "disk.raw" :
						    ".rawcow/info.json");
		fd = helpers_open(path, helpers_random(&rnd) % 2 ?
						"ro,direct" : "ro");
		for (int i = 0; i < 8; i++) {
			if (fstat(fd, &st))
				helpers_die("fstat");
			if (pread(fd, buf, 1 << 20,
				  (off_t)(helpers_random(&rnd) %
					  ((uint64_t)st.st_size + 1))) < 0)
				helpers_die("pread of a reader");
		}
		close(fd);
	}
}

void soak_victims(struct soak_worker *w)
{
	char seed[24], *argv[] = { getenv("HELPERS"), WORD("soak-read"),
				   WORD(w->soak->mnt), seed, NULL };
	int ws;

	while (soak_step(w)) {
		struct timespec t = { .tv_nsec = (long)soak_dice(w, 60000000) };
		pid_t pid;

		snprintf(seed, sizeof(seed), "%u",
			 (unsigned)soak_dice(w, 1u << 31));
		pid = start(w, argv, STDOUT_FILENO);
		nanosleep(&t, NULL);
		kill(pid, SIGKILL);
		if (waitpid(pid, &ws, 0) != pid || !WIFSIGNALED(ws))
			soak_bad(w, "a reader failed by itself, see above");
	}
}
