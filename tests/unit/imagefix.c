#include "imagefix.h"

#include <check.h>
#include <string.h>

#include "core/admin/check.h"

void imagefix_create(struct imagefix *fx, const struct create_opts *opts)
{
	struct hostfile *f;

	ck_assert_uint_le(opts->size, IMAGEFIX_MAX);
	fx->size = opts->size;
	fx->mem = hostmem_new();
	fx->fault = hostfault_new();
	ck_assert_int_eq(hostmem_open(&f, fx->mem, true), 0);
	ck_assert_msg(create_image(f, opts, &fx->err) == 0, "%s",
		      fx->err.text);
	hostfile_close(f);
}

void imagefix_free(struct imagefix *fx)
{
	hostmem_free(fx->mem);
	hostfault_free(fx->fault);
}

struct image *imagefix_open(struct imagefix *fx, bool faulty)
{
	const struct image_opts opts = { .no_lock = true, .no_backing = true };
	struct hostfile *f;
	struct image *img;

	ck_assert_int_eq(hostmem_open(&f, fx->mem, true), 0);
	if (faulty)
		ck_assert_int_eq(hostfault_wrap(fx->fault, &f, f), 0);
	if (image_open_file(&img, f, &opts, &fx->err) == 0)
		return img;
	hostfile_close(f);
	return NULL;
}

void imagefix_take(struct imagefix *fx, struct image *img)
{
	ck_assert_int_eq(image_read(img, fx->want, fx->size, 0), 0);
}

bool imagefix_shows(struct imagefix *fx, struct image *img)
{
	static unsigned char have[IMAGEFIX_MAX];

	ck_assert_int_eq(image_read(img, have, fx->size, 0), 0);
	return !memcmp(have, fx->want, fx->size);
}

void imagefix_look(struct imagefix *fx, bool leaks)
{
	const struct check_opts opts = { 0 };
	struct check_result res;
	struct hostfile *f;
	struct image *img;

	ck_assert_int_eq(hostmem_open(&f, fx->mem, true), 0);
	ck_assert_int_eq(check_image(f, &opts, &res, &fx->err), 0);
	hostfile_close(f);
	ck_assert_uint_eq(res.corruptions, 0);
	ck_assert(leaks || !res.leaks);
	img = imagefix_open(fx, false);
	ck_assert_msg(img != NULL, "%s", fx->err.text);
	ck_assert(imagefix_shows(fx, img));
	ck_assert_int_eq(image_close(img), 0);
}
