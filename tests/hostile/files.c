/* Names of other files: nothing is opened that the policy does not allow, and
 * info and check open nothing at all. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hostile.h"

#define CL 65536ULL

struct name {
	const char *name, *format;
};

static const struct name names[] = {
	{"/etc/passwd", "raw"},
	{"../../../etc/passwd", "raw"},
	{"/proc/self/mem", "raw"},
	{"/dev/zero", "raw"},
	{"/dev/tty", "raw"},
	{"json:{\"driver\":\"raw\",\"file.filename\":\"/etc/passwd\"}", "raw"},
	{"nbd://localhost/x", "raw"},
	{"file:/etc/passwd", "raw"},
	{"fifo", "raw"},
	{"folder", "raw"},
	{"link", "raw"},
	{"image", "qcow2"},
	{"image", NULL},
	{"image", "vmdk"},
	{"none", "raw"},
	{"\033]0;owned\007\033[2J", "raw"},
	{"image", "\033[2J"},
	{"second", "qcow2"},
	{"small", "raw"},
	{"chain0", "qcow2"},
	{"bad", "qcow2"},
};

static void touch(const char *name, size_t bytes)
{
	int fd = open(name, O_CREAT | O_WRONLY | O_TRUNC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		abort();
	close(fd);
}

/* An image NAME with a backing file. */
static void overlay(const char *name, const char *backing)
{
	struct imgbuild_params p = {.cluster_bits = 16, .size = 1 << 20};
	struct err err = {""};
	struct imgbuild b;
	struct hostfile *f;

	if (hostfile_open(&f, AT_FDCWD, name, HOSTFILE_RDWR | HOSTFILE_CREATE,
			  &err) < 0)
		abort();
	imgbuild_init(&b, f, &p);
	imgbuild_backing(&b, backing, "qcow2");
	imgbuild_finish(&b);
	imgbuild_fini(&b);
	hostfile_close(f);
}

/* The files that the names above lead to. */
static void surroundings(void)
{
	char name[32], next[32];

	if (access("fifo", F_OK) == 0)
		return;
	if (mkfifo("fifo", 0600) < 0 || mkdir("folder", 0700) < 0 ||
	    symlink("/etc/passwd", "link") < 0)
		abort();
	touch("small", 1000);
	touch("bad", 5000);
	overlay("second", "image");
	for (unsigned i = 0; i < 70; i++) {
		snprintf(name, sizeof(name), "chain%u", i);
		snprintf(next, sizeof(next), "chain%u", i + 1);
		overlay(name, next);
	}
}

static void backing(struct bench *t)
{
	const struct name *n = &names[t->row->value];

	surroundings();
	hostile_start(t, NULL);
	imgbuild_backing(&t->b, n->name, n->format);
	hostile_finish(t);
}

/* An external data file by the incompatible bit, the extension, or both. */
static void data_file(struct bench *t)
{
	hostile_start(t, NULL);
	if (t->row->arg)
		imgbuild_ext(&t->b, 0x44415441, names[t->row->value].name,
			     (uint32_t)strlen(names[t->row->value].name));
	hostile_finish(t);
	imgbuild_header_set(&t->b, IMGBUILD_INCOMPAT, 4);
}

/* A guest's raw disk: it begins with a qcow2 header, but says it is raw. */
static void raw_probe(struct bench *t)
{
	surroundings();
	overlay("probe", "/etc/passwd");
	hostile_start(t, NULL);
	imgbuild_backing(&t->b, "probe", "raw");
	hostile_finish(t);
}

#define BACKING(n, i, e, txt)                                                  \
	{                                                                      \
		.name = n, .make = backing, .value = i, .want = {              \
			0,                                                     \
			0,                                                     \
			e,                                                     \
			0,                                                     \
			e,                                                     \
			0,                                                     \
			txt                                                    \
		}                                                              \
	}
#define DATA_FILE(n, i, x)                                                     \
	{                                                                      \
		.name = n, .make = data_file, .value = i, .arg = x, .want = {  \
			0,                                                     \
			SOME_ERROR,                                            \
			SOME_ERROR,                                            \
			0,                                                     \
			SOME_ERROR,                                            \
			0,                                                     \
			NULL                                                   \
		}                                                              \
	}

const struct row hostile_file_rows[] = {
	BACKING("backing /etc/passwd", 0, -EPERM, "backing=any"),
	BACKING("backing ../../../etc/passwd", 1, -EPERM, "backing=any"),
	BACKING("backing /proc/self/mem", 2, -EPERM, "backing=any"),
	BACKING("backing /dev/zero", 3, -EPERM, "backing=any"),
	BACKING("backing /dev/tty", 4, -EPERM, "backing=any"),
	BACKING("backing json:", 5, -EPERM, "plain path"),
	BACKING("backing nbd:", 6, -EPERM, "plain path"),
	BACKING("backing file:", 7, -EPERM, "plain path"),
	BACKING("backing FIFO", 8, -EMEDIUMTYPE, "FIFO"),
	BACKING("backing folder", 9, -EMEDIUMTYPE, "folder"),
	BACKING("backing symbolic link", 10, -EPERM, "backing=any"),
	BACKING("backing itself", 11, -ELOOP, "loops"),
	BACKING("backing without format", 12, -EINVAL, "format"),
	BACKING("backing format vmdk", 13, -ENOTSUP, "vmdk"),
	BACKING("backing that is not there", 14, -ENOENT, "none"),
	BACKING("backing name with escapes", 15, -ENOENT, "x1b"),
	BACKING("backing format with escapes", 16, -ENOTSUP, "x1b"),
	BACKING("backing loop of two", 17, -ELOOP, "loops"),
	BACKING("backing chain of 71", 19, -EMLINK, "64"),
	BACKING("backing that is no qcow2", 20, -EMEDIUMTYPE, "not a qcow2"),
	BACKING("backing smaller, unaligned", 18, 0, NULL),
	{.name = "raw backing with a qcow2 header",
	 .make = raw_probe,
	 .want = {0, 0, 0, 0, 0, 0, NULL}},
	DATA_FILE("data file without a name", 0, 0),
	DATA_FILE("data file /etc/passwd", 0, 1),
	DATA_FILE("data file json:", 5, 1),
	DATA_FILE("data file that is the image", 11, 1),
	{0},
};
