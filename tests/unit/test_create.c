/*
 * test_create: over all options, what create makes is clean, maps what it
 * says, and appears last: no prefix of its writes is an image.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/admin/check.h"
#include "core/admin/create.h"
#include "core/format/qcow2.h"
#include "core/image/info.h"
#include "lib/hostfault.h"
#include "lib/hostmem.h"
#include "suite.h"

static void print_problem(void *arg, const struct problem *p)
{
	(void)arg;
	fprintf(stderr, "%s: %s\n", problem_name(p->code), p->text);
}

static const struct check_opts loud = { .report = print_problem };

static int make(struct hostmem *m, const struct create_opts *o,
		struct err *err)
{
	struct hostfile *f;
	int ret;

	ck_assert_int_eq(hostmem_open(&f, m, true), 0);
	ret = create_image(f, o, err);
	hostfile_close(f);
	return ret;
}

static void must_be_clean(struct hostmem *m, struct check_result *res)
{
	struct hostfile *f;
	struct err err = { "" };

	ck_assert_int_eq(hostmem_open(&f, m, false), 0);
	ck_assert_msg(!check_image(f, &loud, res, &err), "%s", err.text);
	ck_assert_uint_eq(res->corruptions, 0);
	ck_assert_uint_eq(res->leaks, 0);
	ck_assert_uint_eq(res->check_errors, 0);
	ck_assert_uint_eq(res->image_end_offset, hostmem_size(m));
	hostfile_close(f);
}

static void one(const struct create_opts *o)
{
	struct hostmem *m = hostmem_new();
	struct check_result res;
	struct info info;
	struct hostfile *f;
	struct err err = { "" };

	ck_assert_msg(!make(m, o, &err), "%s", err.text);
	must_be_clean(m, &res);
	ck_assert_uint_eq(res.allocated_clusters,
			  o->prealloc == CREATE_PREALLOC_OFF ?
				  0 : res.total_clusters);
	ck_assert_uint_eq(res.fragmented_clusters, 0);
	ck_assert_int_eq(hostmem_open(&f, m, false), 0);
	ck_assert_msg(!info_read(&info, f, &err), "%s", err.text);
	ck_assert_uint_eq(info.geom.size, (o->size + 511) / 512 * 512);
	ck_assert_uint_eq(info.geom.version, o->version);
	ck_assert_uint_eq(info.geom.refcount_bits, o->refcount_bits);
	ck_assert_uint_eq(info.geom.cluster_size, o->cluster_size);
	ck_assert_uint_eq(info.header.header_len, o->version == 2 ? 72 : 112);
	info_fini(&info);
	hostfile_close(f);
	hostmem_free(m);
}

START_TEST(matrix)
{
	static const uint64_t sizes[] = { 0, 1, 512, 65536, 1000000, 5 << 20 };
	unsigned step = suite_scale_is("small") ? 3 : 1;

	for (unsigned bits = 9; bits <= 21; bits += step)
		for (unsigned order = 0; order <= 6; order++)
			for (size_t s = 0; s < 6; s++)
				for (int p = 0; p < 4; p++) {
					struct create_opts o = {
						.size = sizes[s],
						.version = 3,
						.cluster_size = 1ULL << bits,
						.refcount_bits = 1U << order,
						.prealloc = p,
					};

					if (s == 5 && p > 1)
						continue;
					one(&o);
					o.version = 2;
					if (order == 4)
						one(&o);
				}
}
END_TEST

static uint64_t last_permille;

static void on_progress(void *arg, unsigned permille)
{
	(void)arg;
	ck_assert_uint_le(permille, 1000);
	ck_assert_uint_ge(permille, last_permille);
	last_permille = permille;
}

/* More than one chunk of every table. */
START_TEST(large)
{
	struct create_opts o = { .size = 1ULL << 30, .version = 3,
				 .cluster_size = 512, .refcount_bits = 64,
				 .prealloc = CREATE_PREALLOC_METADATA,
				 .progress = on_progress };
	last_permille = 0;
	one(&o);
	ck_assert_uint_eq(last_permille, 1000);
}
END_TEST

START_TEST(defaults)
{
	struct create_opts o = { .size = 1 << 20 };
	struct hostmem *m = hostmem_new();
	struct hostfile *f;
	struct info info;

	ck_assert_int_eq(make(m, &o, NULL), 0);
	ck_assert_int_eq(hostmem_open(&f, m, false), 0);
	ck_assert_int_eq(info_read(&info, f, NULL), 0);
	ck_assert_uint_eq(info.geom.version, 3);
	ck_assert_uint_eq(info.geom.cluster_size, 65536);
	ck_assert_uint_eq(info.geom.refcount_bits, 16);
	ck_assert_uint_eq(hostmem_count(m, HOSTMEM_SYNC), 2);
	info_fini(&info);
	hostfile_close(f);
	hostmem_free(m);
}
END_TEST

/* Whatever change fails, or is torn: the file is no image, until the last
 * write of all. */
