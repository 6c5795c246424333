/*
 * cmd_info: rawcow info. Opens IMAGE and, unless --backing-chain asks for it,
 * nothing that IMAGE names.
 */
#include "cli/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "cli/args.h"
#include "cli/json.h"
#include "cli/layer.h"
#include "cli/mounted.h"
#include "core/format/qcow2.h"

struct info_args {
	const char *image;
	bool json, shared, chain;
};

int cmd_info_text(struct image *img, const struct ctl_status *st, FILE *out)
{
	struct layer l = { .path = strdup(image_file(img)->name) };
	struct err err = { "" };
	int ret = l.path ? hostfile_stat(image_file(img), &l.st) : -ENOMEM;

	(void)st;
	if (!ret)
		ret = info_of(&l.info, img, &err);
	if (!ret && json_write(layer_json(&l), out))
		ret = -EIO;
	layer_fini(&l);
	if (ret)
		log_limited(LOG_LEVEL_ERROR, "info.json: %s",
			    *err.text ? err.text : strerror(-ret));
	return ret;
}

/* Set NEXT to the file behind L. 0, 1 when there is none, -errno. */
static int chain_next(const struct layer *l, struct layer *next,
		      struct err *err)
{
	const char *name = l->raw ? NULL : l->info.backing_name;
	const char *format = l->info.backing_format;
	char shown[512];

	*next = (struct layer){ 0 };
	if (!name)
		return 1;
	err_escape(shown, sizeof(shown), l->path, strlen(l->path));
	if (cmd_is_url(name))
		return err_set(err, -ENOTSUP, "%s: its backing file is no "
			       "plain path; leave out --backing-chain", shown);
	if (!format || (strcmp(format, "raw") && strcmp(format, "qcow2")))
		return err_set(err, -ENOTSUP, "%s: the format of its backing "
			       "file is not recorded, or is neither raw nor "
			       "qcow2; set it with rawcow rebase -u", shown);
	next->raw = !strcmp(format, "raw");
	next->path = cmd_beside(l->path, name);
	return next->path ? 0 : err_set(err, -ENOMEM, "no memory for a name");
}

static bool seen_before(const struct layer *all, size_t n)
{
	for (size_t i = 0; i + 1 < n; i++)
		if (all[i].st.dev == all[n - 1].st.dev &&
		    all[i].st.ino == all[n - 1].st.ino)
			return true;
	return false;
}

/* Fill ALL (QCOW2_MAX_CHAIN + 1 of them) and *N; N of them need layer_fini(). */
static int read_all(const struct info_args *a, struct layer *all, size_t *n,
		    struct err *err)
{
	int ret;

	all[0].path = strdup(a->image);
	if (!all[0].path)
		return err_set(err, -ENOMEM, "no memory for a name");
	*n = 1;
	for (;;) {
		ret = layer_read(&all[*n - 1], a->shared, err);
		if (ret || !a->chain)
			return ret;
		if (seen_before(all, *n))
			return err_set(err, -ELOOP, "the backing chain comes "
				       "back to a file that is in it already");
		ret = chain_next(&all[*n - 1], &all[*n], err);
		if (ret)
			return ret < 0 ? ret : 0;
		if (++*n > QCOW2_MAX_CHAIN)
			return err_set(err, -ELOOP, "the backing chain has "
				       "more than %u files", QCOW2_MAX_CHAIN);
	}
}

static void print_all(const struct info_args *a, const struct layer *all,
		      size_t n)
{
	struct json_object *array;

	if (a->json && !a->chain) {
		json_print(layer_json(&all[0]));
		return;
	}
	if (a->json) {
		array = json_object_new_array();
		for (size_t i = 0; i < n; i++)
			json_object_array_add(array, layer_json(&all[i]));
		json_print(array);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		if (i)
			putchar('\n');
		layer_print(&all[i]);
	}
}

#define AT(f) offsetof(struct info_args, f)

static const struct args_opt options[] = {
	ARGS_OUTPUT(AT(json)),
	{ 0, "backing-chain", NULL, args_flag, AT(chain),
	  "the backing files too" },
	{ 'U', "force-share", NULL, args_flag, AT(shared),
	  "also while another program writes IMAGE" },
	ARGS_FORMAT,
	ARGS_END
};

static const struct args_spec spec = {
	.usage = "info [OPTION...] IMAGE",
	.what = "Say what IMAGE is. Opens no other file, whatever IMAGE names.",
	.opts = options,
	.min_words = 1,
	.max_words = 1,
	.wants = "one image",
	.words = { AT(image) },
};

int cmd_info(int argc, char **argv)
{
	/* one more, for the name behind the last */
	autofree struct layer *all = mem_array(QCOW2_MAX_CHAIN + 1,
					       sizeof(*all));
	struct info_args a = { 0 };
	struct err err = { "" };
	size_t n = 0;
	int ret;

	if (!cmd_parse(&spec, &a, argc, argv, &ret))
		return ret;
	if (!all) {
		err_set(&err, -ENOMEM, "no memory for a chain");
		return cmd_fail(NULL, &err);
	}
	ret = read_all(&a, all, &n, &err);
	if (!ret)
		print_all(&a, all, n);
	else
		ret = n == 1 ? mounted_fail(a.image, &err) :
			       cmd_fail(NULL, &err);
	for (size_t i = 0; i < n; i++)
		layer_fini(&all[i]);
	return ret;
}
