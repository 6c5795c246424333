#include "core/image/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/log.h"
#include "base/secmem.h"
#include "base/utf8.h"
#include "core/codec/kdf.h"

#define CREDENTIAL "rawcow.key"
#define RANDOM_LEN 32U /* bytes, twice as many letters */
#define CTRL_C 3
#define CTRL_D 4
#define ERASE 127
#define ERASE_OLD 8

struct secret {
	size_t len;
	uint8_t bytes[SECRET_MAX + 1];
};

static int make(struct secret **out, struct err *err)
{
	*out = secmem_new(sizeof(**out));
	if (!*out)
		return err_set_sys(err, -ENOMEM, "cannot hold a passphrase");
	secmem_harden_process();
	return 0;
}

/* --- files --------------------------------------------------------------------- */

static int check_len(const struct secret *s, struct err *err)
{
	if (!s->len)
		return err_set(err, -EINVAL, "the passphrase is empty");
	if (s->len > SECRET_MAX)
		return err_set(err, -EINVAL,
			       "the passphrase has more than %d bytes",
			       SECRET_MAX);
	return 0;
}

static int fill(struct secret *s, int fd, struct err *err)
{
	ssize_t n = 1;

	while (n > 0 && s->len < sizeof(s->bytes)) {
		n = read(fd, s->bytes + s->len, sizeof(s->bytes) - s->len);
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n > 0)
			s->len += (size_t)n;
	}
	return n < 0 ? err_set_sys(err, -errno, "cannot read the passphrase")
		     : check_len(s, err);
}

int secret_from_fd(struct secret **out, int fd, struct err *err)
{
	struct secret *s;
	int r = make(&s, err);

	if (r == 0) {
		r = fill(s, fd, err);
		if (r < 0)
			secret_free(s);
		else
			*out = s;
	}
	close(fd);
	return r;
}

int secret_from_file(struct secret **out, const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW);
	struct stat st;
	int r;

	if (fd < 0 && errno == ELOOP)
		return err_set(err, -ELOOP,
			       "key file %s: it is a symbolic link; name the file itself",
			       path);
	if (fd < 0)
		return err_set_sys(err, -errno, "key file %s", path);
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_mode & 0044)
		log_line(LOG_LEVEL_WARN,
			 "key file %s can be read by others; chmod 600 would keep it yours",
			 path);
	r = secret_from_fd(out, fd, err);
	if (r < 0)
		err_wrap(err, "key file %s", path);
	return r;
}

int secret_from_credential(struct secret **out, struct err *err)
{
	const char *dir = getenv("CREDENTIALS_DIRECTORY");
	char path[4096];

	*out = NULL;
	if (!dir || *dir != '/')
		return 0;
	snprintf(path, sizeof(path), "%s/" CREDENTIAL, dir);
	if (access(path, F_OK) < 0)
		return 0;
	return secret_from_file(out, path, err);
}

/* --- terminal -------------------------------------------------------------------- */

bool secret_can_prompt(void)
{
	int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void put(int fd, const char *text)
{
	(void)!write(fd, text, strlen(text));
}

/* Letters up to the end of the line. The terminal hands them over one by one
 * and raises no signals, so that nothing leaves it without echo. */
static int read_line(struct secret *s, int fd)
{
	char c = 0;

	s->len = 0;
	while (s->len < SECRET_MAX) {
		ssize_t n = read(fd, &c, 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0 || c == CTRL_C || (c == CTRL_D && !s->len))
			return -ECANCELED;
		if (c == '\n' || c == '\r' || c == CTRL_D)
			break;
		if (c == ERASE || c == ERASE_OLD)
			s->len -= s->len > 0;
		else
			s->bytes[s->len++] = (uint8_t)c;
	}
	return 0;
}

static int ask(struct secret *s, int fd, const char *question)
{
	struct termios before, quiet;
	sigset_t all, mask;
	int r;

	if (tcgetattr(fd, &before) < 0)
		return -errno;
	quiet = before;
	quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &mask);
	put(fd, question);
	put(fd, ": ");
	r = tcsetattr(fd, TCSAFLUSH, &quiet) < 0 ? -errno : read_line(s, fd);
	(void)tcsetattr(fd, TCSAFLUSH, &before);
	put(fd, "\n");
	sigprocmask(SIG_SETMASK, &mask, NULL);
	return r;
}

static int ask_again(const struct secret *s, int fd, struct err *err)
{
	struct secret *again;
	int r = make(&again, err);

	if (r < 0)
		return r;
	r = ask(again, fd, "The same again");
	if (r < 0)
		err_set_sys(err, r, "cannot read the passphrase");
	else if (again->len != s->len ||
		 !kdf_equal(again->bytes, s->bytes, s->len))
		r = err_set(err, -EINVAL, "the two passphrases differ");
	secret_free(again);
	return r;
}

int secret_prompt(struct secret **out, const char *question, bool twice,
		  struct err *err)
{
	int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	struct secret *s = NULL;
	int r;

	if (fd < 0)
		return err_set(err, -ENOTTY,
			       "there is no terminal to ask for a passphrase");
	r = make(&s, err);
	if (r == 0) {
		r = ask(s, fd, question);
		if (r < 0)
			err_set_sys(err, r, "cannot read the passphrase");
	}
	if (r == 0)
		r = check_len(s, err);
	if (r == 0 && twice)
		r = ask_again(s, fd, err);
	if (r < 0)
		secret_free(s);
	else
		*out = s;
	close(fd);
	return r;
}

/* --- the rest ---------------------------------------------------------------------- */

int secret_random(struct secret **out, struct err *err)
{
	struct secret *s;
	uint8_t raw[RANDOM_LEN];
	int r = make(&s, err);

	if (r < 0)
		return r;
	r = kdf_random(raw, sizeof(raw));
	if (r < 0) {
		secret_free(s);
		return err_set_sys(err, r, "cannot make a key");
	}
	for (unsigned i = 0; i < RANDOM_LEN; i++)
		s->len += (size_t)snprintf((char *)s->bytes + s->len, 3, "%02x",
					   raw[i]);
	explicit_bzero(raw, sizeof(raw));
	*out = s;
	return 0;
}

int secret_strip(struct secret *s, struct err *err)
{
	if (s->len && s->bytes[s->len - 1] == '\n')
		s->bytes[--s->len] = 0;
	return check_len(s, err);
}

int secret_check_text(const struct secret *s, struct err *err)
{
	for (size_t i = 0, n; i < s->len; i += n) {
		n = utf8_char(s->bytes + i, s->len - i);
		if (!n || !s->bytes[i])
			return err_set(err, -EINVAL,
				       "the passphrase is not UTF-8 text, and QEMU could not open the image with it; use the output of 'base64 KEYFILE'");
	}
	return 0;
}

const void *secret_bytes(const struct secret *s)
{
	return s->bytes;
}

size_t secret_len(const struct secret *s)
{
	return s->len;
}

void secret_keep(struct secret *s)
{
	if (s)
		secmem_keep(s, sizeof(*s));
}

void secret_free(struct secret *s)
{
	secmem_free(s, sizeof(*s));
}
