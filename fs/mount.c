/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parent checks what can be checked without writing anything, forks, and reads one report from the child over a pipe: "up" and the line about
 * the store, or the sentence that says why not. After "up" it asks the mount something, since only an answer shows that it is served. The store is
 * opened by the child, because its threads and locks would not come along over a fork.
 *
 * In the daemon one thread, the watcher, waits for signals and for the end of the drain's time. SIGTERM, SIGINT and SIGHUP begin a drain; SIGUSR1
 * from the main thread says that something of ours has changed. What is in the journal survives a kill, so a drain that is too slow ends with
 * _exit() and a report, not with a hang. It is slow when STATE's disk hangs, and then whoever touches STATE, or waits for one who does, hangs, too.
 * The watcher does neither: stopping, and the log, are another thread's errands.
 */
#include "fs/mount.h"

#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "fs/daemon.h"
#include "fs/fs.h"
#include "fs/mounts.h"
#include "fs/watch.h"
#include "store/cleanup.h"
#include "store/peek.h"
#include "store/process.h"
#include "store/state.h"
#include "store/store.h"

#define LOG_INTERVAL_NS (200 * TP_NS_PER_MS)
#define REPORT_OPEN_MAX 100

struct mount {
	const struct tp_options *options;
	char *state;	  /* absolute; owned */
	char *mountpoint; /* absolute; owned */
	bool foreground;
	bool empty;    /* STATE was missing, or empty */
	bool made;     /* this process made the directory */
	bool fresh;    /* all that is in it is this process's */
	int report_fd; /* to the parent; -1: none */
	int daemon_fd; /* STATE/daemon, locked */
	struct tp_store *store;
	struct tp_fs *fs;
	char *config, *fuse_options; /* owned */
	struct tp_fs_options fs_options;
	struct tp_watch deathwatch;

	pthread_t watcher, errands;
	bool watcher_runs, errands_run;
	sem_t errand;			/* there is one */
	atomic_bool stop;		/* an errand: take the mount away */
	atomic_bool served;		/* it was served; no more errands */
	_Atomic(uint64_t) drain_end_ns; /* monotonic; 0: not draining */
	_Atomic(const char *) doing;	/* how far the drain has come */
	atomic_bool done;		/* the watcher may end */
	uint64_t logged; /* how much of the events is on stderr; the errands', main's once they have ended */
	FILE *left;	 /* what the drain had to leave; memory */
	char *left_text;
	size_t left_len;
	unsigned left_count;
};

/*
 * Is the mount dead? Its attributes may be in the kernel's cache for ever, so only what always asks the daemon tells: statfs. Not asked when its
 * daemon has the lock on STATE, since one that hangs would make us hang. One that dies has the lock until all of its threads have gone, and answers nothing.
 */
static bool is_dead(const struct tp_mounts *m)
{
	struct tp_daemon d;
	struct statfs sf;

	if (tp_daemon_find(m->state, &d) == 0 && strcmp(d.mountpoint, m->mountpoint) == 0)
		return d.phase == TP_DAEMON_DIES;
	return statfs(m->mountpoint, &sf) < 0 && (errno == ENOTCONN || errno == ECONNABORTED);
}

