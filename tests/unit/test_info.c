/*
 * test_info: the facts that info reads from images built field by field.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/format/qcow2.h"
#include "core/image/info.h"
#include "lib/hostfault.h"
#include "lib/hostmem.h"
#include "lib/imgbuild.h"
#include "suite.h"

static struct hostmem *mem;
static struct hostfile *file;

static void begin(struct imgbuild *b, unsigned version)
{
	struct imgbuild_params p = { .version = version, .cluster_bits = 12,
				     .refcount_order = 4, .size = 1 << 20 };

	mem = hostmem_new();
	ck_assert_int_eq(hostmem_open(&file, mem, true), 0);
	imgbuild_init(b, file, &p);
}

static void end(struct imgbuild *b)
{
	imgbuild_fini(b);
	hostfile_close(file);
	hostmem_free(mem);
}

START_TEST(plain)
{
	struct imgbuild b;
	struct info info;

	for (unsigned version = 2; version <= 3; version++) {
		begin(&b, version);
		imgbuild_finish(&b);
		ck_assert_int_eq(info_read(&info, file, NULL), 0);
		ck_assert_uint_eq(info.geom.version, version);
		ck_assert_uint_eq(info.geom.size, 1 << 20);
		ck_assert_uint_eq(info.file_size, hostmem_size(mem));
		ck_assert_ptr_null(info.backing_name);
		ck_assert_ptr_null(info.snapshots);
		ck_assert_uint_eq(info.n_unknown_ext, 0);
		info_fini(&info);
		end(&b);
	}
}
END_TEST

START_TEST(names_and_extensions)
{
	struct imgbuild b;
	struct info info;

	begin(&b, 3);
	imgbuild_ext(&b, 0x12345678, "hello", 5);
	imgbuild_backing(&b, "a\x1b[31mb", "raw");
	imgbuild_finish(&b);
	ck_assert_int_eq(info_read(&info, file, NULL), 0);
	ck_assert_str_eq(info.backing_name, "a\x1b[31mb");
	ck_assert_str_eq(info.backing_format, "raw");
	ck_assert_uint_eq(info.n_unknown_ext, 1);
	ck_assert_uint_eq(info.unknown_ext[0], 0x12345678);
	info_fini(&info);
	end(&b);
}
END_TEST

/* So many that the table is longer than one window of the reader. */
START_TEST(snapshots)
{
	char name[4096];
	struct imgbuild b;
	struct info info;

	begin(&b, 3);
	imgbuild_data(&b, 0, "x", 1);
	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	for (int i = 0; i < 150; i++) {
		name[0] = (char)('!' + i % 90);
		imgbuild_snapshot(&b, "7", name);
	}
	imgbuild_finish(&b);
	ck_assert_int_eq(info_read(&info, file, NULL), 0);
	ck_assert_uint_eq(info.header.nb_snapshots, 150);
	for (int i = 0; i < 150; i++) {
		ck_assert_str_eq(info.snapshots[i].id, "7");
		ck_assert_int_eq(info.snapshots[i].name[0], '!' + i % 90);
		ck_assert_uint_eq(strlen(info.snapshots[i].name), 4095);
	}
	info_fini(&info);
	imgbuild_header_set(&b, IMGBUILD_SNAPSHOTS, 60000);
	ck_assert_int_eq(info_read(&info, file, NULL), -EUCLEAN);
	end(&b);
}
END_TEST

START_TEST(broken)
{
	struct imgbuild b;
	struct info info;
	struct err err = { "" };

	begin(&b, 3);
	imgbuild_finish(&b);
	imgbuild_header_set(&b, IMGBUILD_MAGIC, 1);
	ck_assert_int_eq(info_read(&info, file, &err), -EMEDIUMTYPE);
	ck_assert_str_ne(err.text, "");
	ck_assert_ptr_null(info.backing_name);
	ck_assert_int_eq(hostmem_resize(mem, 0), 0);
	ck_assert_int_eq(info_read(&info, file, &err), -EMEDIUMTYPE);
	end(&b);
}
END_TEST

/* A bitmap directory of two records, the second with extra data; then one that
 * ends inside its second record. */
