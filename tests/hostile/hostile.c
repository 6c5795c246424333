#include "hostile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/admin/check.h"
#include "core/image/image.h"
#include "core/image/info.h"
#include "lib/tmpdir.h"

#define CL 65536
#define RSS_MAX (64L << 10) /* KiB */

static char said[65536]; /* all messages of one row */
static char *folder;
static bool complain; /* print what each row answered */

/* --- building
 * -------------------------------------------------------------------- */

void hostile_start(struct bench *t, const struct imgbuild_params *p)
{
	struct imgbuild_params sound = {.cluster_bits = 16, .size = 4 << 20};
	unsigned char data[CL];

	if (p)
		sound = *p;
	sound.refcount_order = 4;
	imgbuild_init(&t->b, t->f, &sound);
	memset(data, 'd', sizeof(data));
	imgbuild_data(&t->b, 0, data, 1);
	imgbuild_data(&t->b, t->b.csize, data, 1);
}

void hostile_finish(struct bench *t)
{
	imgbuild_finish(&t->b);
}

void hostile_guard(struct bench *t, uint64_t off, uint64_t len)
{
	t->guard[t->n_guards++] = (struct guard){off, len};
}

/* --- one row, in its own process
 * ---------------------------------------------------- */

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...)
{
	size_t n = strlen(said);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(said + n, sizeof(said) - n, fmt, ap);
	va_end(ap);
}

static void say_err(const struct err *err)
{
	if (err->text[0])
		say("%s\n", err->text);
}

static FILE *log_file; /* standard error of one row */

static void add_log(void)
{
	size_t n = strlen(said);

	fflush(stderr);
	rewind(log_file);
	n += fread(said + n, 1, sizeof(said) - n - 1, log_file);
	said[n] = '\0';
}

static void bad(const struct row *row, const char *what, int want, int got)
{
	add_log();
	printf("%s: %s: wanted %d, got %d (%s)\n", row->name, what, want, got,
	       said);
	fflush(stdout);
	exit(1);
}

static void expect(const struct row *row, const char *what, int want, int got)
{
	if (complain)
		printf("  %-6s %d\n", what, got);
	if (want == SOME_ERROR ? !got : got != want)
		bad(row, what, want, got);
}

static struct hostfile *open_image(unsigned flags)
{
	struct err err = {""};
	struct hostfile *f;

	if (hostfile_open(&f, AT_FDCWD, "image", flags, &err) < 0) {
		printf("cannot open: %s\n", err.text);
		exit(1);
	}
	return f;
}

static int try_info(void)
{
	struct hostfile *f = open_image(0);
	struct err err = {""};
	struct info info;
	int r = info_read(&info, f, &err);

	say_err(&err);
	if (r == 0)
		info_fini(&info);
	hostfile_close(f);
	return r;
}

static void on_problem(void *arg, const struct problem *p)
{
	(void)arg;
	if (complain)
		printf("  %s\n", p->text);
}

static int try_check(void)
{
	const struct check_opts opts = {.report = on_problem};
	struct hostfile *f = open_image(0);
	struct check_result res;
	struct err err = {""};
	int r = check_image(f, &opts, &res, &err);

	say_err(&err);
	hostfile_close(f);
	if (r < 0)
		return r;
	return res.corruptions || res.check_errors || res.leaks ? BROKEN : 0;
}

/* Descriptors that were there before. */
static bool inherited[1024];

static void note_files(void)
{
	for (int fd = 0; fd < 1024; fd++)
		inherited[fd] = fcntl(fd, F_GETFD) >= 0;
}

/* No file is open but those of the image's folder. */
static void look_at_files(const struct row *row)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;

	while (d && (e = readdir(d))) {
		char link[300], target[512];
		ssize_t n;

		snprintf(link, sizeof(link), "/proc/self/fd/%s", e->d_name);
		n = readlink(link, target, sizeof(target) - 1);
		if (n < 0 || inherited[atoi(e->d_name) & 1023])
			continue;
		target[n] = '\0';
		if (target[0] == '/' &&
		    strncmp(target, folder, strlen(folder)) &&
		    strncmp(target, "/proc/", 6)) {
			printf("%s: %s was opened\n", row->name, target);
			exit(1);
		}
	}
	if (d)
		closedir(d);
}

