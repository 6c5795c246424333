/*
 * The order of things. Up: fork - image - kernel mount - threads - loop -
 * (own thread) prime - announce. Down: stop taking requests - commit - unmount
 * - own thread ends - close the image - say so - exit.
 *
 * SIGTERM, SIGINT and SIGHUP are blocked in every thread and taken by one that
 * waits for them; so a second signal finds nobody to interrupt. It makes the
 * kernel send what its cache holds, then ends the loop.
 */
#include "fuse/session.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "core/admin/repair.h"
#include "fuse/mountpoint.h"
#include "fuse/ops.h"
#include "fuse/ready.h"
#include "fuse/overlay.h"
#include "fuse/reply.h"

#define WAKE_INTERVAL_NS 20000000L

struct session {
	struct opts *o;
	struct ops_server server;
	char *disk_path;
	struct fuse_session *se;
	struct ready ready;
	enum node_layout layout;
	pthread_t main_thread, signal_thread;
	bool mounted, own_started, signals_started;
	atomic_bool loop_ended;
	atomic_int startup_rc; /* of what the own thread did before ready */
};

/* libfuse's last complaint; written while there is one thread. */
static char complaint[260];
static atomic_bool serving;

static void fuse_log_func(enum fuse_log_level level, const char *fmt,
			  va_list ap) __attribute__((format(printf, 2, 0)));

static void fuse_log_func(enum fuse_log_level level, const char *fmt,
			  va_list ap)
{
	char line[256];

	vsnprintf(line, sizeof(line), fmt, ap);
	line[strcspn(line, "\n")] = '\0';
	if (level == FUSE_LOG_DEBUG)
		fprintf(stderr, "%s\n", line);
	else if (atomic_load(&serving))
		log_limited(LOG_LEVEL_WARN, "%s", line);
	else
		snprintf(complaint, sizeof(complaint), ": %s", line);
}

static void print_error(const struct err *err)
{
	fprintf(stderr, "rawcow: %s\n", err->text);
}

static void end_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGUSR2); /* our own: the loop has ended */
}

