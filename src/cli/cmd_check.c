/*
 * cmd_check: rawcow check, of a file or of a mounted image. The exit status is
 * qemu-img's.
 */
#include "cli/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/checktext.h"
#include "cli/mounted.h"
#include "cli/newfile.h"
#include "core/admin/repair.h"
#include "core/admin/undo.h"

enum { STATUS_OK, STATUS_FAILED, STATUS_CORRUPT, STATUS_LEAKS,
       STATUS_UNSUPPORTED = 63 };

struct repair_choice {
	bool on;
	enum repair_mode mode;
};

struct check_args {
	const char *image;
	const char *undo, *undo_apply;
	struct repair_choice repair;
	bool json, shared, progress, quiet;
};

static int take_repair(void *field, const char *name, const char *value,
		       struct err *err)
{
	static const char *const words[] = { "leaks", "all", NULL };
	int i = args_word(name, value, words, err);

	if (i < 0)
		return i;
	*(struct repair_choice *)field = (struct repair_choice){
		.on = true,
		.mode = i ? REPAIR_ALL : REPAIR_LEAKS,
	};
	return 0;
}

static int check_args(void *into, struct err *err)
{
	const struct check_args *a = into;

	if (a->repair.on && a->shared)
		return err_set(err, -EINVAL, "-U and -r exclude each other: "
			       "two writers would destroy the image");
	if (a->undo && !a->repair.on)
		return err_set(err, -EINVAL, "--undo goes with -r");
	if (a->undo_apply && (a->repair.on || a->shared))
		return err_set(err, -EINVAL,
			       "--undo-apply goes with neither -r nor -U");
	return 0;
}

#define AT(f) offsetof(struct check_args, f)

static const struct args_opt options[] = {
	{ 'r', "repair", "leaks|all", take_repair, AT(repair),
	  "leaks: free leaked clusters\n"
	  "all: repair all that can be, and clear the marks\n"
	  "dirty and corrupt" },
	{ 0, "undo", "FILE", args_text, AT(undo),
	  "with -r: save in FILE what is overwritten" },
	{ 0, "undo-apply", "FILE", args_text, AT(undo_apply),
	  "give IMAGE back what FILE has of it" },
	ARGS_OUTPUT(AT(json)),
	{ 'U', "force-share", NULL, args_flag, AT(shared),
	  "read IMAGE although another program writes it: it\n"
	  "may look damaged then" },
	ARGS_PROGRESS(AT(progress)),
	ARGS_QUIET(AT(quiet)),
	ARGS_FORMAT,
	ARGS_END
};

static const struct args_spec spec = {
	.usage = "check [OPTION...] IMAGE|MOUNTPOINT",
	.what = "Look for errors and leaked clusters; IMAGE is changed only "
		"with -r.\nOf the image mounted at MOUNTPOINT: while it is in use.",
	.opts = options,
	.tail = "Exit status: 0 no errors; 1 the check could not be made; 2 "
		"errors;\n3 leaked clusters, but no errors; 63 not supported.",
	.min_words = 1,
	.max_words = 1,
	.wants = "one image",
	.words = { AT(image) },
	.check = check_args,
};

static int status_of(const struct check_result *r)
{
	if (r->check_errors)
		return STATUS_FAILED;
	if (r->corruptions)
		return STATUS_CORRUPT;
	return r->leaks ? STATUS_LEAKS : STATUS_OK;
}

/* The check or repair could not be made. */
static int give_up(struct checktext *t, int ret, const struct err *err)
{
	checktext_abandon(t);
	cmd_fail(t->image, err);
	return ret == -ENOTSUP ? STATUS_UNSUPPORTED : STATUS_FAILED;
}

static int finish(struct checktext *t, const struct check_result *res,
		  const struct checktext_fixed *fixed)
{
	checktext_print(t, res, fixed);
	return status_of(res);
}

static int run(struct hostfile *file, const struct check_args *a)
{
	struct checktext t = { .image = a->image, .quiet = a->quiet };
	struct check_opts opts = { .report = checktext_problem,
				   .report_arg = &t,
				   .progress = progress_update,
				   .progress_arg = &t.progress };
	struct check_result res;
	struct err err = { "" };
	int ret;

	checktext_begin(&t, a->json);
	progress_begin(&t.progress, a->progress && !a->quiet);
	ret = check_image(file, &opts, &res, &err);
	progress_end(&t.progress);
	return ret ? give_up(&t, ret, &err) : finish(&t, &res, NULL);
}

/* What the server found, as if it had been found here. */
static void list_found(struct checktext *t, char *problems)
{
	char *next;

	for (char *line = problems; *line; line = next) {
		char *end = strchr(line, '\n');
		struct problem p;

		next = end ? end + 1 : line + strlen(line);
		if (end)
			*end = '\0';
		p.code = (enum problem_code)strtoul(line, &line, 10);
		p.cls = problem_class_of(p.code);
		p.hoff = strtoull(line, &line, 10);
		p.text = *line == ' ' ? line + 1 : line;
		checktext_problem(t, &p);
	}
}