static int read_all(struct image *img, uint64_t len)
{
	static unsigned char buf[CL];
	uint64_t size = image_size(img);
	int ret = 0;

	len = len && len < size ? len : size;
	for (uint64_t at = 0; at < len; at += CL) {
		uint64_t n = size - at < CL ? size - at : CL;
		int r = image_read(img, buf, n, at);

		ret = ret ? ret : r;
	}
	/* the end of the disk as well */
	if (size > CL) {
		int r = image_read(img, buf, CL, size - CL);

		ret = ret ? ret : r;
	}
	return ret;
}

static int write_some(struct image *img)
{
	/* mapped ones, and enough new ones to come by free clusters */
	static const unsigned at[] = {1, 0, 2, 5, 6, 7, 8, 9, 10, 11, 12};
	int ret = 0;

	for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		int r = image_write(img, "w", 1, at[i] * (uint64_t)CL);

		ret = ret ? ret : r;
	}
	(void)!image_flush(img);
	return ret;
}

static int open_as(struct image **img, bool readonly)
{
	struct image_opts opts = {.no_lock = true, .readonly = readonly};
	struct err err = {""};
	int r = image_open(img, "image", &opts, &err);

	say_err(&err);
	return r;
}

/* Has anybody written to the file? The kernel notes the time of each write. */
static struct stat stamp;
static void note_stamp(void)
{
	if (stat("image", &stamp) < 0)
		exit(1);
}
static void same_stamp(const struct row *row, const char *after)
{
	struct stat st;

	if (stat("image", &st) < 0 || st.st_size != stamp.st_size ||
	    st.st_mtim.tv_nsec != stamp.st_mtim.tv_nsec ||
	    st.st_ctim.tv_nsec != stamp.st_ctim.tv_nsec) {
		printf("%s: %s has changed the file\n", row->name, after);
		exit(1);
	}
}

static unsigned char *take_guards(struct bench *t)
{
	unsigned char *all = calloc(t->n_guards + 1, CL);

	for (unsigned i = 0; i < t->n_guards; i++)
		if (hostfile_pread(t->f, all + (size_t)i * CL, t->guard[i].len,
				   t->guard[i].off, NULL) < 0)
			exit(1);
	return all;
}

static void try_reading(struct bench *t)
{
	const struct expect *want = &t->row->want;
	struct image *img;
	int r = open_as(&img, true);

	expect(t->row, "ro", want->ro, r);
	if (r < 0)
		return;
	look_at_files(t->row);
	expect(t->row, "read", want->read, read_all(img, t->read_len));
	image_close(img);
}

static void try_writing(struct bench *t)
{
	const struct expect *want = &t->row->want;
	unsigned char *before = take_guards(t);
	unsigned char *after;
	struct image *img;
	int r = open_as(&img, false);

	expect(t->row, "rw", want->rw, r);
	if (r < 0) {
		same_stamp(t->row, "a refused open");
		free(before);
		return;
	}
	if (image_readonly_reason(img))
		say("%s\n", image_readonly_reason(img));
	look_at_files(t->row);
	expect(t->row, "write", want->write, write_some(img));
	image_close(img);
	after = take_guards(t);
	for (unsigned i = 0; i < t->n_guards; i++)
		if (memcmp(before + (size_t)i * CL, after + (size_t)i * CL,
			   CL)) {
			printf("%s: the cluster at %#llx was overwritten\n",
			       t->row->name,
			       (unsigned long long)t->guard[i].off);
			exit(1);
		}
	free(before);
	free(after);
}

/* Messages go to people: nothing that talks to their terminal. */
static void look_at_words(const struct row *row)
{
	for (const char *p = said; *p; p++)
		if ((unsigned char)*p < 32 && *p != '\n') {
			printf("%s: a control character in: %s\n", row->name,
			       said);
			exit(1);
		}
	if (row->want.text && !strstr(said, row->want.text)) {
		printf("%s: no '%s' in: %s\n", row->name, row->want.text, said);
		exit(1);
	}
}

