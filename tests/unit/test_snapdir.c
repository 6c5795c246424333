/*
 * test_snapdir: the table of names and inodes below snapshots/, over images
 * whose snapshots have names, ids and sizes that a program may not believe.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/admin/create.h"
#include "core/admin/snapshot.h"
#include "fuse/snapdir.h"
#include "lib/hostmem.h"
#include "suite.h"

#define SIZE (4ULL << 20)
#define DIR 3

static struct hostmem *mem;
static struct image *img;
static struct snapdir dir;
static unsigned char buf[64 << 10], want[64 << 10];

static void setup(void)
{
	struct create_opts c = { .size = SIZE };
	struct image_opts o = { .no_lock = true };
	struct hostfile *f;
	struct err err = { "" };

	mem = hostmem_new();
	ck_assert_int_eq(hostmem_open(&f, mem, true), 0);
	ck_assert_msg(create_image(f, &c, &err) == 0, "%s", err.text);
	ck_assert_msg(image_open_file(&img, f, &o, &err) == 0, "%s", err.text);
	snapdir_init(&dir);
	dir.img = img;
	dir.ino = DIR;
	dir.file_mode = 0400;
	dir.folder_mode = 0500;
}

static void finish(void)
{
	snapdir_end(&dir);
	snapdir_fini(&dir);
	ck_assert_int_eq(image_close(img), 0);
	hostmem_free(mem);
}

static void make(const char *name)
{
	struct err err = { "" };

	ck_assert_msg(snapshot_create(img, name, &err) == 0, "%s", err.text);
}

static fuse_ino_t look(const char *name)
{
	fuse_ino_t ino = 0;

	(void)snapdir_lookup(&dir, DIR, name, &ino);
	return ino;
}

/* All names, sorted as they come, separated by blanks. */
static const char *list(fuse_ino_t ino)
{
	static char all[4096];
	char name[SNAPNAME_MAX + 1];
	struct stat st;
	uint64_t pos = 0;
	size_t n = 0;

	all[0] = '\0';
	while (snapdir_entry(&dir, ino, &pos, name, &st) == 0)
		n += (size_t)snprintf(all + n, sizeof(all) - n, "%s ", name);
	return all;
}

static unsigned n_gone;
static char last_gone[SNAPNAME_MAX + 1];

static void gone(void *arg, const char *shown)
{
	ck_assert_ptr_eq(arg, &dir);
	n_gone++;
	snprintf(last_gone, sizeof(last_gone), "%s", shown);
}

static void refresh(void)
{
	n_gone = 0;
	ck_assert_int_eq(snapdir_refresh(&dir, gone, &dir), 0);
}

static void delete(const char *name)
{
	struct err err = { "" };

	ck_assert_msg(snapshot_delete(img, name, &err) == 0, "%s", err.text);
	refresh();
}

/* Names: the first of a name has it, the others have their ids. */
START_TEST(names)
{
	fuse_ino_t one, three;

	setup();
	ck_assert_str_eq(list(DIR), "");
	make("a");
	make("b");
	make("a");
	make("1");
	make("@1");
	refresh();
	ck_assert_str_eq(list(DIR), "a b @3 1 %401 ");
	one = look("a");
	three = look("@3");
	ck_assert_uint_ge(one, SNAPDIR_INO);
	ck_assert_uint_ne(one, three);
	ck_assert_str_eq(list(one), "disk.raw ");
	ck_assert_uint_eq(look("@6"), 0);
	ck_assert_uint_eq(look("c"), 0);
	/* the name does not pass on to another one before the next mount */
	delete("a");
	ck_assert_uint_eq(n_gone, 1);
	ck_assert_str_eq(last_gone, "a");
	ck_assert_str_eq(list(DIR), "b @3 1 %401 ");
	ck_assert_uint_eq(look("a"), 0);
	ck_assert_uint_eq(look("@1"), 0);
	ck_assert_uint_eq(look("@3"), three);
	ck_assert_str_eq(list(one), "");
	make("a");
	refresh();
	ck_assert_uint_eq(n_gone, 0);
	ck_assert_str_eq(list(DIR), "b @3 1 %401 a ");
	ck_assert_uint_gt(look("a"), three);
	finish();
}
END_TEST

START_TEST(links)
{
	char to[SNAPNAME_MAX + 1];
	struct snapshot snap = { 0 };
	struct stat st;

	setup();
	make("a/b");
	ck_assert_int_eq(snapdir_stat(&dir, look("@1"), &st), 0);
	ck_assert(S_ISLNK(st.st_mode));
	ck_assert_int_eq(snapdir_readlink(&dir, look("@1"), to), 0);
	ck_assert_str_eq(to, "a%2Fb");
	ck_assert_int_eq(snapdir_readlink(&dir, look("a%2Fb"), to), -EINVAL);
	ck_assert_int_eq(snapdir_find(&dir, "@1", &snap), -ENOTDIR);
	ck_assert_int_eq(snapdir_find(&dir, "x", &snap), -ENOENT);
	ck_assert_int_eq(snapdir_find(&dir, "a%2Fb", &snap), 0);
	ck_assert_str_eq(snap.id, "1");
	ck_assert_int_eq(snapshot_delete_this(img, &snap, NULL), 0);
	ck_assert_int_eq(snapshot_delete_this(img, &snap, NULL), -ENOENT);
	snaptable_fini(&snap);
	finish();
}
END_TEST

