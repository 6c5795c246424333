/*
 * hostlock: which bytes each role locks and tests, and who holds them.
 *
 * Threads: a hostfile's locks are taken at open and dropped at close, by one
 * thread; nothing here is shared. The locks belong to the open file, so other
 * hostfiles of this process conflict as those of another process do.
 */
#include "core/host/hostlock.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BYTE_USED 100
#define BYTE_UNSHARED 200
#define BITS 4

#define READ 1U
#define WRITE 2U
#define UNCHANGED 4U
#define RESIZE 8U

/* Bits of the permissions that a role uses, and of those it forbids others. */
struct role {
	unsigned used;
	unsigned unshared;
};

static const struct role roles[] = {
	[HOSTLOCK_IMAGE_RW] = { READ | WRITE | RESIZE, WRITE | RESIZE },
	[HOSTLOCK_IMAGE_RO] = { READ, WRITE | RESIZE },
	[HOSTLOCK_IMAGE_SHARED] = { READ, 0 },
	[HOSTLOCK_CREATE] = { WRITE | RESIZE, RESIZE },
	[HOSTLOCK_DATA_RW] = { READ | WRITE | RESIZE, RESIZE },
	[HOSTLOCK_DATA_RO] = { READ, RESIZE },
};

static const char *const bit_names[BITS] = {
	"consistent read",
	"write",
	"write unchanged",
	"resize",
};

static int lock_byte(struct hostfile *f, enum host_lock what, uint64_t byte)
{
	int ret;

	do {
		ret = f->ops->lock(f->ctx, what, byte);
	} while (ret == -EINTR);
	return ret;
}

/* --- who holds it ---------------------------------------------------------
 *
 * The kernel does not say whose an OFD lock is. /proc/PID/fdinfo/N has a line
 * for each lock of that open file:
 *	lock:	1: OFDLCK ADVISORY READ -1 08:01:1234 101 101
 * (device, inode, first byte, last byte or EOF). The device there is that of
 * the superblock, which on btrfs and overlayfs is not what stat says, so the
 * file is compared by stat of /proc/PID/fd/N. Best effort: another user's
 * processes cannot be read, other pid namespaces hide theirs.
 */

struct holder {
	struct host_stat file;
	uint64_t byte;
	long skip_pid;
	int skip_fd;
	long pid;
	char comm[64]; /* escaped */
};

static bool line_covers(const char *line, uint64_t byte)
{
	uint64_t first, end;
	char last[24];

	if (sscanf(line, "lock: %*d: %*s %*s %*s %*d %*s %" SCNu64 " %23s",
		   &first, last) != 2 ||
	    byte < first)
		return false;
	if (!strncmp(last, "EOF", 3))
		return true;
	return sscanf(last, "%" SCNu64, &end) == 1 && byte <= end;
}

static bool has_lock(const char *path, uint64_t byte)
{
	bool found = false;
	char line[256];
	FILE *f = fopen(path, "re");

	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f))
		found = line_covers(line, byte);
	fclose(f);
	return found;
}

static bool fd_holds(long pid, int fd, const struct holder *h)
{
	char path[64];
	struct stat st;

	if (pid == h->skip_pid && fd == h->skip_fd)
		return false;
	snprintf(path, sizeof(path), "/proc/%ld/fdinfo/%d", pid, fd);
	if (!has_lock(path, h->byte))
		return false;
	snprintf(path, sizeof(path), "/proc/%ld/fd/%d", pid, fd);
	return stat(path, &st) == 0 && st.st_dev == h->file.dev &&
	       st.st_ino == h->file.ino;
}

static bool process_holds(long pid, const struct holder *h)
{
	bool found = false;
	char path[64];
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%ld/fdinfo", pid);
	d = opendir(path);
	if (!d)
		return false;
	while (!found && (e = readdir(d))) {
		int fd;

		if (sscanf(e->d_name, "%d", &fd) == 1)
			found = fd_holds(pid, fd, h);
	}
	closedir(d);
	return found;
}