/* In the child. */
static void try_row(struct bench *t)
{
	const struct expect *want = &t->row->want;

	log_file = fopen("log", "w+");
	if (!log_file || dup2(fileno(log_file), 2) < 0)
		exit(1);
	note_files();
	note_stamp();
	expect(t->row, "info", want->info, try_info());
	expect(t->row, "check", want->check, try_check());
	try_reading(t);
	same_stamp(t->row, "reading");
	try_writing(t);
	add_log();
	look_at_words(t->row);
	exit(0);
}

/* --- all rows
 * ------------------------------------------------------------------------ */

static void build(struct bench *t, const struct row *row)
{
	struct err err = {""};

	*t = (struct bench){.row = row};
	unlink("image");
	if (hostfile_open(&t->f, AT_FDCWD, "image",
			  HOSTFILE_RDWR | HOSTFILE_CREATE, &err) < 0) {
		printf("cannot create: %s\n", err.text);
		exit(1);
	}
	row->make(t);
}

/* Of the processor: the machine may be busy with other tests. */
static double used(const struct rusage *ru)
{
	return (double)(ru->ru_utime.tv_sec + ru->ru_stime.tv_sec) +
	       (double)(ru->ru_utime.tv_usec + ru->ru_stime.tv_usec) / 1e6;
}

static bool sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return true;
#else
	return false;
#endif
}

/* One second of CPU and 64 MiB, unless a sanitizer multiplies both. */
static bool within_limits(const struct row *row, double seconds, long rss)
{
	if (sanitized())
		return true;
	if (complain)
		printf("  %.3f s, %ld MiB\n", seconds, rss >> 10);
	if (seconds < 1 && rss < RSS_MAX)
		return true;
	printf("%s: %.2f s and %ld MiB\n", row->name, seconds, rss >> 10);
	return false;
}

static bool run(const struct row *row)
{
	struct rusage ru;
	struct bench t;
	int status;
	pid_t pid;

	build(&t, row);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		alarm(60);
		try_row(&t);
	}
	if (wait4(pid, &status, 0, &ru) < 0)
		exit(1);
	imgbuild_fini(&t.b);
	hostfile_close(t.f);
	if (WIFSIGNALED(status))
		printf("%s: signal %d\n", row->name, WTERMSIG(status));
	return status == 0 && within_limits(row, used(&ru), ru.ru_maxrss);
}

static const struct row *const tables[] = {
	hostile_header_rows,   hostile_table_rows, hostile_stream_rows,
	hostile_snapshot_rows, hostile_bitmap_rows, hostile_file_rows,
};

static const struct row *find(const char *name)
{
	for (unsigned k = 0; k < sizeof(tables) / sizeof(tables[0]); k++)
		for (const struct row *r = tables[k]; r->name; r++)
			if (!strcmp(name, r->name))
				return r;
	printf("there is no image '%s'\n", name);
	exit(1);
}

/* Leave "image", and what it names, in the current folder. */
static int build_only(const char *name)
{
	struct bench t;

	build(&t, find(name));
	imgbuild_fini(&t.b);
	hostfile_close(t.f);
	return 0;
}

static unsigned run_all(unsigned *n)
{
	unsigned failed = 0;

	for (unsigned k = 0; k < sizeof(tables) / sizeof(tables[0]); k++)
		for (const struct row *r = tables[k]; r->name; r++) {
			++*n;
			failed += !run(r);
		}
	return failed;
}

/* hostile: all rows. hostile NAME: one, with what it answers. hostile --build
 * NAME: only make the image. */
int main(int argc, char **argv)
{
	unsigned n = 1, failed;

	if (argc > 2 && !strcmp(argv[1], "--build"))
		return build_only(argv[2]);
	complain = argc > 1;
	/* in memory: a sync costs nothing there */
	if (access("/dev/shm", W_OK) == 0)
		setenv("TMPDIR", "/dev/shm", 0);
	folder = tmpdir_make();
	if (chdir(folder) < 0)
		return 1;
	if (argc > 1)
		failed = !run(find(argv[1]));
	else
		failed = run_all((n = 0, &n));
	if (chdir("/") < 0)
		return 1;
	tmpdir_remove(folder);
	printf("%u images, %u wrong\n", n, failed);
	return failed != 0;
}