static void block_signals(void)
{
	sigset_t set;

	end_signals(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

/* --- image ---------------------------------------------------------------- */

/* The key is found by now: what changes the image is not cut off. */
static int recover_unhurried(struct hostfile *file, struct err *err)
{
	block_signals();
	return repair_recover(file, err);
}

static int open_image(struct session *s, struct err *err)
{
	int rc;

	if (!s->o->norecovery)
		s->o->img.recover = recover_unhurried;

	/* Finding the key may take long: until then a signal just ends it. */
	if (s->o->cow)
		block_signals();
	rc = s->o->cow ? overlay_open(&s->server.img, s->o, err) :
			 image_open(&s->server.img, s->o->image, &s->o->img,
				    err);
	block_signals();
	keys_fini(&s->o->keys);
	s->o->img.key = s->o->img.backing_key = NULL;
	if (rc)
		return rc;
	if (image_readonly_reason(s->server.img))
		log_line(LOG_LEVEL_WARN, "%s is read-only: %s", s->o->image,
			 image_readonly_reason(s->server.img));
	s->server.readonly = image_readonly(s->server.img);
	s->server.growable = s->o->growable;
	s->server.shrinkable = s->o->shrinkable;
	return 0;
}

static void set_cache_mode(struct ops_server *v, enum opts_cache mode)
{
	bool through = mode == OPTS_CACHE_WRITETHROUGH ||
		       mode == OPTS_CACHE_DIRECTSYNC;

	v->direct_io = mode == OPTS_CACHE_NONE || mode == OPTS_CACHE_DIRECTSYNC;
	v->flush_each_write = through;
	v->writeback = !through && !v->direct_io && !v->readonly;
}

static void set_nodes(struct session *s)
{
	struct ops_server *v = &s->server;
	mode_t mask = s->o->has_umask ? s->o->umask : 0077;
	struct node_owner owner = { .uid = s->o->uid, .gid = s->o->gid };

	if (v->readonly)
		mask |= 0222;
	owner.file_mode = 0666 & ~mask;
	owner.folder_mode = 0777 & ~mask;
	node_table_init(&v->nodes, s->layout, &owner, image_mtime_ns(v->img));
	for (unsigned i = 0; v->texts[i].name; i++)
		node_add_text(&v->nodes, i, v->texts[i].name, &owner,
			      image_mtime_ns(v->img));
	v->snaps.img = v->bitmaps.img = v->img;
	v->snaps.ino = v->nodes.snapshots;
	v->bitmaps.ino = v->nodes.bitmaps;
	v->snaps.uid = v->bitmaps.uid = owner.uid;
	v->snaps.gid = v->bitmaps.gid = owner.gid;
	v->snaps.file_mode = v->bitmaps.file_mode = owner.file_mode & ~0222U;
	v->snaps.folder_mode = owner.folder_mode & ~0222U;
}

/* --- kernel mount --------------------------------------------------------- */

static bool user_may_allow_other(void)
{
	FILE *f = geteuid() ? fopen("/etc/fuse.conf", "re") : NULL;
	autofree char *line = NULL;
	size_t cap = 0;
	bool found = !geteuid();

	while (f && !found && getline(&line, &cap, f) > 0) {
		char *p = line + strspn(line, " \t");

		found = !strncmp(p, "user_allow_other", 16) &&
			!p[16 + strspn(p + 16, " \t\n")];
	}
	if (f)
		fclose(f);
	return found;
}

/* What libfuse is told: ours first, so that the user's own come to win. */
static char *mount_options(struct session *s)
{
	struct opts all = { 0 };
	char *out = NULL;

	if (opts_pass(&all, "nosuid", NULL) || opts_pass(&all, "nodev", NULL) ||
	    opts_pass(&all, "default_permissions", NULL) ||
	    opts_pass(&all, "subtype", "rawcow") ||
	    opts_pass(&all, "fsname", s->o->image) ||
	    opts_pass(&all, s->server.readonly ? "ro" : "rw", NULL) ||
	    (s->o->allow_other && opts_pass(&all, "allow_other", NULL)) ||
	    (s->o->allow_root && opts_pass(&all, "allow_root", NULL)) ||
	    (s->o->debug && opts_pass(&all, "debug", NULL)))
		goto end;
	if (!s->o->fuse_opts)
		out = mem_steal(&all.fuse_opts);
	else if (asprintf(&out, "%s,%s", all.fuse_opts, s->o->fuse_opts) < 0)
		out = NULL;
end:
	free(all.fuse_opts);
	return out;
}

static int new_session(struct session *s, struct err *err)
{
	autofree char *list = mount_options(s);
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);

	if (!list || fuse_opt_add_arg(&args, "rawcow") ||
	    fuse_opt_add_arg(&args, "-o") || fuse_opt_add_arg(&args, list)) {
		fuse_opt_free_args(&args);
		return err_set(err, -ENOMEM, "out of memory");
	}
	fuse_set_log_func(fuse_log_func);
	s->se = fuse_session_new(&args, &ops_table, sizeof(ops_table),
				 &s->server);
	fuse_opt_free_args(&args);
	if (!s->se)
		return err_set(err, -EINVAL, "mount options refused%s",
			       complaint);
	return 0;
}

static int mount_it(struct session *s, struct err *err)
{
	if ((s->o->allow_other || s->o->allow_root) && !user_may_allow_other())
		return err_set(err, -EPERM, "-o allow_other and allow_root "
			       "need the line user_allow_other in "
			       "/etc/fuse.conf");
	if (access("/dev/fuse", F_OK) < 0)
		return err_set_sys(err, -errno, "/dev/fuse (modprobe fuse?)");
	if (fuse_session_mount(s->se, s->o->mountpoint) < 0)
		return err_set(err, -EIO, "cannot mount on %s%s",
			       s->o->mountpoint, complaint);
	s->mounted = true;
	return 0;
}

/* --- threads -------------------------------------------------------------- */

static void wake(int sig)
{
	(void)sig;
}

/* The main thread may be anywhere before its wait: wake it until it is out. */
static void end_loop(struct session *s)
{
	const struct timespec t = { .tv_nsec = WAKE_INTERVAL_NS };

	fuse_session_exit(s->se);
	while (!atomic_load(&s->loop_ended)) {
		pthread_kill(s->main_thread, SIGUSR1);
		nanosleep(&t, NULL);
	}
}

/* The next signal; 0 when a second has passed, with an idle_timeout. */
static int wait_signal(const struct session *s, const sigset_t *set)
{
	const struct timespec second = { .tv_sec = 1 };
	int sig;

	if (s->o->idle_timeout)
		return NUM_MAX(sigtimedwait(set, NULL, &second), 0);
	return sigwait(set, &sig) ? 0 : sig;
}

static bool is_idle(struct session *s)
{
	if (!s->o->idle_timeout || !atomic_load(&s->server.nodes.ready) ||
	    ops_idle_seconds(&s->server) < s->o->idle_timeout)
		return false;
	log_line(LOG_LEVEL_INFO, "%s: unused for %u seconds: unmounting",
		 s->o->mountpoint, s->o->idle_timeout);
	return true;
}

static void *signal_main(void *arg)
{
	struct session *s = arg;
	sigset_t set;
	int sig;

	end_signals(&set);
	for (;;) {
		sig = wait_signal(s, &set);
		if (atomic_load(&s->loop_ended))
			return NULL;
		if (sig > 0 ? sig != SIGUSR2 : is_idle(s))
			break;
	}
	ready_notify("STOPPING=1");
	if (!atomic_load(&s->startup_rc)) {
		int rc = own_sync(s->server.own);

		if (rc && rc != -ENOTCONN)
			log_line(LOG_LEVEL_ERROR, "the kernel could not write "
				 "all it held: %s", strerror(-rc));
	}
	end_loop(s);
	return NULL;
}

/* The own thread: the mount answers, or does not. */
static void on_ready(void *arg, int rc, const struct err *failure)
{
	struct session *s = arg;
	struct err err = *failure;

	if (!rc) {
		atomic_store(&s->server.nodes.ready, true);
		rc = ready_announce(&s->ready, &err);
	}
	if (!rc)
		return;
	atomic_store(&s->startup_rc, rc);
	if (!atomic_load(&s->loop_ended))
		print_error(&err);
	/* the signal thread does the rest, as if the user had given up */
	kill(getpid(), SIGTERM);
}

static void on_seek(void *arg, fuse_req_t req, uint64_t off, int whence,
		    bool sent)
{
	struct session *s = arg;

	ops_answer_seek(&s->server, req, off, whence, sent);
}

static uint64_t on_size(void *arg)
{
	struct session *s = arg;

	return image_size(s->server.img);
}

static int start_threads(struct session *s, struct err *err)
{
	struct own_setup setup = {
		.path = s->disk_path,
		.size = on_size,
		.mtime_ns = image_mtime_ns(s->server.img),
		.writeback = s->server.writeback,
		.ready = on_ready,
		.seek = on_seek,
		.arg = s,
	};
	int rc;

	if (!s->server.readonly) {
		rc = image_start_committer(s->server.img,
					   s->o->commit_interval);
		if (rc)
			return err_set_sys(err, rc, "starting a thread");
	}
	rc = own_start(&s->server.own, &setup);
	if (rc)
		return err_set_sys(err, rc, "starting a thread");
	s->own_started = true;
	rc = jobs_start(&s->server.tell);
	if (!rc)
		rc = jobs_start(&s->server.work);
	if (rc)
		return err_set_sys(err, rc, "starting a thread");
	rc = -pthread_create(&s->signal_thread, NULL, signal_main, s);
	if (rc)
		return err_set_sys(err, rc, "starting a thread");
	s->signals_started = true;
	return 0;
}

static void prepare_process(struct session *s)
{
	struct sigaction sa = { .sa_handler = wake };

	s->main_thread = pthread_self();
	sigaction(SIGUSR1, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
#if defined(PR_SET_IO_FLUSHER)
	/* a loop device over the disk: our memory must not wait for writes to
	 * it. Needs CAP_SYS_RESOURCE; threads inherit it. */
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
#endif
}

/* --- loop ----------------------------------------------------------------- */

static int run_threads(struct session *s)
{
#if FUSELIB_HAS(3, 12)
	struct fuse_loop_config *cfg = fuse_loop_cfg_create();
	int rc;

	if (!cfg)
		return -ENOMEM;
	fuse_loop_cfg_set_clone_fd(cfg, s->o->clone_fd);
	fuse_loop_cfg_set_max_threads(cfg, s->o->max_threads);
	/* a thread that ends takes its buffer with it */
	fuse_loop_cfg_set_idle_threads(cfg, s->o->max_threads);
	rc = fuse_session_loop_mt(s->se, cfg);
	fuse_loop_cfg_destroy(cfg);
	return rc;
#else
	struct fuse_loop_config cfg = {
		.clone_fd = s->o->clone_fd,
		.max_idle_threads = s->o->max_threads,
	};

	return fuse_session_loop_mt(s->se, &cfg);
#endif
}

static void serve(struct session *s)
{
	int rc;

	atomic_store(&serving, true);
	rc = s->o->single_thread || s->o->max_threads == 1 ?
		     fuse_session_loop(s->se) :
		     run_threads(s);
	atomic_store(&serving, false);
	if (rc < 0)
		log_line(LOG_LEVEL_ERROR, "%s: the kernel ended the mount: %s",
			 s->o->mountpoint, strerror(-rc));
}

/* --- down ----------------------------------------------------------------- */

static void stop_signals(struct session *s)
{
	atomic_store(&s->loop_ended, true);
	if (!s->signals_started)
		return;
	pthread_kill(s->signal_thread, SIGUSR2);
	pthread_join(s->signal_thread, NULL);
}

static int close_image(struct session *s)
{
	bool failed;
	int rc;

	if (!s->server.img)
		return 0;
	failed = image_failed(s->server.img);
	rc = image_close(s->server.img);
	if (failed && !rc)
		rc = -EIO;
	if (rc)
		log_line(LOG_LEVEL_ERROR, "%s: the last commit failed: %s; "
			 "what was written since the one before may be lost",
			 s->o->image, strerror(-rc));
	ctl_bye(&s->server.ctl, rc);
	return rc;
}

static int tear_down(struct session *s)
{
	int rc;

	stop_signals(s);
	ready_notify("STOPPING=1");
	/* before the unmount, so that whoever sees it finds all of it there */
	if (s->mounted && !s->server.readonly)
		image_commit_all(s->server.img);
	if (s->mounted)
		fuse_session_unmount(s->se);
	/* a call of its own that still hung has failed by now */
	jobs_stop(s->server.work);
	jobs_stop(s->server.tell);
	if (s->own_started)
		own_stop(s->server.own);
	snapdir_end(&s->server.snaps);
	rc = close_image(s);
	if (s->se)
		fuse_session_destroy(s->se);
	ready_end(&s->ready);
	return rc;
}

static int bring_up(struct session *s, struct err *err)
{
	int rc = mountpoint_check(s->o->mountpoint, s->o->nonempty, &s->layout,
				  err);

	if (!rc)
		rc = open_image(s, err);
	if (rc)
		return rc;
	set_cache_mode(&s->server, s->o->cache);
	set_nodes(s);
	if (asprintf(&s->disk_path, "%s%s", s->o->mountpoint,
		     s->layout == NODE_LAYOUT_FOLDER ? "/" NODE_DISK_NAME :
						       "") < 0) {
		s->disk_path = NULL;
		return err_set(err, -ENOMEM, "out of memory");
	}
	rc = new_session(s, err);
	if (!rc)
		rc = mount_it(s, err);
	s->server.se = s->se;
	s->server.disk_path = s->disk_path;
	return rc;
}

static enum session_status run(struct session *s)
{
	struct err err = { "" };
	int rc, not_saved;

	ops_server_init(&s->server);
	prepare_process(s);
	rc = bring_up(s, &err);
	if (!rc && !s->o->foreground)
		log_setup(LOG_TARGET_SYSLOG, LOG_LEVEL_INFO);
	if (!rc)
		rc = start_threads(s, &err);
	if (rc)
		print_error(&err);
	else
		serve(s);
	not_saved = tear_down(s);
	ops_server_fini(&s->server);
	if (not_saved)
		return SESSION_NOT_SAVED;
	return rc || atomic_load(&s->startup_rc) ? SESSION_FAILED : SESSION_OK;
}

enum session_status session_run(struct opts *opts,
				const struct textfile_maker *texts)
{
	struct session s = {
		.o = opts,
		.server = { .texts = texts },
		.ready = { .pidfile = opts->pidfile,
			   .ready_fd = opts->ready_fd,
			   .parent = -1 },
	};
	struct err err = { "" };
	enum session_status status;
	int forked = 0;
	int code = 0;

	ready_reserve_stdio();
	if (keys_load(&opts->keys, opts->image, &opts->img, &err) < 0) {
		print_error(&err);
		return SESSION_FAILED;
	}
	if (!opts->foreground)
		forked = ready_fork(&s.ready, &code);
	if (forked < 0) {
		fprintf(stderr, "rawcow: cannot start a process: %s\n",
			strerror(-forked));
		return SESSION_FAILED;
	}
	if (forked > 0)
		return (enum session_status)code;
	keys_keep(&opts->keys);
	status = run(&s);
	free(s.disk_path);
	return status;
}