START_TEST(bitmaps)
{
	unsigned char ext[24] = { 0 };
	struct imgbuild b;
	struct info info;
	const struct bitmapdir_entry *e;
	uint64_t at, table;

	for (int cut = 0; cut < 2; cut++) {
		uint64_t second = 32;

		begin(&b, 3);
		at = imgbuild_alloc(&b, 1);
		table = imgbuild_alloc(&b, 1);
		imgbuild_poke(&b, at, 8, table);
		imgbuild_poke(&b, at + 8, 4, 1);
		imgbuild_poke(&b, at + 12, 4, 1);	 /* in use */
		imgbuild_poke(&b, at + 16, 1, 1);	 /* type */
		imgbuild_poke(&b, at + 17, 1, 16);	 /* granularity */
		imgbuild_poke(&b, at + 18, 2, 3);	 /* name length */
		imgbuild_poke(&b, at + 24, 3, 0x616263); /* abc */
		second += at;
		imgbuild_poke(&b, second, 8, table);
		imgbuild_poke(&b, second + 8, 4, 1);
		imgbuild_poke(&b, second + 12, 4, 2); /* automatic */
		imgbuild_poke(&b, second + 16, 1, 1);
		imgbuild_poke(&b, second + 17, 1, 9);
		imgbuild_poke(&b, second + 18, 2, 1);
		imgbuild_poke(&b, second + 20, 4, 8);
		imgbuild_poke(&b, second + 32, 1, 'z');
		ext[3] = 2;
		ext[15] = cut ? 32 + 39 : 32 + 40;
		for (int i = 0; i < 8; i++)
			ext[16 + i] = (unsigned char)(at >> (56 - 8 * i));
		imgbuild_ext(&b, 0x23852875, ext, sizeof(ext));
		imgbuild_ext(&b, 0x6803f857, "", 0); /* feature names */
		imgbuild_finish(&b);
		ck_assert_int_eq(info_read(&info, file, NULL), 0);
		ck_assert_uint_eq(info.bitmaps.n, 0); /* not said to be right */
		info_fini(&info);
		imgbuild_header_set(&b, IMGBUILD_AUTOCLEAR, 1);
		ck_assert_int_eq(info_read(&info, file, NULL), 0);
		ck_assert_uint_eq(info.bitmaps.n, cut ? 1 : 2);
		e = &info.bitmaps.b[0].e;
		ck_assert_str_eq(bitmaplist_name(&info.bitmaps.b[0]), "abc");
		ck_assert_uint_eq(e->flags, BITMAPDIR_IN_USE);
		ck_assert_uint_eq(e->granularity_bits, 16);
		if (!cut) {
			e = &info.bitmaps.b[1].e;
			ck_assert_str_eq(e->name, "z");
			ck_assert_uint_eq(e->flags, BITMAPDIR_AUTO);
			ck_assert_uint_eq(e->granularity_bits, 9);
			ck_assert_uint_eq(e->extra_len, 8);
		}
		info_fini(&info);
		end(&b);
	}
}
END_TEST

/* Any host call fails: an error with a text. */
START_TEST(host_errors)
{
	struct hostfault_rule rule = { HOSTFAULT_ALL, HOSTFAULT_ERROR, -EIO, 0,
				       1 };
	struct hostfault *fault = hostfault_new();
	struct hostfile *f, *inner;
	struct imgbuild b;
	struct info info;
	struct err err;
	int r = -1;

	begin(&b, 3);
	imgbuild_data(&b, 0, "x", 1);
	imgbuild_snapshot(&b, "1", "s");
	imgbuild_finish(&b);
	ck_assert_int_eq(hostmem_open(&inner, mem, false), 0);
	ck_assert_int_eq(hostfault_wrap(fault, &f, inner), 0);
	for (rule.skip = 0; r; rule.skip++) {
		hostfault_set(fault, &rule);
		err.text[0] = '\0';
		r = info_read(&info, f, &err);
		ck_assert(r == 0 || r == -EIO);
		ck_assert_int_eq(!r, !err.text[0]);
	}
	ck_assert_uint_ge(rule.skip, 3);
	info_fini(&info);
	hostfile_close(f);
	hostfault_free(fault);
	end(&b);
}
END_TEST

SUITE_MAIN("info", plain, names_and_extensions, snapshots, broken, bitmaps,
	   host_errors)