/* Takes away what dead daemons left at mountpoint; several may lie on each other. -EBUSY: there is a living one. */
static int clear_dead(const char *mountpoint, struct tp_err *err)
{
	struct tp_mounts m;
	int r;

	while ((r = tp_mounts_at(mountpoint, &m)) == 0) {
		if (!is_dead(&m))
			r = tp_err_set(err, -EBUSY,
				"there is a tidepool mount at %.200s already, which serves %.200s",
				mountpoint, m.state);
		else if ((r = tp_mounts_take_away(m.mountpoint, true)) < 0)
			r = tp_err_set(err, r, "the dead mount at %s cannot be cleared: %s", mountpoint,
				strerror(-r));
		tp_mounts_fini(&m);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Is it there, a directory, and empty? */
static int check_mountpoint(const char *mountpoint, struct tp_err *err)
{
	DIR *d;
	struct dirent *e;
	struct stat st;
	int r;

	r = clear_dead(mountpoint, err);
	if (r < 0)
		return r;
	if (stat(mountpoint, &st) < 0) {
		if (errno == ENOENT)
			return tp_err_set(err, -ENOENT, "the mount point %s does not exist", mountpoint);
		return tp_err_set(
			err, -errno, "the mount point %s cannot be used: %s", mountpoint, strerror(errno));
	}
	if (!S_ISDIR(st.st_mode))
		return tp_err_set(err, -ENOTDIR, "the mount point %s is not a directory", mountpoint);
	d = opendir(mountpoint);
	if (!d)
		return tp_err_set(
			err, -errno, "the mount point %s cannot be read: %s", mountpoint, strerror(errno));
	r = 0;
	while (r == 0 && (e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = tp_err_set(err, -ENOTEMPTY, "the mount point %s is not empty", mountpoint);
	(void)closedir(d);
	return r;
}

/* The files of a store beside its ledger; the one whose lock says whose STATE is comes last. */
static const char *const state_files[] = {"journal.0", "journal.1", "events", "events.1", "events.new",
	"lock", "last-drain", ".last-drain", "daemon"};
static const char *const state_directories[] = {"ledger", "ledger.new"};

static bool is_one_of(const char *name, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

#define IS_ONE_OF(name, names) is_one_of(name, names, sizeof(names) / sizeof((names)[0]))

/* What is in STATE, a directory? Refused when it is something else's. */
static int check_content(const char *state, struct tp_err *err, bool *ret_empty)
{
	static const char *const of_none[] = {".", "..", "lost+found"};
	DIR *d = opendir(state);
	bool empty = true, has_ledger = false;
	char foreign[256] = "";
	struct tp_daemon daemon;
	struct tp_peek peek;
	struct dirent *e;
	int r;

	if (!d)
		return tp_err_set(err, -errno, "STATE %s cannot be read: %s", state, strerror(errno));
	while ((e = readdir(d))) {
		if (IS_ONE_OF(e->d_name, of_none))
			continue;
		empty = false;
		if (strcmp(e->d_name, "ledger") == 0)
			has_ledger = true;
		else if (!IS_ONE_OF(e->d_name, state_files) && !IS_ONE_OF(e->d_name, state_directories))
			(void)snprintf(foreign, sizeof(foreign), "%s", e->d_name);
	}
	(void)closedir(d);
	if (!has_ledger && foreign[0])
		return tp_err_set(err, -EBADMSG,
			"STATE %.200s is not a tidepool store: it has %.80s and no ledger", state, foreign);
	/* A ledger is looked into unless a daemon has it; one may just have come. */
	if (has_ledger && tp_daemon_find(state, &daemon) < 0) {
		r = tp_peek_state(state, err, &peek);
		if (r < 0 && tp_daemon_find(state, &daemon) < 0)
			return r == -ENOENT ? tp_err_set(err, -EBADMSG,
						      "STATE %s is not a tidepool store: its ledger is empty",
						      state)
					    : r;
	}
	*ret_empty = empty;
	return 0;
}

/* Does path lie in directory, or is it that? Both absolute, without links. */
static bool is_below(const char *path, const char *directory)
{
	size_t n = strlen(directory);

	return strncmp(path, directory, n) == 0 && (path[n] == 0 || path[n] == '/');
}

/* STATE is missing, or is a directory that is empty or holds a store, on a file system that can. Writes nothing. */
static int check_state(struct mount *m, const char *state, struct tp_err *err)
{
	tp_autofree char *whole = realpath(state, NULL), *parent = NULL;
	bool missing = !whole && errno == ENOENT;
	struct tp_mounts around;
	struct statfs sf;
	struct stat st;
	int r;

	if (missing) {
		whole = tp_mounts_resolve(state);
		if (whole) {
			parent = strdup(whole);
			if (!parent)
				return tp_err_set(err, -ENOMEM, "out of memory");
			*(strrchr(parent, '/') + (strrchr(parent, '/') == parent)) = 0;
		}
	}
	if (!whole)
		return tp_err_set(err, -errno, "STATE %s cannot be used: %s", state, strerror(errno));
	if (is_below(whole, m->mountpoint))
		return tp_err_set(err, -EINVAL,
			"STATE %.200s cannot be in the mount point %.200s, which will cover it", whole,
			m->mountpoint);
	if (statfs(parent ? parent : whole, &sf) < 0)
		return tp_err_set(err, -errno, "STATE %s cannot be used: %s", whole, strerror(errno));
	r = tp_state_check_type(whole, (unsigned long)sf.f_type, err);
	if (r < 0)
		return r;
	if (tp_mounts_of(whole, &around) == 0) {
		tp_mounts_fini(&around);
		return tp_err_set(err, -EOPNOTSUPP, "STATE %s is inside a tidepool mount", whole);
	}
	m->empty = missing;
	if (!missing && (stat(whole, &st) < 0 || !S_ISDIR(st.st_mode)))
		return tp_err_set(err, -ENOTDIR, "STATE %s is not a directory", whole);
	if (!missing)
		r = check_content(whole, err, &m->empty);
	if (r == 0)
		m->state = tp_steal_ptr(whole);
	return r;
}

static void say(const struct mount *m, const char *text)
{
	if (m->foreground)
		(void)fprintf(stderr, "tidepool: %s\n", text);
}

/* Tells the parent how it went, or says it on stderr. word: "up" or "no". */
static void report(struct mount *m, const char *word, const char *text)
{
	if (m->report_fd < 0) {
		(void)fprintf(stderr, "tidepool%s: %s\n", strcmp(word, "no") == 0 ? " mount" : "", text);
		return;
	}
	(void)dprintf(m->report_fd, "%s %s", word, text);
	m->report_fd = tp_close(m->report_fd);
}

/* -f: the events on stderr. */
static void log_events(struct mount *m)
{
	char buf[8192];
	ssize_t n;

	if (!m->foreground || !m->store->events)
		return;
	while ((n = tp_events_read(m->store->events, &m->logged, buf, sizeof(buf))) > 0) {
		(void)!fwrite(buf, 1, (size_t)n, stderr);
		m->logged += (uint64_t)n;
	}
}

/* Writes STATE/last-drain as a whole. That it cannot be written is no reason to keep the mount. */
static void write_last_drain(const struct mount *m, const char *text, size_t len)
{
	char name[PATH_MAX + 16], temporary[PATH_MAX + 32];
	tp_autoclose int fd = -1;

	(void)snprintf(name, sizeof(name), "%s/last-drain", m->state);
	(void)snprintf(temporary, sizeof(temporary), "%s/.last-drain", m->state);
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return;
	if (write(fd, text, len) != (ssize_t)len || rename(temporary, name) < 0)
		(void)unlink(temporary);
}

/* Takes no lock and asks nothing of STATE. The mount goes first, so that nobody waits for a daemon that cannot answer. */
_Noreturn static void drain_is_late(struct mount *m)
{
	struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
	struct tp_mounts at;

	tp_watch_abort(&m->deathwatch);
	if (tp_mounts_at(m->mountpoint, &at) == 0 && strcmp(at.state, m->state) == 0)
		(void)tp_mounts_take_away(at.mountpoint, true);
	/* Nor does it wait for who does not read the log. */
	if (poll(&p, 1, 0) == 1)
		(void)dprintf(STDERR_FILENO,
			"tidepool: not drained: stopped after %u seconds, while %s; what the journal has is "
			"kept\n",
			m->options->drain_s, atomic_load(&m->doing));
	_exit(1);
}

/* From here on the drain's time counts. False: it did already. */
static bool begin_drain(struct mount *m)
{
	uint64_t none = 0;
	uint64_t end = tp_mono_ns(tp_clock_system()) + m->options->drain_s * TP_NS_PER_S;

	return atomic_compare_exchange_strong(&m->drain_end_ns, &none, end);
}

/* Says so in STATE; what is found there when the drain does not come to its end. */
static void say_drain(struct mount *m)
{
	char text[128];
	int n = snprintf(text, sizeof(text),
		"not drained: killed, or stopped after %u seconds; what the journal has is kept\n",
		m->options->drain_s);

	tp_daemon_say(m->daemon_fd, TP_DAEMON_DRAINS, m->mountpoint);
	write_last_drain(m, text, (size_t)n);
}

/* What may hang when STATE does. */
static void *do_errands(void *user)
{
	struct mount *m = user;
	bool stopped = false;

	while (!atomic_load(&m->served)) {
		struct timespec until;

		if (!stopped && atomic_load(&m->stop)) {
			stopped = true;
			say_drain(m);
			tp_fs_stop(m->fs);
		}
		log_events(m);
		(void)clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += LOG_INTERVAL_NS;
		until.tv_sec += m->foreground ? until.tv_nsec / (long)TP_NS_PER_S : 3600;
		until.tv_nsec %= (long)TP_NS_PER_S;
		(void)sem_clockwait(&m->errand, CLOCK_MONOTONIC, &until);
	}
	return NULL;
}

static void *watch(void *user)
{
	struct mount *m = user;
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)sigaddset(&set, SIGUSR1);
	while (!atomic_load(&m->done)) {
		uint64_t end = atomic_load(&m->drain_end_ns), now = tp_mono_ns(tp_clock_system());
		struct timespec wait = {.tv_sec = 3600};
		int s;

		if (end && now >= end)
			drain_is_late(m);
		if (end)
			wait = (struct timespec){
				(time_t)((end - now) / TP_NS_PER_S), (long)((end - now) % TP_NS_PER_S)};
		s = sigtimedwait(&set, NULL, &wait);
		if (s >= 0 && s != SIGUSR1 && begin_drain(m)) {
			atomic_store(&m->stop, true);
			(void)sem_post(&m->errand);
		}
	}
	return NULL;
}

static void left_open(const char *path, int pid, void *user)
{
	struct mount *m = user;
	char name[64], quoted[4 * PATH_MAX], quoted_name[4 * sizeof(name)];

	if (m->left_count++ >= REPORT_OPEN_MAX || !m->left)
		return;
	path = tp_events_quote(path, strlen(path), quoted, sizeof(quoted));
	(void)tp_process_name(pid, name, sizeof(name));
	(void)tp_events_quote(name, strlen(name), quoted_name, sizeof(quoted_name));
	if (pid > 0)
		(void)fprintf(m->left, "left open: %s (process %d, %s)\n", path, pid, quoted_name);
	else
		(void)fprintf(m->left, "left open: %s\n", path);
	tp_events_say(m->store->events, "left-open", "%s pid=%d %s", path, pid, quoted_name);
}

/* After the last request: the ledger to stable storage, and what was left. Returns what to exit with. */
static int drain(struct mount *m)
{
	uint64_t start_ns = tp_mono_ns(tp_clock_system());
	int r;

	if (begin_drain(m)) {
		(void)pthread_kill(m->watcher, SIGUSR1);
		say_drain(m);
	}
	atomic_store(&m->doing, "the ledger was brought to stable storage");
	m->left = open_memstream(&m->left_text, &m->left_len);
	tp_fs_each_open(m->fs, left_open, m);
	tp_events_flush(m->store->events);
	if (m->left && m->left_count > REPORT_OPEN_MAX)
		(void)fprintf(m->left, "and %u more\n", m->left_count - REPORT_OPEN_MAX);
	r = tp_ledger_sync(m->store->ledger);
	if (r < 0 && m->left)
		(void)fprintf(m->left, "not drained: the ledger could not be brought to stable storage: %s\n",
			strerror(-r));
	tp_events_say(m->store->events, "drain", "%s open=%u ms=%" PRIu64, r < 0 ? strerror(-r) : "ok",
		m->left_count, (tp_mono_ns(tp_clock_system()) - start_ns) / TP_NS_PER_MS);
	tp_events_flush(m->store->events);
	if (m->left) {
		(void)fclose(m->left);
		m->left = NULL;
		if (m->foreground && m->left_len)
			(void)fputs(m->left_text, stderr);
	}
	return r < 0 ? 1 : 0;
}

static int open_store(struct mount *m, struct tp_err *err, struct tp_store_info *ret_info)
{
	const struct tp_options *o = m->options;
	struct tp_store_options so = {
		.state = m->state,
		.pool = {.size_bytes = o->pool_as_is ? 0 : o->ram_bytes,
			.paths = o->pool.count ? (const char *const *)o->pool.list : NULL,
			.hugepages = (enum tp_hugepages)o->hugepages,
			.prefault = o->prefault},
		.high_pct = o->high_pct,
		.low_pct = o->low_pct,
		.names_max = o->names_max,
		.journal_interval_ns = o->journal_interval_ms * TP_NS_PER_MS,
		.read_only = o->read_only,
	};

	return tp_store_open(&so, err, &m->store, ret_info);
}

/* The line about the store that was made or opened. */
static void describe(const struct mount *m, const struct tp_store_info *info, char *text, size_t len)
{
	const unsigned char *u = info->ledger.uuid;

	(void)snprintf(text, len,
		"%s store %02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x in %s, "
		"%" PRIu64 " samples, %" PRIu64 " objects, mounted at %s",
		info->ledger.created ? "made a new" : "opened the", u[0], u[1], u[2], u[3], u[4], u[5], u[6],
		u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15], m->state, info->samples,
		info->others, m->mountpoint);
}

/* Makes STATE when it is missing, and its name as durable as what will be in it, where the file system can. */
static int make_state(struct mount *m, struct tp_err *err)
{
	tp_autoclose int fd = -1, parent = -1;

	if (mkdir(m->state, 0700) < 0)
		return errno == EEXIST ? 0
				       : tp_err_set(err, -errno, "STATE %s cannot be made: %s", m->state,
						 strerror(errno));
	m->made = true;
	fd = open(m->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	parent = fd < 0 ? -1 : openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent >= 0)
		(void)fsync(parent);
	return 0;
}

/* A mount that failed leaves no store that was not there before. The lock is still held. */
static void unmake_state(const struct mount *m)
{
	tp_autoclose int fd = m->fresh ? open(m->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	for (size_t i = 0; fd >= 0 && i < sizeof(state_directories) / sizeof(state_directories[0]); i++) {
		tp_autoclose int in = openat(fd, state_directories[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (in < 0)
			continue;
		(void)unlinkat(in, "data.mdb", 0);
		(void)unlinkat(in, "lock.mdb", 0);
		(void)unlinkat(fd, state_directories[i], AT_REMOVEDIR);
	}
	for (size_t i = 0; fd >= 0 && i < sizeof(state_files) / sizeof(state_files[0]); i++)
		(void)unlinkat(fd, state_files[i], 0);
	if (m->made)
		(void)rmdir(m->state);
}

/* Is there a ledger in STATE? Somebody else may have made one since we looked. */
static bool has_ledger(const char *state)
{
	char name[PATH_MAX + 16];

	(void)snprintf(name, sizeof(name), "%s/ledger", state);
	return access(name, F_OK) == 0 || errno != ENOENT;
}

static int start_threads(struct mount *m)
{
	int r;

	if (sem_init(&m->errand, 0, 0) < 0)
		return -errno;
	r = pthread_create(&m->errands, NULL, do_errands, m);
	m->errands_run = r == 0;
	if (r == 0)
		r = pthread_create(&m->watcher, NULL, watch, m);
	m->watcher_runs = m->errands_run && r == 0;
	return -r;
}

/* Who stops the mount may be in it still; what it asks for has been done. */
static void end_errands(struct mount *m)
{
	if (!m->errands_run)
		return;
	atomic_store(&m->served, true);
	(void)sem_post(&m->errand);
	(void)pthread_join(m->errands, NULL);
	m->errands_run = false;
}

/* libfuse and fusermount3 do not know the flag. */
static int forbid_links(const char *mountpoint, struct tp_err *err)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_NOSYMFOLLOW};

	if (mount_setattr(AT_FDCWD, mountpoint, AT_SYMLINK_NOFOLLOW, &attr, sizeof(attr)) < 0)
		return tp_err_set(err, -errno, "the option nosymfollow cannot be had%s: %s",
			errno == EPERM ? " but by root" : "", strerror(errno));
	return 0;
}

/* Opens, mounts, and says on the way how it went. With an error nothing is left mounted. */
static int start(struct mount *m, struct tp_err *err)
{
	tp_autofree char *options = NULL;
	struct tp_store_info info = {0};
	char text[2 * PATH_MAX + 256];
	int r;

	r = make_state(m, err);
	if (r == 0)
		r = tp_daemon_acquire(m->state, m->mountpoint, m->options->drain_s + TP_MOUNT_WAIT_MARGIN_S,
			err, &m->daemon_fd);
	if (r < 0)
		return r;
	m->fresh = m->empty && !has_ledger(m->state);
	write_last_drain(m, "", 0);
	r = open_store(m, err, &info);
	if (r < 0)
		return r;
	/* What earlier daemons said is not for this log. */
	m->logged = tp_events_size(m->store->events);
	r = tp_options_config(m->options, &options);
	if (r == 0 && asprintf(&m->config, "state=%s  # command line\nmountpoint=%s  # command line\n%s",
			      m->state, m->mountpoint, options) < 0)
		m->config = NULL, r = -ENOMEM;
	if (r == 0)
		r = tp_options_fuse(m->options, m->state, &m->fuse_options);
	if (r < 0)
		return tp_err_set(err, r, "out of memory");
	m->fs_options = (struct tp_fs_options){
		.mountpoint = m->mountpoint,
		.fuse_options = m->fuse_options,
		.threads = m->options->threads,
		.config_text = m->config,
		.version_text = TP_VERSION,
		.default_permissions = m->options->default_permissions,
		.read_only = m->options->read_only,
	};
	r = tp_fs_mount(&m->fs_options, m->store, err, &m->fs);
	if (r == 0 && !m->options->symfollow)
		r = forbid_links(m->mountpoint, err);
	if (r < 0)
		return r;
	m->deathwatch.events = m->store->events;
	r = tp_watch_arm(&m->deathwatch);
	if (r < 0)
		tp_events_say(m->store->events, "no-watcher",
			"%s: if the daemon is killed, clients may hang until root says umount -f",
			strerror(-r));
	tp_events_flush(m->store->events);
	r = start_threads(m);
	if (r < 0)
		return tp_err_set(err, r, "a thread cannot be started: %s", strerror(-r));
	tp_daemon_say(m->daemon_fd, TP_DAEMON_SERVES, m->mountpoint);
	describe(m, &info, text, sizeof(text));
	report(m, "up", text);
	say(m, "the pool is volatile: samples are not durable, they are lost when the daemon ends");
	return 0;
}

/* Frees all, while the watcher still watches over the time that this takes. Returns what the store's end returned. */
static int close_all(struct mount *m)
{
	int r;

	end_errands(m);
	atomic_store(&m->doing, "the store was closed");
	if (m->store)
		log_events(m);
	tp_fs_free(m->fs);
	m->deathwatch.events = NULL;
	r = tp_store_close(m->store);
	if (m->watcher_runs) {
		write_last_drain(m, m->left_text, m->left_len);
		atomic_store(&m->done, true);
		(void)pthread_kill(m->watcher, SIGUSR1);
		(void)pthread_join(m->watcher, NULL);
	}
	return r;
}

/* The whole life of the daemon. Returns what to exit with. */
static int serve(struct mount *m)
{
	struct tp_err err = {""};
	sigset_t set;
	struct rlimit files;
	int r, started, code = 1;

	/* Before there are threads, so that all of them leave these to the watcher. */
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)sigaddset(&set, SIGUSR1);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	/* A pidfd for each process that writes. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	(void)tp_watch_begin(&m->deathwatch, m->mountpoint);
	started = start(m, &err);
	if (started == 0) {
		r = tp_fs_serve(m->fs);
		end_errands(m);
		if (r < 0)
			(void)fprintf(stderr, "tidepool: /dev/fuse failed: %s\n", strerror(-r));
		code = drain(m);
		if (r < 0)
			code = 1;
	}
	if (close_all(m) < 0)
		code = 1;
	tp_watch_end(&m->deathwatch);
	free(m->left_text);
	free(m->config);
	free(m->fuse_options);
	if (started < 0)
		unmake_state(m);
	m->daemon_fd = tp_close(m->daemon_fd);
	/* The last, so that who is told can try again. */
	if (started < 0)
		report(m, "no", err.text);
	return code;
}

/* The child: no terminal, no directory, nothing of the parent's but the pipe. */
static int serve_in_background(struct mount *m)
{
	int null, code;

	(void)setsid();
	(void)!chdir("/");
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; null >= 0 && fd < 3; fd++)
		(void)dup2(null, fd);
	(void)tp_close(null > 2 ? null : -1);
	code = serve(m);
	free(m->state);
	free(m->mountpoint);
	return code;
}

/* Reads the child's report. Returns what to exit with. */
static int await(struct mount *m, int fd, pid_t child)
{
	char text[2 * PATH_MAX + 300];
	size_t n = 0;
	ssize_t got;
	struct stat st;

	while (n < sizeof(text) - 1 &&
		((got = read(fd, text + n, sizeof(text) - 1 - n)) > 0 || (got < 0 && errno == EINTR)))
		n += got > 0 ? (size_t)got : 0;
	text[n] = 0;
	if (strncmp(text, "up ", 3) != 0) {
		(void)fprintf(stderr, "tidepool mount: %s\n",
			n > 3 ? text + 3 : "the daemon ended before it said anything");
		return 1;
	}
	/* Waits until the daemon has answered. Another user's mount (EACCES) answers, too. */
	if (stat(m->mountpoint, &st) < 0 && errno != EACCES) {
		(void)fprintf(stderr, "tidepool mount: the daemon (process %d) ended at once: %s\n",
			(int)child, strerror(errno));
		return 1;
	}
	/* That nobody reads it does not undo the mount. */
	(void)dprintf(STDOUT_FILENO, "tidepool: %s\n", text + 3);
	(void)fprintf(stderr, "tidepool: the pool is volatile: samples are not durable, they are lost when "
			      "the daemon ends\n");
	return 0;
}

int tp_mount_run(const char *state, const char *mountpoint, const struct tp_options *options, bool foreground)
{
	struct mount m = {.options = options,
		.foreground = foreground,
		.report_fd = -1,
		.daemon_fd = -1,
		.doing = "requests were answered"};
	struct tp_err err = {""};
	int pipe_fds[2], r, code;
	pid_t child;

	r = check_mountpoint(mountpoint, &err);
	if (r == 0) {
		m.mountpoint = realpath(mountpoint, NULL);
		r = m.mountpoint ? check_state(&m, state, &err)
				 : tp_err_set(&err, -errno, "%s: %s", mountpoint, strerror(errno));
	}
	if (r == 0 && !foreground && pipe2(pipe_fds, O_CLOEXEC) < 0)
		r = tp_err_set(&err, -errno, "a pipe cannot be made: %s", strerror(errno));
	if (r < 0) {
		(void)fprintf(stderr, "tidepool mount: %s\n", err.text);
		free(m.mountpoint);
		free(m.state);
		return 1;
	}
	if (foreground) {
		code = serve(&m);
	} else {
		child = fork();
		if (child == 0) {
			(void)tp_close(pipe_fds[0]);
			m.report_fd = pipe_fds[1];
			/* Not exit(): what the parent's stdio holds is the parent's. */
			_exit(serve_in_background(&m));
		}
		(void)tp_close(pipe_fds[1]);
		if (child < 0)
			code = tp_err_set(&err, 1, "a process cannot be made: %s", strerror(errno));
		else
			code = await(&m, pipe_fds[0], child);
		if (child < 0)
			(void)fprintf(stderr, "tidepool mount: %s\n", err.text);
		(void)tp_close(pipe_fds[0]);
	}
	free(m.mountpoint);
	free(m.state);
	return code;
}
