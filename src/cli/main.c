/*
 * main: the table of sub-commands. Without one of these words the first word
 * is an image, and rawcow mounts it.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cmd.h"

static const struct command {
	const char *word;
	int (*run)(int argc, char **argv);
	const char *usage, *what;
} commands[] = {
	{ "mount", cmd_mount, "[mount] IMAGE MOUNTPOINT",
	  "serve IMAGE as a raw file" },
	{ "umount", cmd_umount, "umount MOUNTPOINT",
	  "commit, unmount, wait until IMAGE is closed" },
	{ "create", cmd_create, "create IMAGE [SIZE]", "make a new image" },
	{ "info", cmd_info, "info IMAGE", "say what IMAGE is" },
	{ "map", cmd_map, "map IMAGE", "say what lies where in IMAGE" },
	{ "check", cmd_check, "check IMAGE", "find and repair errors and leaks" },
	{ "status", cmd_status, "status MOUNTPOINT",
	  "say how a mount goes" },
	{ "resize", cmd_resize, "resize IMAGE [+|-]SIZE",
	  "give the disk in IMAGE another size" },
	{ "commit", cmd_commit, "commit IMAGE",
	  "write what IMAGE holds into its backing file" },
	{ "amend", cmd_amend, "amend -o KEY=VALUE IMAGE",
	  "change version, refcounts, ..." },
	{ "rebase", cmd_rebase, "rebase -u -b FILE IMAGE",
	  "record another backing file" },
	{ "snapshot", cmd_snapshot, "snapshot IMAGE|MOUNTPOINT",
	  "list, make, apply, delete snapshots" },
	{ "bitmap", cmd_bitmap, "bitmap IMAGE|MOUNTPOINT [NAME]",
	  "list, make, remove, change persistent bitmaps" },
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void usage(FILE *out)
{
	fputs("usage: rawcow COMMAND [OPTION...] ...\n"
	      "Serves a qcow2 image as a raw file, read and write.\n\n", out);
	for (size_t i = 0; i < N_COMMANDS; i++)
		fprintf(out, "  %-27s %s\n", commands[i].usage,
			commands[i].what);
	fputs("\nrawcow -V prints the version; rawcow COMMAND -h the options of a "
	      "command.\nEach has a page: rawcow(1), rawcow-create(1), ...\n",
	      out);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* A command that was mistyped would be a missing image, or half a mount. */
static bool is_neither(const char *word)
{
	struct err err;

	if (*word == '-' || access(word, F_OK) == 0 || errno != ENOENT)
		return false;
	err_set(&err, -ENOENT,
		"no such file or directory, and no command; see rawcow -h");
	(void)cmd_fail(word, &err);
	return true;
}

static int run(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : NULL;

	if (argc && (!strcmp(base_name(argv[0]), "mount.rawcow") ||
		     !strcmp(base_name(argv[0]), "mount.fuse.rawcow")))
		return cmd_mount(argc, argv);
	if (!word) {
		fputs("rawcow: what shall be mounted, and where? See rawcow -h\n",
		      stderr);
		return 1;
	}
	if (!strcmp(word, "-h") || !strcmp(word, "--help")) {
		usage(stdout);
		return 0;
	}
	if (!strcmp(word, "-V") || !strcmp(word, "--version")) {
		puts("rawcow " PACKAGE_VERSION);
		return 0;
	}
	for (size_t i = 0; i < N_COMMANDS; i++)
		if (!strcmp(word, commands[i].word))
			return commands[i].run(argc - 1, argv + 1);
	if (is_neither(word))
		return 1;
	return cmd_mount(argc, argv);
}

/* What cannot be printed is not done: for all commands, here. A pipe that was
 * closed counts, where its signal does not end the program. */
static int finish(int status)
{
	bool failed = ferror(stdout);

	errno = 0;
	if (!fflush(stdout) && !failed)
		return status;
	fprintf(stderr, "rawcow: cannot write to standard output%s%s\n",
		errno ? ": " : "", errno ? strerror(errno) : "");
	return 1;
}

int main(int argc, char **argv)
{
	/* a limit on files' sizes is an error to tell, not the end of a server */
	signal(SIGXFSZ, SIG_IGN);
	/* who ignores the ends of his children has us ignore those of ours */
	signal(SIGCHLD, SIG_DFL);
	return finish(run(argc, argv));
}
