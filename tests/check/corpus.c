/*
 * corpus: every image of broken.c is checked, repaired and checked again. The
 * first check must say what stands in the table, the second nothing but what
 * cannot be repaired; qemu-img must find nothing at all; and whatever could be
 * read before, in the disk and in every snapshot, must read the same
 * afterwards.
 *
 *	corpus [NAME]     all, or one
 *	corpus --print    the table as it comes out, to be read before it is used
 *	corpus --save I   the broken image of line I, to "broken.qcow2"
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check/broken.h"
#include "check/crashes.h"
#include "check/found.h"
#include "check/reader.h"
#include "core/admin/repair.h"
#include "core/admin/undo.h"

static bool have_qemu;
static unsigned failures;
static unsigned crash_every; /* this one of them is interrupted, too */

static unsigned from_scale(void)
{
	const char *scale = getenv("RAWCOW_TEST_SCALE");

	if (scale && !strcmp(scale, "full"))
		return 1;
	return scale && !strcmp(scale, "small") ? 16 : 4;
}

static void fail(unsigned i, const char *what, const char *detail)
{
	printf("FAILED: %u \"%s\" (%s): %s: %s\n", i, broken_cases[i].name,
	       broken_cases[i].base, what, detail);
	failures++;
}

/* qemu-img check of M. */
static void ask_qemu(unsigned i, struct hostmem *m)
{
	const char *path = "corpus.qcow2";
	int status;

	if (!have_qemu)
		return;
	if (hostmem_save(m, path) < 0)
		abort();
	status = system("qemu-img check corpus.qcow2 >corpus.out 2>&1");
	if (status)
		fail(i, "qemu-img check", "see corpus.out");
	else
		remove("corpus.out");
	remove(path);
}

static void compare(unsigned i, struct hostmem *before, struct hostmem *after)
{
	char text[FOUND_TEXT];

	if (!reader_same(before, after, true, text, sizeof(text)))
		fail(i, "content", text);
}

/* Repair M; what it overwrites goes to LOG. */
static void repair(unsigned i, struct hostmem *m, struct hostmem *log)
{
	struct repair_result res;
	struct err err = { "" };
	struct hostfile *f;
	struct hostfile *l;
	struct undo *u;

	if (hostmem_open(&f, m, true) < 0 || hostmem_open(&l, log, true) < 0 ||
	    undo_begin(&u, f, l, &err) < 0)
		abort();
	if (repair_image(undo_file(u), REPAIR_ALL, NULL, &res, &err) < 0)
		fail(i, "the repair failed", err.text);
	if (undo_end(u, &err) < 0)
		fail(i, "undo_end", err.text);
	hostfile_close(l);
	hostfile_close(f);
}

/* M as it was: every byte. */
static void go_back(unsigned i, struct hostmem *m, struct hostmem *log,
		    struct hostmem *before)
{
	struct err err = { "" };
	struct hostfile *f;
	struct hostfile *l;

	if (hostmem_open(&f, m, true) < 0 || hostmem_open(&l, log, true) < 0)
		abort();
	if (undo_apply(f, l, &err) < 0)
		fail(i, "undo", err.text);
	else if (!hostmem_equal(m, before))
		fail(i, "undo", "the image differs from the broken one");
	hostfile_close(l);
	hostfile_close(f);
}

static void run(unsigned i)
{
	const struct broken *c = &broken_cases[i];
	struct hostmem *sound = broken_sound(i);
	struct hostmem *m = broken_build(i);
	struct hostmem *before = hostmem_clone(m);
	struct hostmem *log = hostmem_new();
	char text[FOUND_TEXT];

	if (strcmp(found_text(sound, text), ""))
		fail(i, "the sound image", text);
	if (strcmp(found_text(m, text), c->found))
		fail(i, "the first check", text);
	repair(i, m, log);
	if (strcmp(found_text(m, text), c->left ? c->left : ""))
		fail(i, "the second check", text);
	if (!c->left || strstr(c->left, "compressed-data"))
		ask_qemu(i, m);
	compare(i, before, m);
	if (!crashes_undo_order(before))
		fail(i, "undo", "the image was written first");
	if (i % crash_every == 0 && !crashes_run(before, text, sizeof(text)))
		fail(i, "a crash", text);
	go_back(i, m, log, before);
	hostmem_free(log);
	hostmem_free(before);
	hostmem_free(m);
	hostmem_free(sound);
}

static int print(void)
{
	char text[FOUND_TEXT];

	for (unsigned i = 0; i < broken_n; i++) {
		struct hostmem *m = broken_build(i);

		printf("%u|%s\n", i, found_text(m, text));
		hostmem_free(m);
	}
	return 0;
}

int main(int argc, char **argv)
{
	unsigned n = 0;

	if (argc == 2 && !strcmp(argv[1], "--print"))
		return print();
	if (argc == 3 && !strcmp(argv[1], "--save"))
		return hostmem_save(broken_build((unsigned)atoi(argv[2])),
				    "broken.qcow2") < 0;
	crash_every = argc == 2 ? 1 : from_scale();
	have_qemu = system("qemu-img --version >/dev/null 2>&1") == 0;
	if (!have_qemu)
		puts("without qemu-img");
	if (have_qemu && system(": >base.raw"))
		return 1;
	for (unsigned i = 0; i < broken_n; i++) {
		if (argc == 2 && strcmp(argv[1], broken_cases[i].name))
			continue;
		run(i);
		n++;
	}
	remove("base.raw");
	printf("%u images, %u failures\n", n, failures);
	return failures || !n;
}