static fuse_ino_t disk_of(const char *name)
{
	fuse_ino_t ino = 0;

	ck_assert_int_eq(snapdir_lookup(&dir, look(name), "disk.raw", &ino),
			 0);
	return ino;
}

static void fill(unsigned char c)
{
	memset(want, c, sizeof(want));
	ck_assert_int_eq(image_write(img, want, sizeof(want), 1 << 20), 0);
}

static void expect(struct snapdir_file *f, unsigned char c)
{
	memset(want, c, sizeof(want));
	ck_assert_int_eq(snapdir_read(f, buf, sizeof(buf), 1 << 20), 0);
	ck_assert(!memcmp(buf, want, sizeof(buf)));
}

/* What is read, and what is held meanwhile. */
START_TEST(files)
{
	struct snapdir_file *f, *g;
	struct err err = { "" };
	struct stat st;

	setup();
	fill(1);
	make("one");
	fill(2);
	make("two");
	fill(3);
	ck_assert_int_eq(snapdir_stat(&dir, disk_of("one"), &st), 0);
	ck_assert_int_eq(st.st_size, SIZE);
	ck_assert_int_eq(st.st_blocks, 128);
	ck_assert_uint_eq(st.st_mode, S_IFREG | 0400);
	ck_assert_int_eq(snapdir_open(&dir, disk_of("one"), &f), 0);
	ck_assert_int_eq(snapdir_open(&dir, disk_of("two"), &g), 0);
	ck_assert_int_eq(snapdir_open(&dir, look("two"), &g), -EISDIR);
	expect(f, 1);
	expect(g, 2);
	ck_assert_int_eq(snapshot_delete(img, "one", &err), -EBUSY);
	ck_assert_ptr_nonnull(strstr(err.text, "in use"));
	/* the disk may change as it likes */
	ck_assert_int_eq(snapshot_apply(img, "two", &err), 0);
	fill(4);
	expect(f, 1);
	expect(g, 2);
	snapdir_close(f);
	delete("one");
	ck_assert_int_eq(snapdir_stat(&dir, SNAPDIR_INO, &st), -ENOENT);
	ck_assert_int_eq(snapdir_open(&dir, SNAPDIR_INO + 1, &f), -ENOENT);
	expect(g, 2);
	finish(); /* G is still open */
}
END_TEST

/* A view that only peeks does not stop a delete, but reads nothing after it. */
START_TEST(peek)
{
	struct snapshot key = { 0 };
	struct image *v, *w;
	struct image_extent e;
	struct err err = { "" };

	setup();
	fill(1);
	make("one");
	ck_assert_int_eq(snapdir_find(&dir, "one", &key), 0);
	ck_assert_int_eq(view_open(&v, img, &key, VIEW_PEEK, &err), 0);
	ck_assert_int_eq(image_read(v, buf, 1, 1 << 20), 0);
	ck_assert_int_eq(image_write(v, buf, 1, 1 << 20), -EROFS);
	ck_assert_int_eq(snapshot_delete(img, "one", &err), 0);
	fill(2);
	ck_assert_int_eq(image_read(v, buf, 1, 1 << 20), -ESTALE);
	ck_assert_int_eq(image_map(v, 0, SIZE, &e), -ESTALE);
	ck_assert_int_eq(view_open(&w, img, &key, VIEW_HOLD, &err), -ENOENT);
	view_close(v);
	snaptable_fini(&key);
	finish();
}
END_TEST

static atomic_bool stop, hush; /* end; open nothing more for now */

static atomic_uint reads;

static void *reader(void *arg)
{
	unsigned char mine[4096];

	(void)arg;
	while (!atomic_load(&stop)) {
		struct snapdir_file *f;
		struct stat st;
		fuse_ino_t ino;

		if (atomic_load(&hush) ||
		    snapdir_lookup(&dir, DIR, "s", &ino) < 0 ||
		    snapdir_lookup(&dir, ino, "disk.raw", &ino) < 0)
			continue;
		(void)snapdir_stat(&dir, ino, &st);
		if (snapdir_open(&dir, ino, &f) < 0)
			continue;
		ck_assert_int_eq(snapdir_read(f, mine, sizeof(mine), 1 << 20),
				 0);
		/* written before the snapshot was made, never changed */
		for (size_t i = 1; i < sizeof(mine); i++)
			ck_assert_uint_eq(mine[i], mine[0]);
		ck_assert_uint_ne(mine[0], 0);
		snapdir_close(f);
		atomic_fetch_add(&reads, 1);
	}
	return NULL;
}

/* Readers of snapshots, while those come and go and the disk is written. */
START_TEST(threads)
{
	pthread_t t[3];

	setup();
	atomic_store(&stop, false);
	for (int i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, reader, NULL);
	for (int round = 0; round < 60 || !atomic_load(&reads); round++) {
		struct err err = { "" };

		fill((unsigned char)(1 + round % 255));
		make("s");
		refresh();
		fill((unsigned char)(1 + (round + 7) % 255));
		if (snapshot_delete(img, "s", &err) == -EBUSY) {
			atomic_store(&hush, true);
			while (snapshot_delete(img, "s", &err) == -EBUSY)
				sched_yield();
			atomic_store(&hush, false);
		}
		refresh();
	}
	atomic_store(&stop, true);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	finish();
}
END_TEST

SUITE_MAIN("snapdir", names, links, files, peek, threads)
