/*
 * cmd_check: rawcow check. Exit status, JSON keys and summary as qemu-img's,
 * so that scripts can use either.
 */
#include "cli/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/json.h"
#include "cli/mounted.h"
#include "cli/progress.h"
#include "core/admin/check.h"
#include "core/admin/repair.h"
#include "core/admin/undo.h"

#define PROBLEMS_MAX 1000 /* listed; the counts count all */

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

struct listing {
	const struct check_args *args;
	struct progress progress;
	struct json_object *problems; /* with --json */
	uint64_t n;
	uint64_t omitted; /* found, and not listed */
	uint64_t moving; /* of a mounted image: clusters not judged */
};

static const char *const class_name[] = {
	[PROBLEM_CORRUPTION] = "corruption",
	[PROBLEM_LEAK] = "leak",
	[PROBLEM_CHECK_ERROR] = "check-error",
};

static void on_problem(void *arg, const struct problem *p)
{
	struct listing *l = arg;
	struct json_object *o;

	if (l->n++ >= PROBLEMS_MAX) {
		l->omitted++;
		return;
	}
	if (!l->problems) {
		if (l->args->quiet)
			return;
		progress_end(&l->progress);
		printf("%s %s: %s\n", p->cls == PROBLEM_LEAK ? "LEAK" : "ERROR",
		       problem_name(p->code), p->text);
		return;
	}
	o = json_object_new_object();
	json_put_text(o, "code", problem_name(p->code));
	json_put_text(o, "class", class_name[p->cls]);
	json_put_int(o, "offset", p->hoff);
	json_put_text(o, "text", p->text);
	json_object_array_add(l->problems, o);
}

/* Members that are zero are left out, as qemu-img does. */
static void put_count(struct json_object *o, const char *key, uint64_t v)
{
	if (v)
		json_put_int(o, key, v);
}

/* What a repair has changed: the differences of two checks. */
struct fixed {
	uint64_t corruptions, leaks;
	bool marks;
};

static int print_json(struct listing *l, const struct check_result *r,
		      const struct fixed *f)
{
	struct json_object *o = json_object_new_object();

	put_count(o, "image-end-offset", r->image_end_offset);
	put_count(o, "total-clusters", r->total_clusters);
	json_put_int(o, "check-errors", r->check_errors);
	put_count(o, "corruptions", r->corruptions);
	put_count(o, "leaks", r->leaks);
	put_count(o, "corruptions-fixed", f->corruptions);
	put_count(o, "leaks-fixed", f->leaks);
	put_count(o, "allocated-clusters", r->allocated_clusters);
	put_count(o, "moving-clusters", l->moving);
	put_count(o, "fragmented-clusters", r->fragmented_clusters);
	put_count(o, "compressed-clusters", r->compressed_clusters);
	json_put_text(o, "filename", l->args->image);
	json_put_text(o, "format", "qcow2");
	json_object_object_add(o, "problems", l->problems);
	put_count(o, "problems-omitted", l->omitted);
	return json_print(o);
}

static double percent(uint64_t part, uint64_t of)
{
	return (double)part * 100.0 / (double)of;
}

static void print_human(const struct listing *l, const struct check_result *r)
{
	if (l->omitted)
		printf("%" PRIu64 " more are not listed\n", l->omitted);
	if (r->corruptions)
		printf("\n%" PRIu64 " errors were found on the image.\n"
		       "Data may be corrupted, or further writes to the image "
		       "may corrupt it.\n", r->corruptions);
	if (r->leaks)
		printf("\n%" PRIu64 " leaked clusters were found on the image."
		       "\nThis means waste of disk space, but no harm to data."
		       "\n", r->leaks);
	if (r->check_errors)
		printf("\n%" PRIu64 " parts of the image could not be read.\n",
		       r->check_errors);
	if (l->moving)
		printf("%" PRIu64 " clusters were taken or freed meanwhile, and "
		       "not judged.\n", l->moving);
	if (!r->corruptions && !r->leaks && !r->check_errors)
		puts("No errors were found on the image.");
	if (r->allocated_clusters && r->total_clusters)
		printf("%" PRIu64 "/%" PRIu64 " = %0.2f%% allocated, "
		       "%0.2f%% fragmented, %0.2f%% compressed clusters\n",
		       r->allocated_clusters, r->total_clusters,
		       percent(r->allocated_clusters, r->total_clusters),
		       percent(r->fragmented_clusters, r->allocated_clusters),
		       percent(r->compressed_clusters, r->allocated_clusters));
	printf("Image end offset: %" PRIu64 "\n", r->image_end_offset);
}

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

