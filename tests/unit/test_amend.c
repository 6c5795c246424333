/*
 * amend, rewidth, rebase, relayout: whatever call of the host fails, the image
 * is consistent, shows the same, and can be amended afterwards; what cannot be
 * is refused and changes nothing.
 */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "core/admin/amend.h"
#include "core/admin/rebase.h"
#include "core/image/info.h"
#include "imagefix.h"
#include "suite.h"

#define C 4096U
#define SIZE (64 * C)

static struct imagefix fx;

static void begin(unsigned version, uint64_t cluster_size)
{
	static unsigned char sevens[10 * C];
	const struct create_opts opts = { .size = SIZE, .version = version,
					  .cluster_size = cluster_size };
	struct image *img;

	imagefix_create(&fx, &opts);
	img = imagefix_open(&fx, false);
	memset(sevens, 7, sizeof(sevens));
	ck_assert_int_eq(image_write(img, sevens, sizeof(sevens), 3 * C), 0);
	ck_assert_int_eq(image_zero(img, 5 * C, 3 * C, true), 0);
	imagefix_take(&fx, img);
	ck_assert_int_eq(image_close(img), 0);
}

struct step {
	unsigned version; /* at the start */
	struct amend_opts amend;
	const char *name; /* rebase instead */
};

static int take(struct image *img, const struct step *s)
{
	return s->name ? rebase_image(img, s->name, "raw", &fx.err) :
			 amend_image(img, &s->amend, &fx.err);
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
		img = imagefix_open(&fx, true);
		hostfault_set(fx.fault, &rule);
		r = take(img, s);
		(void)!image_close(img);
		if (!hostfault_hits(fx.fault)) {
			ck_assert_msg(r == 0, "%s", fx.err.text);
			imagefix_look(&fx, false);
			imagefix_free(&fx);
			return;
		}
		imagefix_look(&fx, true);
		img = imagefix_open(&fx, false);
		ck_assert_msg(take(img, s) == 0, "%s", fx.err.text);
		ck_assert_int_eq(image_close(img), 0);
		imagefix_look(&fx, true);
		imagefix_free(&fx);
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
	struct hostmem *before = hostmem_clone(fx.mem);
	struct image *img = imagefix_open(&fx, false);

	ck_assert_int_eq(amend_image(img, &opts, &fx.err), want_error);
	ck_assert_msg(strstr(fx.err.text, text), "'%s'", fx.err.text);
	ck_assert_int_eq(image_close(img), 0);
	ck_assert(hostmem_equal(before, fx.mem));
	hostmem_free(before);
}

START_TEST(refusals)
{
	begin(3, C);
	refused((struct amend_opts){ .version = 2, .refcount_bits = 8 },
		-EINVAL, "16 bits");
	refused((struct amend_opts){ .version = 2, .lazy_refcounts = AMEND_ON },
		-EINVAL, "version 3");
	imagefix_free(&fx);
	begin(2, C);
	refused((struct amend_opts){ .refcount_bits = 1 }, -EINVAL, "16 bits");
	imagefix_free(&fx);
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
			struct image *img = imagefix_open(&fx, false);
			int r;

			memset(name, 'a' + (int)(n % 26), n);
			name[n] = '\0';
			r = rebase_image(img, name, n % 2 ? "raw" : "qcow2",
					 &fx.err);
			ck_assert_int_eq(image_close(img), 0);
			if (r < 0) {
				ck_assert_int_eq(r, -ENOSPC);
				break;
			}
			fits = n;
			ck_assert_int_eq(hostmem_open(&f, fx.mem, false), 0);
			ck_assert_int_eq(info_read(&info, f, &fx.err), 0);
			ck_assert_str_eq(info.backing_name, name);
			ck_assert_str_eq(info.backing_format,
					 n % 2 ? "raw" : "qcow2");
			info_fini(&info);
			hostfile_close(f);
		}
		ck_assert_uint_gt(fits, sizes[k / 2] == 512 ? 250 : 350);
		imagefix_look(&fx, false);
		imagefix_free(&fx);
	}
}
END_TEST

SUITE_MAIN("amend", host_fails, refusals, names)