START_TEST(no_prefix_is_an_image)
{
	struct create_opts o = { .size = 1 << 20, .version = 3,
				 .cluster_size = 4096, .refcount_bits = 16,
				 .prealloc = CREATE_PREALLOC_METADATA };
	struct hostfault_rule rule = { .ops = HOSTFAULT_CHANGES |
					      HOSTFAULT_SYNC,
				       .kind = HOSTFAULT_TORN, .error = -EIO,
				       .repeat = HOSTFAULT_FOREVER };
	struct hostfault *h = hostfault_new();
	uint64_t calls = 0;

	for (rule.skip = 0; rule.skip == 0 || calls > rule.skip; rule.skip++) {
		struct hostmem *m = hostmem_new();
		struct hostfile *inner, *f;
		struct info info;
		struct err err = { "" };

		ck_assert_int_eq(hostmem_open(&inner, m, true), 0);
		ck_assert_int_eq(hostfault_wrap(h, &f, inner), 0);
		hostfault_set(h, &rule);
		if (!create_image(f, &o, &err)) {
			ck_assert_uint_eq(hostfault_hits(h), 0);
			calls = 0;
		} else {
			calls = rule.skip + 2;
			ck_assert_str_ne(err.text, "");
		}
		hostfault_set(h, NULL);
		/* the last change is the header; only its sync follows */
		if (!hostmem_count(m, HOSTMEM_SYNC))
			ck_assert_int_eq(info_read(&info, f, NULL),
					 -EMEDIUMTYPE);
		hostfile_close(f);
		hostmem_free(m);
	}
	ck_assert_uint_gt(rule.skip, 8);
	hostfault_free(h);
}
END_TEST

START_TEST(backing)
{
	static const uint64_t clusters[] = { 512, 4096, 1 << 21 };
	char name[1024];

	memset(name, 'n', sizeof(name));
	for (unsigned i = 0; i < 6; i++) {
		struct create_opts o = { .size = 1 << 20, .version = 2 + i % 2,
					 .cluster_size = clusters[i / 2],
					 .refcount_bits = 16,
					 .backing_file = name,
					 .backing_format = "qcow2",
					 .lazy_refcounts = i % 2 };
		struct hostmem *m = hostmem_new();
		struct check_result res;
		struct hostfile *f;
		struct info info;
		struct err err = { "" };

		name[i < 2 ? 200 : 1023] = '\0';
		ck_assert_msg(!make(m, &o, &err), "%s", err.text);
		must_be_clean(m, &res);
		ck_assert_int_eq(hostmem_open(&f, m, false), 0);
		ck_assert_int_eq(info_read(&info, f, NULL), 0);
		ck_assert_str_eq(info.backing_name, name);
		ck_assert_str_eq(info.backing_format, "qcow2");
		ck_assert_uint_eq(info.header.compatible,
				  i % 2 ? QCOW2_COMPAT_LAZY_REFCOUNTS : 0);
		info_fini(&info);
		hostfile_close(f);
		hostmem_free(m);
		name[i < 2 ? 200 : 1023] = 'n';
	}
}
END_TEST

START_TEST(refusals)
{
	static char long_name[600];
	const struct {
		struct create_opts o;
		int want;
		const char *says;
	} bad[] = {
		{ { .version = 4 }, -EINVAL, "version" },
		{ { .cluster_size = 256 }, -EINVAL, "512 to 2M" },
		{ { .cluster_size = 4 << 20 }, -EINVAL, "512 to 2M" },
		{ { .cluster_size = 5000 }, -EINVAL, "power of two" },
		{ { .refcount_bits = 3 }, -EINVAL, "refcount_bits" },
		{ { .refcount_bits = 128 }, -EINVAL, "refcount_bits" },
		{ { .version = 2, .refcount_bits = 8 }, -EINVAL, "compat=1.1" },
		{ { .version = 2, .lazy_refcounts = true }, -EINVAL,
		  "compat=1.1" },
		{ { .version = 2, .compression = 1 }, -EINVAL, "compat=1.1" },
		{ { .compression = 7 }, -EINVAL, "compression" },
		{ { .backing_file = "x" }, -EINVAL, "format" },
		{ { .backing_format = "raw" }, -EINVAL, "backing" },
		{ { .backing_file = "x", .backing_format = "vmdk" }, -EINVAL,
		  "vmdk" },
		{ { .backing_file = "", .backing_format = "raw" }, -EINVAL,
		  "name" },
		{ { .backing_file = "x", .backing_format = "raw",
		    .prealloc = CREATE_PREALLOC_FULL }, -EINVAL,
		  "preallocation" },
		{ { .backing_file = long_name, .backing_format = "raw",
		    .cluster_size = 512 }, -EINVAL, "cluster" },
		{ { .size = UINT64_MAX }, -EFBIG, "too big" },
		{ { .size = 1ULL << 40, .cluster_size = 512 }, -EFBIG,
		  "cluster_size=2048" },
		{ { .size = 1ULL << 62 }, -EFBIG, "2 EiB" },
		{ { .size = 3ULL << 59, .extended_l2 = true }, -EFBIG,
		  "1 EiB with" },
		{ { .size = 1ULL << 50, .refcount_bits = 64,
		    .prealloc = CREATE_PREALLOC_METADATA }, -EFBIG,
		  "refcount table" },
	};

	memset(long_name, 'n', sizeof(long_name) - 1);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct hostmem *m = hostmem_new();
		struct err err = { "" };

		ck_assert_msg(make(m, &bad[i].o, &err) == bad[i].want,
			      "%zu: %s", i, err.text);
		ck_assert_msg(strstr(err.text, bad[i].says), "%zu: %s", i,
			      err.text);
		ck_assert_uint_eq(hostmem_size(m), 0);
		hostmem_free(m);
	}
}
END_TEST

SUITE_MAIN("create", matrix, large, defaults, no_prefix_is_an_image, backing,
	   refusals)