/* The image is mounted: its server checks it. */
static int run_mounted(const struct check_args *a)
{
	struct checktext t = { .image = a->image, .quiet = a->quiet };
	struct ctl_check c = { 0 };
	struct check_result res;
	struct err err = { "" };

	if (a->repair.on || a->undo_apply) {
		err_set(&err, -EBUSY, "unmount it first: what is in use cannot be repaired");
		return cmd_fail(a->image, &err);
	}
	if (mounted_check(a->image, &c, &err) < 0)
		return cmd_fail(a->image, &err);
	checktext_begin(&t, a->json);
	c.problems[sizeof(c.problems) - 1] = '\0';
	list_found(&t, c.problems);
	t.moving = c.moving;
	t.omitted = c.corruptions + c.leaks + c.check_errors - c.listed;
	res = (struct check_result){
		.corruptions = c.corruptions,
		.leaks = c.leaks,
		.check_errors = c.check_errors,
		.total_clusters = c.total_clusters,
		.allocated_clusters = c.allocated_clusters,
		.fragmented_clusters = c.fragmented_clusters,
		.compressed_clusters = c.compressed_clusters,
		.image_end_offset = c.image_end_offset,
	};
	return finish(&t, &res, NULL);
}

static uint64_t fewer(uint64_t before, uint64_t after)
{
	return before > after ? before - after : 0;
}

static int repair(struct hostfile *file, const struct check_args *a)
{
	struct checktext t = { .image = a->image, .quiet = a->quiet };
	struct check_opts opts = { .report = checktext_problem,
				   .report_arg = &t,
				   .progress = progress_update,
				   .progress_arg = &t.progress };
	struct repair_result res;
	struct checktext_fixed fixed;
	struct err err = { "" };
	int ret;

	checktext_begin(&t, a->json);
	progress_begin(&t.progress, a->progress && !a->quiet);
	ret = repair_image(file, a->repair.mode, &opts, &res, &err);
	progress_end(&t.progress);
	if (ret)
		return give_up(&t, ret, &err);
	fixed = (struct checktext_fixed){
		.corruptions = fewer(res.before.corruptions,
				     res.after.corruptions),
		.leaks = fewer(res.before.leaks, res.after.leaks),
		.marks = res.marks,
	};
	return finish(&t, &res.after, &fixed);
}

/* Repair, with what is overwritten saved in a->undo, which must still be found
 * when the image is not what it was any more. */
static int repair_saved(struct hostfile *file, const struct check_args *a)
{
	struct hostfile *log;
	struct undo *u;
	struct err err = { "" };
	int status;

	if (hostfile_open(&log, AT_FDCWD, a->undo,
			  HOSTFILE_RDWR | HOSTFILE_CREATE, &err) < 0)
		return cmd_fail(NULL, &err);
	if (newfile_sync_name(a->undo, &err) < 0 ||
	    undo_begin(&u, file, log, &err) < 0) {
		hostfile_close(log);
		return cmd_fail(a->image, &err);
	}
	status = repair(undo_file(u), a);
	if (undo_end(u, &err) < 0)
		status = cmd_fail(a->image, &err);
	hostfile_close(log);
	return status;
}

static int undo(struct hostfile *file, const struct check_args *a)
{
	struct hostfile *log;
	struct err err = { "" };
	int r;

	if (hostfile_open(&log, AT_FDCWD, a->undo_apply, HOSTFILE_RDWR, &err) < 0)
		return cmd_fail(NULL, &err);
	r = undo_apply(file, log, &err);
	hostfile_close(log);
	if (r < 0)
		return cmd_fail(a->image, &err);
	if (!a->quiet)
		puts("The image is as it was before the repair.");
	return STATUS_OK;
}

static int change(const struct check_args *a)
{
	struct hostfile *file;
	struct err err = { "" };
	int status;

	if (cmd_open_rw(&file, a->image, &err) < 0)
		return mounted_fail(a->image, &err);
	if (a->undo_apply)
		status = undo(file, a);
	else
		status = a->undo ? repair_saved(file, a) : repair(file, a);
	hostfile_close(file);
	return status;
}

int cmd_check(int argc, char **argv)
{
	struct check_args a = { 0 };
	struct hostfile *file;
	struct err err = { "" };
	int status;

	if (!cmd_parse(&spec, &a, argc, argv, &status))
		return status;
	if (mounted_at(a.image))
		return run_mounted(&a);
	if (a.repair.on || a.undo_apply)
		return change(&a);
	if (cmd_open(&file, a.image, a.shared ? HOSTLOCK_IMAGE_SHARED :
						HOSTLOCK_IMAGE_RO, &err) < 0)
		return mounted_fail(a.image, &err);
	status = run(file, &a);
	hostfile_close(file);
	return status;
}
