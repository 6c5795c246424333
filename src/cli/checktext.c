#include "cli/checktext.h"

#include <inttypes.h>
#include <stdio.h>

#include "cli/json.h"

#define PROBLEMS_MAX 1000 /* listed; the counts count all */

void checktext_begin(struct checktext *t, bool json)
{
	t->problems = json && !t->quiet ? json_object_new_array() : NULL;
}

void checktext_abandon(struct checktext *t)
{
	json_object_put(t->problems);
	t->problems = NULL;
}

static const char *const class_name[] = {
	[PROBLEM_CORRUPTION] = "corruption",
	[PROBLEM_LEAK] = "leak",
	[PROBLEM_CHECK_ERROR] = "check-error",
};

void checktext_problem(void *arg, const struct problem *p)
{
	struct checktext *t = arg;
	struct json_object *o;

	if (t->n++ >= PROBLEMS_MAX) {
		t->omitted++;
		return;
	}
	if (!t->problems) {
		if (t->quiet)
			return;
		progress_end(&t->progress);
		printf("%s %s: %s\n", p->cls == PROBLEM_LEAK ? "LEAK" : "ERROR",
		       problem_name(p->code), p->text);
		return;
	}
	o = json_object_new_object();
	json_put_text(o, "code", problem_name(p->code));
	json_put_text(o, "class", class_name[p->cls]);
	json_put_int(o, "offset", p->hoff);
	json_put_text(o, "text", p->text);
	json_object_array_add(t->problems, o);
}

/* Members that are zero are left out, as qemu-img does. */
static void put_count(struct json_object *o, const char *key, uint64_t v)
{
	if (v)
		json_put_int(o, key, v);
}

static void print_json(struct checktext *t, const struct check_result *r,
		       const struct checktext_fixed *f)
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
	put_count(o, "moving-clusters", t->moving);
	put_count(o, "fragmented-clusters", r->fragmented_clusters);
	put_count(o, "compressed-clusters", r->compressed_clusters);
	json_put_text(o, "filename", t->image);
	json_put_text(o, "format", "qcow2");
	json_object_object_add(o, "problems", t->problems);
	put_count(o, "problems-omitted", t->omitted);
	json_print(o);
}

static double percent(uint64_t part, uint64_t of)
{
	return (double)part * 100.0 / (double)of;
}

static void print_human(const struct checktext *t,
			const struct check_result *r)
{
	if (t->omitted)
		printf("%" PRIu64 " more are not listed\n", t->omitted);
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
	if (t->moving)
		printf("%" PRIu64 " clusters were taken or freed meanwhile, and "
		       "not judged.\n", t->moving);
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

static void print_fixed(const struct checktext_fixed *f)
{
	if (f->corruptions || f->leaks)
		printf("The following inconsistencies were found and repaired:"
		       "\n\n    %" PRIu64 " leaked clusters\n    %" PRIu64
		       " corruptions\n\nDouble checked:\n", f->leaks,
		       f->corruptions);
	if (f->marks)
		puts("The image is no longer marked dirty or corrupt.");
}

void checktext_print(struct checktext *t, const struct check_result *r,
		     const struct checktext_fixed *f)
{
	const struct checktext_fixed nothing = { 0 };

	if (t->problems) {
		print_json(t, r, f ? f : &nothing);
	} else if (!t->quiet) {
		if (f)
			print_fixed(f);
		print_human(t, r);
	}
}
