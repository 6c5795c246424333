/*
 * The order of things. Up: fork - image - kernel mount - threads - loop -
 * (own thread) prime - announce. Down: stop taking requests - commit - unmount
 * - own thread ends - close the image - say so - exit.
 *
 * A signal (signals.h) makes the kernel send what its cache holds, then ends the
 * loop.
 */
#include "fuse/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "core/admin/repair.h"
#include "fuse/attach.h"
#include "fuse/fuselog.h"
#include "fuse/loop.h"
#include "fuse/mountpoint.h"
#include "fuse/ops.h"
#include "fuse/overlay.h"
#include "fuse/ready.h"
#include "fuse/signals.h"

struct session {
	struct opts *o;
	struct ops_server server;
	dev_t below; /* the device of what the mount covers */
	struct fuse_session *se;
	struct ready ready;
	struct signals signals;
	enum node_layout layout;
	bool mounted, own_started;
	atomic_int startup_rc; /* of all before ready, told already */
	int end_rc; /* of what the thread of signals saved; 0 without it */
	int unmount_rc;
	bool fresh; /* the overlay was made for this session */
};

static void print_error(const struct err *err)
{
	fprintf(stderr, "rawcow: %s\n", err->text);
}

/* --- image ---------------------------------------------------------------- */

/* The key is found by now: what changes the image is not cut off. */
static int recover_unhurried(struct hostfile *file, struct err *err)
{
	signals_block();
	return repair_recover(file, err);
}

static int open_image(struct session *s, struct err *err)
{
	int rc;

	if (!s->o->norecovery)
		s->o->img.recover = recover_unhurried;

	/* Finding the key may take long: until then a signal just ends it. */
	if (s->o->cow)
		signals_block();
	rc = s->o->cow ? overlay_open(&s->server.img, s->o, &s->fresh, err) :
			 image_open(&s->server.img, s->o->image, &s->o->img,
				    err);
	signals_block();
	keys_fini(&s->o->keys);
	s->o->img.key = s->o->img.backing_key = NULL;
	if (rc == -EAGAIN) /* in use: perhaps it is mounted already */
		mountpoint_hint(s->o->image, err);
	if (rc)
		return rc;
	if (image_readonly_reason(s->server.img))
		log_line(LOG_LEVEL_WARN, "%s is read-only: %s", s->o->image,
			 image_readonly_reason(s->server.img));
	return 0;
}

/* --- threads -------------------------------------------------------------- */

/* The kernel has the last word: somebody may just open the disk. */
static bool is_idle(void *arg)
{
	struct session *s = arg;

	if (!atomic_load(&s->server.nodes.ready) ||
	    ops_idle_seconds(&s->server) < s->o->idle_timeout)
		return false;
	if (!s->server.readonly)
		image_commit_all(s->server.img); /* as in tear_down() */
	if (attach_unmount_free(s->se, own_dev(s->server.own))) {
		ops_note_use(&s->server);
		return false;
	}
	log_line(LOG_LEVEL_INFO, "%s: unused for %u seconds: unmounting",
		 s->o->mountpoint, s->o->idle_timeout);
	return true;
}

/* The thread of signals: soon the loop ends. */
static void on_end(void *arg)
{
	struct session *s = arg;

	ready_notify("STOPPING=1");
	if (!atomic_load(&s->startup_rc))
		s->end_rc = own_sync(s->server.own);
	if (s->end_rc)
		log_line(LOG_LEVEL_ERROR, "the kernel could not write all it "
			 "held: %s", strerror(-s->end_rc));
	/* Their calls come back as requests. Nor would closing the device make
	 * these fail with clone_fd: each request not answered holds it open. */
	jobs_end(s->server.work);
	jobs_end(s->server.tell);
	own_end(s->server.own);
}