static int run(struct hostfile *file, const struct check_args *a)
{
	struct listing l = { .args = a };
	struct check_opts opts = { .report = on_problem, .report_arg = &l,
				   .progress = progress_update,
				   .progress_arg = &l.progress };
	struct check_result res;
	struct err err = { "" };
	int ret;

	if (a->json)
		l.problems = json_object_new_array();
	progress_begin(&l.progress, a->progress && !a->quiet);
	ret = check_image(file, &opts, &res, &err);
	progress_end(&l.progress);
	if (ret) {
		json_object_put(l.problems);
		cmd_fail(a->image, &err);
		return ret == -ENOTSUP ? STATUS_UNSUPPORTED : STATUS_FAILED;
	}
	if (a->json && print_json(&l, &res, &(struct fixed){ 0 }) < 0)
		return STATUS_FAILED;
	if (!a->json && !a->quiet)
		print_human(&l, &res);
	if (fflush(stdout))
		return STATUS_FAILED;
	return status_of(&res);
}

/* What the server found, as if it had been found here. */
static void list_found(struct listing *l, char *problems)
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
		on_problem(l, &p);
	}
}

/* The image is mounted: its server checks it. */
static int run_mounted(const struct check_args *a)
{
	struct listing l = { .args = a };
	struct ctl_check c = { 0 };
	struct check_result res;
	struct err err = { "" };

	if (a->repair.on || a->undo_apply) {
		err_set(&err, -EBUSY, "unmount it first: what is in use cannot be repaired");
		return cmd_fail(a->image, &err);
	}
	if (mounted_check(a->image, &c, &err) < 0)
		return cmd_fail(a->image, &err);
	if (a->json)
		l.problems = json_object_new_array();
	c.problems[sizeof(c.problems) - 1] = '\0';
	list_found(&l, c.problems);
	l.moving = c.moving;
	l.n = c.corruptions + c.leaks + c.check_errors;
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
	l.omitted = l.n - c.listed;
	if (a->json && print_json(&l, &res, &(struct fixed){ 0 }) < 0)
		return STATUS_FAILED;
	if (!a->json && !a->quiet)
		print_human(&l, &res);
	return fflush(stdout) ? STATUS_FAILED : status_of(&res);
}

static uint64_t fewer(uint64_t before, uint64_t after)
{
	return before > after ? before - after : 0;
}

static void print_fixed(const struct fixed *f)
{
	if (f->corruptions || f->leaks)
		printf("The following inconsistencies were found and repaired:"
		       "\n\n    %" PRIu64 " leaked clusters\n    %" PRIu64
		       " corruptions\n\nDouble checked:\n", f->leaks,
		       f->corruptions);
	if (f->marks)
		puts("The image is no longer marked dirty or corrupt.");
}

static int repair(struct hostfile *file, const struct check_args *a)
{
	struct listing l = { .args = a };
	struct check_opts opts = { .report = on_problem, .report_arg = &l,
				   .progress = progress_update,
				   .progress_arg = &l.progress };
	struct repair_result res;
	struct fixed fixed;
	struct err err = { "" };
	int ret;

	if (a->json)
		l.problems = json_object_new_array();
	progress_begin(&l.progress, a->progress && !a->quiet);
	ret = repair_image(file, a->repair.mode, &opts, &res, &err);
	progress_end(&l.progress);
	if (ret) {
		json_object_put(l.problems);
		cmd_fail(a->image, &err);
		return ret == -ENOTSUP ? STATUS_UNSUPPORTED : STATUS_FAILED;
	}
	fixed = (struct fixed){
		.corruptions = fewer(res.before.corruptions,
				     res.after.corruptions),
		.leaks = fewer(res.before.leaks, res.after.leaks),
		.marks = res.marks,
	};
	if (a->json && print_json(&l, &res.after, &fixed) < 0)
		return STATUS_FAILED;
	if (!a->json && !a->quiet) {
		print_fixed(&fixed);
		print_human(&l, &res.after);
	}
	return fflush(stdout) ? STATUS_FAILED : status_of(&res.after);
}

/* Repair, with what is overwritten saved in a->undo. */
static int repair_saved(struct hostfile *file, const struct check_args *a)
{
	struct hostfile *log;
	struct undo *u;
	struct err err = { "" };
	int status;

	if (hostfile_open(&log, AT_FDCWD, a->undo,
			  HOSTFILE_RDWR | HOSTFILE_CREATE, &err) < 0)
		return cmd_fail(NULL, &err);
	if (undo_begin(&u, file, log, &err) < 0) {
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
	return fflush(stdout) ? STATUS_FAILED : STATUS_OK;
}

static int change(const struct check_args *a)
{
	struct hostfile *file;
	struct err err = { "" };
	int status;

	if (cmd_open_rw(&file, a->image, &err) < 0)
		return cmd_fail(NULL, &err);
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
	char source[PATH_MAX];
	struct hostfile *file;
	struct err err = { "" };
	int status;

	if (!cmd_parse(&spec, &a, argc, argv, &status))
		return status;
	if (mounted_at(a.image, source, sizeof(source)))
		return run_mounted(&a);
	if (a.repair.on || a.undo_apply)
		return change(&a);
	if (cmd_open(&file, a.image, a.shared ? HOSTLOCK_IMAGE_SHARED :
						HOSTLOCK_IMAGE_RO, &err) < 0)
		return cmd_fail(NULL, &err);
	status = run(file, &a);
	hostfile_close(file);
	return status;
}
