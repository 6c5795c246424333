#include "cli/layer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/size.h"
#include "cli/cmd.h"
#include "cli/luksinfo.h"
#include "cli/snaptext.h"
#include "core/format/qcow2.h"

/* LABEL and a name that came from outside. */
static void print_name(const char *label, const char *name)
{
	size_t size = strlen(name) * 4 + 8;
	autofree char *buf = malloc(size);

	if (buf)
		printf("%s: %s\n", label,
		       err_escape(buf, size, name, strlen(name)));
}

static void print_bitmaps(const struct info *info)
{
	if (info->bitmaps.n)
		puts("    bitmaps:");
	for (size_t i = 0; i < info->bitmaps.n; i++) {
		const struct bitmap *b = &info->bitmaps.b[i];
		int flag = 0;

		printf("        [%zu]:\n            flags:\n", i);
		if (b->e.flags & BITMAPDIR_IN_USE)
			printf("                [%d]: in-use\n", flag++);
		if (b->e.flags & BITMAPDIR_AUTO)
			printf("                [%d]: auto\n", flag++);
		print_name("            name", bitmaplist_name(b));
		printf("            granularity: %llu\n",
		       1ULL << b->e.granularity_bits);
	}
}

static void print_specific(const struct info *i)
{
	const struct header *h = &i->header;

	puts("Format specific information:");
	printf("    compat: %s\n", h->version == 2 ? "0.10" : "1.1");
	printf("    compression type: %s\n", layer_compression(h->compression));
	if (h->version > 2)
		printf("    lazy refcounts: %s\n",
		       h->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS ? "true" :
								     "false");
	print_bitmaps(i);
	printf("    refcount bits: %u\n", i->geom.refcount_bits);
	if (i->data_file) {
		print_name("    data file", i->data_file);
		printf("    data file raw: %s\n",
		       h->autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW ? "true" :
								      "false");
	}
	luksinfo_print(i);
	if (h->version > 2)
		printf("    corrupt: %s\n    extended l2: %s\n",
		       h->incompatible & QCOW2_INCOMPAT_CORRUPT ? "true" :
								  "false",
		       h->incompatible & QCOW2_INCOMPAT_EXTL2 ? "true" :
								"false");
	for (size_t n = 0; n < i->n_unknown_ext; n++)
		printf("    unknown header extension: 0x%08" PRIx32 "\n",
		       i->unknown_ext[n]);
}

static void print_backing(const struct layer *l)
{
	const char *name = l->info.backing_name;
	autofree char *full = cmd_beside(l->path, name);
	char buf[4096];

	printf("backing file: %s", err_escape(buf, sizeof(buf), name,
					      strlen(name)));
	if (full && strcmp(full, name) && !cmd_is_url(name))
		printf(" (actual path: %s)",
		       err_escape(buf, sizeof(buf), full, strlen(full)));
	putchar('\n');
	if (l->info.backing_format)
		print_name("backing file format", l->info.backing_format);
}

static void print_qcow2(const struct layer *l)
{
	const struct header *h = &l->info.header;

	if (h->crypt_method)
		puts("encrypted: yes");
	printf("cluster_size: %" PRIu64 "\n", l->info.geom.cluster_size);
	if (h->incompatible & QCOW2_INCOMPAT_DIRTY)
		puts("cleanly shut down: no");
	if (l->info.backing_name)
		print_backing(l);
	snaptext_print(l->info.snapshots, h->nb_snapshots);
	print_specific(&l->info);
}

void layer_print(const struct layer *l)
{
	uint64_t size = l->raw ? l->st.size : l->info.geom.size;
	char text[SIZE_TEXT_MAX];

	print_name("image", l->path);
	printf("file format: %s\n", l->raw ? "raw" : "qcow2");
	printf("virtual size: %s (%" PRIu64 " bytes)\n",
	       size_format(text, size), size);
	printf("disk size: %s\n", size_format(text, l->st.blocks * 512));
	if (!l->raw)
		print_qcow2(l);
}