/* The own thread: the mount answers, or does not. */
static void on_ready(void *arg, int rc, const struct err *failure)
{
	struct session *s = arg;
	struct err err = *failure;

	if (!rc) {
		ops_note_use(&s->server);
		atomic_store(&s->server.nodes.ready, true);
		rc = ready_announce(&s->ready, &err);
	}
	/* a line about what had failed before is enough */
	if (!rc || atomic_exchange(&s->startup_rc, rc))
		return;
	if (signals_over(&s->signals))
		err_set(&err, rc, "%s: unmounted before the disk could be used",
			s->o->mountpoint);
	print_error(&err);
	/* the rest is done as if the user had given up */
	signals_raise();
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

static bool on_connected(void *arg)
{
	struct session *s = arg;

	return attach_is_connected(s->se);
}

static int on_fetch(void *arg)
{
	struct session *s = arg;

	return ops_fetch(&s->server);
}

static int start_own(struct session *s)
{
	struct own_setup setup = {
		.place = s->o->mountpoint,
		.name = s->layout == NODE_LAYOUT_FOLDER ? "/" NODE_DISK_NAME :
							  "",
		.below = s->below,
		.size = on_size,
		.mtime_ns = image_mtime_ns(s->server.img),
		.writeback = s->server.writeback,
		.ready = on_ready,
		.seek = on_seek,
		.connected = on_connected,
		.fetch = on_fetch,
		.arg = s,
	};
	int rc = own_start(&s->server.own, &setup);

	s->own_started = !rc;
	return rc;
}

static int start_signals(struct session *s)
{
	s->signals.se = s->se;
	s->signals.due = s->o->idle_timeout ? is_idle : NULL;
	s->signals.before = on_end;
	s->signals.arg = s;
	return signals_start(&s->signals);
}

static int start_threads(struct session *s, struct err *err)
{
	int rc = 0;

	if (!s->server.readonly)
		rc = image_start_committer(s->server.img,
					   s->o->commit_interval);
	if (!rc)
		rc = start_own(s);
	if (!rc)
		rc = jobs_start(&s->server.tell);
	if (!rc)
		rc = jobs_start(&s->server.work);
	if (!rc)
		rc = start_signals(s);
	return rc ? err_set_sys(err, rc, "starting a thread") : 0;
}

static void prepare_process(struct session *s)
{
	signals_init(&s->signals);
#if defined(PR_SET_IO_FLUSHER)
	/* a loop device over the disk: our memory must not wait for writes to
	 * it. Needs CAP_SYS_RESOURCE; threads inherit it. */
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
#endif
}

/* --- loop ----------------------------------------------------------------- */

static void serve_message(void *arg, void *message, size_t len)
{
	struct session *s = arg;
	struct fuse_buf buf = { .size = len, .mem = message };

	fuse_session_process_buf(s->se, &buf);
}

static bool is_over(void *arg)
{
	struct session *s = arg;

	return fuse_session_exited(s->se);
}

static int run_loop(struct session *s)
{
	struct loop_setup setup = {
		.fd = fuse_session_fd(s->se),
		.max_threads = s->o->single_thread ? 1 : s->o->max_threads,
		.poll_us = s->o->busy_poll,
		.message_max = OPS_MESSAGE_MAX,
		.head = OPS_MESSAGE_HEAD,
		.serve = serve_message,
		.over = is_over,
		.arg = s,
	};

	return loop_run(&setup);
}

/* libfuse's own loop: how to answer through the descriptor of a thread is known
 * to nobody else. */
static int run_clones(struct session *s)
{
#if FUSELIB_HAS(3, 12)
	struct fuse_loop_config *cfg = fuse_loop_cfg_create();
	int rc;

	if (!cfg)
		return -ENOMEM;
	fuse_loop_cfg_set_clone_fd(cfg, true);
	fuse_loop_cfg_set_max_threads(cfg, s->o->max_threads);
	/* a thread that ends takes its buffer with it */
	fuse_loop_cfg_set_idle_threads(cfg, s->o->max_threads);
	rc = fuse_session_loop_mt(s->se, cfg);
	fuse_loop_cfg_destroy(cfg);
	return rc;
#else
	struct fuse_loop_config cfg = {
		.clone_fd = true,
		.max_idle_threads = s->o->max_threads,
	};

	return fuse_session_loop_mt(s->se, &cfg);
#endif
}

static void serve(struct session *s)
{
	int rc = s->o->clone_fd && !s->o->single_thread ? run_clones(s) :
							  run_loop(s);

	if (rc < 0)
		log_line(LOG_LEVEL_ERROR, "%s: the kernel ended the mount: %s",
			 s->o->mountpoint, strerror(-rc));
}

/* --- down ----------------------------------------------------------------- */

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
	else
		rc = s->end_rc;
	ctl_bye(&s->server.ctl, rc);
	return rc;
}