static void read_comm(struct holder *h)
{
	char path[64];
	char comm[16] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%ld/comm", h->pid);
	f = fopen(path, "re");
	if (f && fgets(comm, sizeof(comm), f))
		comm[strcspn(comm, "\n")] = '\0';
	if (f)
		fclose(f);
	err_escape(h->comm, sizeof(h->comm), comm[0] ? comm : "?",
		   comm[0] ? strlen(comm) : 1);
}

static bool find_process(struct holder *h)
{
	struct dirent *e;
	DIR *d = opendir("/proc");

	if (!d)
		return false;
	while (!h->pid && (e = readdir(d))) {
		long pid;

		if (!isdigit((unsigned char)e->d_name[0]) ||
		    sscanf(e->d_name, "%ld", &pid) != 1)
			continue;
		if (process_holds(pid, h))
			h->pid = pid;
	}
	closedir(d);
	if (h->pid)
		read_comm(h);
	return h->pid != 0;
}

static bool find_holder(struct hostfile *f, uint64_t byte, struct holder *h)
{
	*h = (struct holder){
		.byte = byte,
		.skip_pid = getpid(),
		.skip_fd = hostfile_fd(f),
	};
	if (hostfile_fd(f) < 0 || hostfile_stat(f, &h->file) < 0)
		return false;
	return find_process(h);
}

/* What the other one does when it holds BYTE. */
static int explain(struct hostfile *f, uint64_t byte, struct err *err)
{
	bool unshared = byte >= BYTE_UNSHARED;
	const char *bit = bit_names[(byte - BYTE_USED) % BITS];
	char who[128] = "another process";
	struct holder h;

	if (!err)
		return -EAGAIN;
	if (find_holder(f, byte, &h))
		snprintf(who, sizeof(who), "process %ld (%s)", h.pid, h.comm);
	return err_set(err, -EAGAIN,
		       unshared ? "it is in use: %s does not share the \"%s\" "
				  "lock; stop it first"
				: "it is in use: %s holds the \"%s\" lock; stop "
				  "it first",
		       who, bit);
}

/* --- taking and dropping --------------------------------------------------*/

static int take_group(struct hostfile *f, unsigned bits, uint64_t base,
		      uint64_t *failed)
{
	for (unsigned i = 0; i < BITS; i++) {
		int ret = 0;

		*failed = base + i;
		if (bits & (1U << i))
			ret = lock_byte(f, HOST_LOCK_SHARED, base + i);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int test_group(struct hostfile *f, unsigned bits, uint64_t base,
		      uint64_t *failed)
{
	for (unsigned i = 0; i < BITS; i++) {
		int ret = 0;

		*failed = base + i;
		if (bits & (1U << i))
			ret = lock_byte(f, HOST_LOCK_TEST, base + i);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int hostlock_take(struct hostfile *f, enum hostlock_role role, struct err *err)
{
	const struct role *r = &roles[role];
	uint64_t byte;
	int ret;

	ret = take_group(f, r->used, BYTE_USED, &byte);
	if (ret == 0)
		ret = take_group(f, r->unshared, BYTE_UNSHARED, &byte);
	if (ret == 0)
		ret = test_group(f, r->used, BYTE_UNSHARED, &byte);
	if (ret == 0)
		ret = test_group(f, r->unshared, BYTE_USED, &byte);
	if (ret == 0)
		return 0;
	hostlock_drop(f, role);
	if (ret == -EAGAIN)
		return explain(f, byte, err);
	return err_set_sys(err, ret, "cannot lock '%s'", f->name);
}

static void drop_group(struct hostfile *f, unsigned bits, uint64_t base)
{
	for (unsigned i = 0; i < BITS; i++) {
		if (bits & (1U << i))
			(void)lock_byte(f, HOST_LOCK_UNLOCK, base + i);
	}
}

void hostlock_drop(struct hostfile *f, enum hostlock_role role)
{
	drop_group(f, roles[role].used, BYTE_USED);
	drop_group(f, roles[role].unshared, BYTE_UNSHARED);
}
