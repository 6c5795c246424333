/*
 * amend, rewidth, rebase, relayout: whatever call of the host fails, the image
 * is consistent, shows the same, and can be amended afterwards; what cannot be
 * is refused and changes nothing.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/admin/amend.h"
#include "core/admin/check.h"
#include "core/admin/create.h"
#include "core/admin/rebase.h"
#include "core/image/image.h"
#include "core/image/info.h"
#include "lib/hostfault.h"
#include "lib/hostmem.h"
#include "suite.h"

#define C 4096U
#define SIZE (64 * C)

static struct hostmem *mem;
static struct hostfault *fault;
static unsigned char want[SIZE], have[SIZE];
static struct err err;

static struct image *open_it(bool faulty)
{
	const struct image_opts opts = { .no_lock = true, .no_backing = true };
	struct hostfile *f;
	struct image *img;

	ck_assert_int_eq(hostmem_open(&f, mem, true), 0);
	if (faulty)
		ck_assert_int_eq(hostfault_wrap(fault, &f, f), 0);
	if (image_open_file(&img, f, &opts, &err) < 0) {
		hostfile_close(f);
		return NULL;
	}
	return img;
}

static void begin(unsigned version, uint64_t cluster_size)
{
	const struct create_opts opts = { .size = SIZE, .version = version,
					  .cluster_size = cluster_size };
	struct hostfile *f;
	struct image *img;

	mem = hostmem_new();
	fault = hostfault_new();
	ck_assert_int_eq(hostmem_open(&f, mem, true), 0);
	ck_assert_int_eq(create_image(f, &opts, &err), 0);
	hostfile_close(f);
	img = open_it(false);
	memset(have, 7, SIZE);
	ck_assert_int_eq(image_write(img, have, 10 * C, 3 * C), 0);
	ck_assert_int_eq(image_zero(img, 5 * C, 3 * C, true), 0);
	ck_assert_int_eq(image_read(img, want, SIZE, 0), 0);
	ck_assert_int_eq(image_close(img), 0);
}

static void end(void)
{
	hostmem_free(mem);
	hostfault_free(fault);
}

/* Consistent, leaks aside, and the same disk. */
static void look(bool leaks)
{
	const struct check_opts opts = { 0 };
	struct check_result res;
	struct hostfile *f;
	struct image *img;

	ck_assert_int_eq(hostmem_open(&f, mem, true), 0);
	ck_assert_int_eq(check_image(f, &opts, &res, &err), 0);
	hostfile_close(f);
	ck_assert_uint_eq(res.corruptions, 0);
	ck_assert(leaks || !res.leaks);
	img = open_it(false);
	ck_assert_msg(img != NULL, "%s", err.text);
	ck_assert_int_eq(image_read(img, have, SIZE, 0), 0);
	ck_assert(!memcmp(have, want, SIZE));
	ck_assert_int_eq(image_close(img), 0);
}

struct step {
	unsigned version; /* at the start */
	struct amend_opts amend;
	const char *name; /* rebase instead */
};

static int take(struct image *img, const struct step *s)
{
	return s->name ? rebase_image(img, s->name, "raw", &err) :
			 amend_image(img, &s->amend, &err);
}

static void fail_each(const struct step *s, uint64_t cluster_size, int error,
		      enum hostfault_kind kind)
{
	for (uint64_t n = 0;; n++) {
		const struct hostfault_rule rule = {
			.ops = HOSTFAULT_CHANGES | HOSTFAULT_SYNC,
			.kind = kind,
			.error = error,
			.skip = n,
			.repeat = HOSTFAULT_FOREVER,
		};
		struct image *img;
		int r;

		begin(s->version, cluster_size);
		img = open_it(true);
		hostfault_set(fault, &rule);
		r = take(img, s);
		(void)!image_close(img);
		if (!hostfault_hits(fault)) {
			ck_assert_msg(r == 0, "%s", err.text);
			look(false);
			end();
			return;
		}
		look(true);
		img = open_it(false);
		ck_assert_msg(take(img, s) == 0, "%s", err.text);
		ck_assert_int_eq(image_close(img), 0);
		look(true);
		end();
	}
}

START_TEST(host_fails)
{
	static const struct step steps[] = {
		{ 3, { .refcount_bits = 64 }, NULL },
		{ 3, { .refcount_bits = 1, .lazy_refcounts = AMEND_ON }, NULL },
		{ 3, { .version = 2 }, NULL },
		{ 2, { .version = 3, .refcount_bits = 8 }, NULL },
		{ 3, { 0 }, "a-name" },
		{ 2, { 0 }, "another/name" },
	};

	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		fail_each(&steps[i], C, -ENOSPC, HOSTFAULT_ERROR);
		fail_each(&steps[i], C, -EIO, HOSTFAULT_TORN);
		fail_each(&steps[i], 512, -EIO, HOSTFAULT_ERROR_LATE);
	}
}
END_TEST

static void refused(struct amend_opts opts, int want_error, const char *text)
{
	struct hostmem *before = hostmem_clone(mem);
	struct image *img = open_it(false);

	ck_assert_int_eq(amend_image(img, &opts, &err), want_error);
	ck_assert_msg(strstr(err.text, text), "'%s'", err.text);
	ck_assert_int_eq(image_close(img), 0);
	ck_assert(hostmem_equal(before, mem));
	hostmem_free(before);
}

START_TEST(refusals)
{
	begin(3, C);
	refused((struct amend_opts){ .version = 2, .refcount_bits = 8 },
		-EINVAL, "16 bits");
	refused((struct amend_opts){ .version = 2, .lazy_refcounts = AMEND_ON },
		-EINVAL, "version 3");
	end();
	begin(2, C);
	refused((struct amend_opts){ .refcount_bits = 1 }, -EINVAL, "16 bits");
	end();
}
END_TEST

/* Names of every length, one after the other: each can be read back, until the
 * cluster is full, and then the last one stays. */
START_TEST(names)
{
	static const uint64_t sizes[] = { 512, 1024, 4096 };
	char name[1100];
	struct info info;
	struct hostfile *f;

	for (unsigned k = 0; k < 6; k++) {
		size_t fits = 0;

		begin(2 + k % 2, sizes[k / 2]);
		for (size_t n = 1; n < 1023; n += n < 300 ? 7 : 61) {
			struct image *img = open_it(false);
			int r;

			memset(name, 'a' + (int)(n % 26), n);
			name[n] = '\0';
			r = rebase_image(img, name, n % 2 ? "raw" : "qcow2",
					 &err);
			ck_assert_int_eq(image_close(img), 0);
			if (r < 0) {
				ck_assert_int_eq(r, -ENOSPC);
				break;
			}
			fits = n;
			ck_assert_int_eq(hostmem_open(&f, mem, false), 0);
			ck_assert_int_eq(info_read(&info, f, &err), 0);
			ck_assert_str_eq(info.backing_name, name);
			ck_assert_str_eq(info.backing_format,
					 n % 2 ? "raw" : "qcow2");
			info_fini(&info);
			hostfile_close(f);
		}
		ck_assert_uint_gt(fits, sizes[k / 2] == 512 ? 250 : 350);
		look(false);
		end();
	}
}
END_TEST

SUITE_MAIN("amend", host_fails, refusals, names)