static void note_abort(struct session *s)
{
	bool lost = atomic_load(&s->server.kernel_writeback) &&
		    atomic_load(&s->server.writers);

	s->unmount_rc = -ENOTCONN;
	if (lost && !s->end_rc)
		s->end_rc = -EIO;
	log_line(LOG_LEVEL_ERROR, "%s: the connection to the kernel was aborted"
		 "%s; the mount stays, without a server: run fusermount3 -uz %s",
		 s->o->mountpoint, lost ? ", and what it had not sent yet "
		 "may be lost" : "", s->o->mountpoint);
}

static void unmount(struct session *s)
{
	dev_t dev = s->own_started ? own_dev(s->server.own) : 0;

	if (attach_is_aborted(s->se, dev, s->o))
		note_abort(s);
	if (!attach_unmount(s->se, dev))
		return;
	s->unmount_rc = -EBUSY;
	log_line(LOG_LEVEL_ERROR, "%s: another mount covers this one, which "
		 "stays, without a server: unmount both", s->o->mountpoint);
}

static int tear_down(struct session *s)
{
	int rc;

	signals_stop(&s->signals);
	ready_notify("STOPPING=1");
	/* before the unmount, so that whoever sees it finds all of it there */
	if (s->mounted && !s->server.readonly)
		image_commit_all(s->server.img);
	if (s->mounted)
		unmount(s);
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
	struct stat st;
	int rc = mountpoint_check(s->o->mountpoint, s->o->nonempty, &s->layout,
				  err);

	/* opening may repair the image, or make an overlay */
	if (!rc)
		rc = ready_check(&s->ready, err);
	if (!rc)
		rc = attach_check(s->o, err);
	if (!rc)
		rc = open_image(s, err);
	if (rc)
		return rc;
	attach_setup(&s->server, s->o, s->layout);
	if (!stat(s->o->mountpoint, &st))
		s->below = st.st_dev;
	rc = attach_new(&s->se, &s->server, s->o, err);
	if (!rc)
		rc = attach_mount(s->se, s->o, err);
	s->mounted = !rc;
	s->server.se = s->se;
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
		fuselog_to_log();
	if (!rc)
		rc = start_threads(s, &err);
	if (rc) {
		atomic_store(&s->startup_rc, rc);
		print_error(&err);
	} else {
		serve(s);
	}
	not_saved = tear_down(s);
	if (atomic_load(&s->startup_rc) && s->fresh)
		unlink(s->o->cow_file);
	ops_server_fini(&s->server);
	if (not_saved)
		return SESSION_NOT_SAVED;
	return atomic_load(&s->startup_rc) || s->unmount_rc ?
		       SESSION_FAILED : SESSION_OK;
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
	int forked = 0;
	int code = 0;

	ready_reserve_stdio();
	if (keys_load(&opts->keys, opts->image, &opts->img, &err) < 0) {
		print_error(&err);
		return SESSION_FAILED;
	}
	/* the key may have come by one of them, which is closed now */
	ready_reserve_stdio();
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
	return run(&s);
}
