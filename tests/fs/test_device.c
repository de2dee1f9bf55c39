/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session on a real mount of one file, as root and through fusermount3. Each case has a mount namespace of its own, and who serves is a child that dies with the
 * test: so nothing stays behind, whichever of them fails. (A process that serves the files it has open itself could never be killed.)
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/device.h"
#include "fs/frame.h"
#include "fs/session.h"
#include "store/process.h"

#define NODE_FILE 2
#define FILE_BYTES (1u << 20)

/* A mount with one file, "file", whose bytes lie in bytes. Shared by the test and the server. */
struct rig {
	char dir[64];
	struct tp_pool *pool;
	struct tp_stats stats;
	struct tp_session *session;
	struct tp_wait wait;
	pid_t server;
	sem_t ready, parked, stop, stopped;
	_Atomic bool park; /* reads wait */
	_Atomic unsigned writes, write_pages, write_runs;
	_Atomic int end; /* enum tp_end of who asked for the last FLUSH */
	char bytes[FILE_BYTES];
};

static struct rig *rig; /* the cancel callback has no argument of its own */

static void fill_attr(uint64_t node, struct fuse_attr *ret)
{
	*ret = (struct fuse_attr){.ino = node, .nlink = 1, .uid = getuid(), .gid = getgid(), .blksize = 4096};
	ret->mode = node == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0644;
	ret->size = node == FUSE_ROOT_ID ? 0 : FILE_BYTES;
}

static void cancel(struct tp_wait *w)
{
	tp_reply_error(rig->session, &w->caller, EINTR);
}

static void lookup(struct rig *g, struct tp_request *r)
{
	struct fuse_entry_out out = {.nodeid = NODE_FILE};

	if (strcmp(r->arg, "file") != 0) {
		tp_reply_error(g->session, &r->caller, ENOENT);
		return;
	}
	fill_attr(NODE_FILE, &out.attr);
	tp_reply_data(g->session, &r->caller, &out, sizeof(out));
}

static void read_file(struct rig *g, struct tp_request *r)
{
	const struct fuse_read_in *in = r->arg;
	size_t len = in->offset < FILE_BYTES ? FILE_BYTES - in->offset : 0;

	if (atomic_load(&g->park)) {
		g->wait = (struct tp_wait){.caller = r->caller, .cancel = cancel};
		if (tp_wait_add(g->session, &g->wait) < 0)
			tp_reply_error(g->session, &r->caller, EINTR);
		else
			sem_post(&g->parked);
		return;
	}
	tp_reply_data(g->session, &r->caller, g->bytes + in->offset, len < in->size ? len : in->size);
}

static void write_file(struct rig *g, struct tp_request *r)
{
	const struct fuse_write_in *in = r->arg;
	struct fuse_write_out out = {.size = in->size};
	struct tp_run runs[TP_PAYLOAD_RUNS_MAX];
	unsigned count, pages = in->size / TP_PAGE_BYTES;
	size_t at = in->offset;

	atomic_fetch_add(&g->writes, 1);
	tp_request_take_pages(r, pages, runs, &count);
	for (unsigned i = 0; i < count; i++) {
		size_t len = (size_t)runs[i].pages * TP_PAGE_BYTES;

		if (at + len > FILE_BYTES)
			abort();
		memcpy(g->bytes + at, tp_pool_at(g->pool, runs[i].page), len);
		at += len;
		atomic_fetch_add(&g->write_pages, runs[i].pages);
		tp_pool_put(g->pool, runs[i].page, runs[i].pages);
	}
	atomic_fetch_add(&g->write_runs, count);
	tp_reply_data(g->session, &r->caller, &out, sizeof(out));
}

static void handle(struct tp_request *r, void *user)
{
	struct rig *g = user;
	struct fuse_attr_out attr = {0};
	struct fuse_open_out open_out = {.open_flags = FOPEN_DIRECT_IO};

	switch (r->caller.opcode) {
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
		break;
	case FUSE_LOOKUP:
		lookup(g, r);
		break;
	case FUSE_GETATTR:
		fill_attr(r->caller.node, &attr.attr);
		tp_reply_data(g->session, &r->caller, &attr, sizeof(attr));
		break;
	case FUSE_OPEN:
		tp_reply_data(g->session, &r->caller, &open_out, sizeof(open_out));
		break;
	case FUSE_READ:
		read_file(g, r);
		break;
	case FUSE_WRITE:
		write_file(g, r);
		break;
	case FUSE_FLUSH:
		atomic_store(&g->end, (int)tp_process_end_of((pid_t)r->caller.pid));
		tp_reply_error(g->session, &r->caller, 0);
		break;
	case FUSE_RELEASE:
		tp_reply_error(g->session, &r->caller, 0);
		break;
	default:
		tp_reply_error(g->session, &r->caller, ENOSYS);
	}
}

static void ready(void *user)
{
	sem_post(&((struct rig *)user)->ready);
}

static void *stop_when_told(void *arg)
{
	struct rig *g = arg;

	sem_wait(&g->stop);
	tp_session_stop(g->session);
	sem_post(&g->stopped);
	return NULL;
}

/* The server: what it says at its end is its exit code, 0 when all is well. */
static int serve(struct rig *g)
{
	static const struct tp_session_ops ops = {.handle = handle, .ready = ready};
	struct tp_pool_options pool = {.size_bytes = 64 << 20, .hugepages = TP_HUGEPAGES_OFF};
	struct tp_session_options options = {.mountpoint = g->dir,
		.fuse_options = "fsname=test,subtype=tidepool",
		.default_permissions = true,
		.stats = &g->stats,
		.ops = &ops,
		.user = g};
	struct tp_pool_usage usage;
	struct tp_err err = {""};
	pthread_t stopper;
	int r;

	rig = g;
	if (tp_pool_new(&pool, &err, &g->pool) < 0)
		return 10;
	options.pool = g->pool;
	if (tp_session_new(&options, &err, &g->session) < 0) {
		(void)fprintf(stderr, "%s\n", err.text);
		return 11;
	}
	if (pthread_create(&stopper, NULL, stop_when_told, g) != 0)
		return 12;
	r = tp_session_serve(g->session);
	/* Stopping what has ended is harmless, and must not touch what lies there now. */
	sem_post(&g->stop);
	pthread_join(stopper, NULL);
	tp_session_free(g->session);
	tp_pool_usage(g->pool, &usage);
	tp_pool_free(g->pool);
	if (r < 0)
		return 13;
	return usage.free_bytes == usage.size_bytes ? 0 : 14;
}

/* Mounts at g->dir; on return the mount works. */
static void rig_start(struct rig *g)
{
	pid_t pid;

	sem_init(&g->ready, 1, 0);
	sem_init(&g->parked, 1, 0);
	sem_init(&g->stop, 1, 0);
	sem_init(&g->stopped, 1, 0);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(serve(g));
	}
	g->server = pid;
	sem_wait(&g->ready);
}

/* Waits for the end of the server. */
static void rig_end(struct rig *g)
{
	int status;

	cr_assert_eq(waitpid(g->server, &status, 0), g->server);
	cr_assert(WIFEXITED(status));
	cr_assert_eq(WEXITSTATUS(status), 0);
	cr_assert_eq(rmdir(g->dir), 0);
}

static bool is_mounted(const struct rig *g)
{
	char line[1024], want[128];
	bool found = false;
	FILE *f = fopen("/proc/self/mounts", "r");

	cr_assert_not_null(f);
	(void)snprintf(want, sizeof(want), "test %.63s fuse.tidepool ", g->dir);
	while (fgets(line, sizeof(line), f))
		found = found || strncmp(line, want, strlen(want)) == 0;
	(void)fclose(f);
	return found;
}

static int open_file(const struct rig *g, int flags)
{
	char path[80];
	int fd;

	(void)snprintf(path, sizeof(path), "%.63s/file", g->dir);
	fd = open(path, flags | O_CLOEXEC);
	cr_assert_geq(fd, 0, "%s", strerror(errno));
	return fd;
}

static void check_data(struct rig *g)
{
	/* Aligned, since a request takes no more than 256 pages of the caller. */
	static _Alignas(4096) char wrote[FILE_BYTES], back[FILE_BYTES];
	struct stat st;
	int fd = open_file(g, O_RDWR);

	cr_assert_eq(fstat(fd, &st), 0);
	cr_assert_eq(st.st_size, FILE_BYTES);
	for (size_t i = 0; i < sizeof(wrote); i++)
		wrote[i] = (char)(i * 7 + i / 4096);
	cr_assert_eq(pwrite(fd, wrote, sizeof(wrote), 0), sizeof(wrote));
	/* One request, all of it in pages of the pool, in a row while the pool is empty. */
	cr_assert_eq(atomic_load(&g->writes), 1);
	cr_assert_eq(atomic_load(&g->write_pages), 256);
	cr_assert_eq(atomic_load(&g->write_runs), 1);
	cr_assert_eq(pread(fd, back, sizeof(back), 0), sizeof(back));
	cr_assert_eq(memcmp(wrote, back, sizeof(back)), 0);
	close(fd);
}

/* A child that reads a file whose reads wait. */
static pid_t start_reader(struct rig *g)
{
	int fd = open_file(g, O_RDONLY);
	pid_t pid;

	atomic_store(&g->park, true);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		char c;

		_exit(read(fd, &c, 1) < 0 ? errno : 0);
	}
	close(fd);
	sem_wait(&g->parked);
	return pid;
}

static void check_interrupt(struct rig *g)
{
	pid_t pid = start_reader(g);
	int status;

	cr_assert_eq(kill(pid, SIGKILL), 0);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFSIGNALED(status));
	atomic_store(&g->park, false);
}

/* How does the writer look at its last FLUSH, which it brings about like this? */
static void check_end(struct rig *g, void (*leave)(int fd), enum tp_end want)
{
	pid_t pid;
	int status;

	atomic_store(&g->end, -1);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		char path[80];
		int fd;

		(void)snprintf(path, sizeof(path), "%.63s/file", g->dir);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			_exit(99);
		leave(fd);
		_exit(0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(!WIFEXITED(status) || WEXITSTATUS(status) != 99);
	cr_assert_eq(atomic_load(&g->end), (int)want);
}

static void close_it(int fd)
{
	(void)close(fd);
}

static void exit_3(int fd)
{
	_exit(3);
}

static void be_killed(int fd)
{
	(void)kill(getpid(), SIGKILL);
}

static void exec_true(int fd)
{
	(void)execl("/bin/true", "true", (char *)NULL);
	_exit(99);
}

static void exit_0(int fd)
{
	_exit(0);
}

/* All that a session promises, in a mount namespace of our own. */
static void check_all(struct rig *g)
{
	siginfo_t info;
	char c;
	pid_t pid;
	int fd, status;

	rig_start(g);
	cr_assert(is_mounted(g));
	check_data(g);
	check_interrupt(g);
	check_end(g, close_it, TP_END_RUNS);
	check_end(g, exit_0, TP_END_GOOD);
	check_end(g, exit_3, TP_END_FAILED);
	check_end(g, be_killed, TP_END_KILLED);
	/* The kernel closes the file in the middle of execve(2), under a lock that much of /proc needs. */
	check_end(g, exec_true, TP_END_RUNS);
	/* Stopped with a file open and a reader that waits. */
	pid = start_reader(g);
	fd = open_file(g, O_RDONLY);
	sem_post(&g->stop);
	sem_wait(&g->stopped);
	cr_assert_not(is_mounted(g));
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status));
	cr_assert_neq(WEXITSTATUS(status), 0);
	/* Not before the server has hung up, which is soon: it may still be answering INTERRUPTs and the like. */
	cr_assert_eq(waitid(P_PID, (id_t)g->server, &info, WEXITED | WNOWAIT), 0);
	cr_assert_lt(read(fd, &c, 1), 0);
	cr_assert(errno == ENOTCONN || errno == ECONNABORTED);
	close(fd);
	rig_end(g);
}

/* Says why there can be no mount here, or NULL. On success we are in our own mount namespace and *ret->dir is there. */
static const char *prepare(struct rig **ret)
{
	struct rig *g;

	if (geteuid() != 0)
		return "not root";
	if (access("/dev/fuse", R_OK | W_OK) != 0)
		return "no /dev/fuse";
	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		return "no mount namespaces";
	g = mmap(NULL, sizeof(*g), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(g, MAP_FAILED);
	(void)strcpy(g->dir, "/tmp/tidepool-device-XXXXXX");
	cr_assert_not_null(mkdtemp(g->dir));
	*ret = g;
	return NULL;
}

Test(device, root_mounts_writes_and_stops, .timeout = 60)
{
	struct rig *g;
	const char *why = prepare(&g);

	if (why)
		cr_skip_test("%s", why);
	check_all(g);
}

Test(device, a_user_mounts_writes_and_stops, .timeout = 60)
{
	struct rig *g;
	const char *why = prepare(&g);
	char node[80];
	int fd, r;

	if (why)
		cr_skip_test("%s", why);
	if (access("/usr/bin/fusermount3", X_OK) != 0)
		cr_skip_test("no fusermount3");
	/* Not every machine lets users open the device; for us this one does. */
	(void)snprintf(node, sizeof(node), "%.63s.node", g->dir);
	cr_assert_eq(mknod(node, S_IFCHR | 0666, makedev(10, 229)), 0);
	cr_assert_eq(chmod(node, 0666), 0);
	r = mount(node, "/dev/fuse", NULL, MS_BIND, NULL);
	cr_assert_eq(unlink(node), 0);
	cr_assert_eq(r, 0);
	cr_assert_eq(chown(g->dir, 65534, 65534), 0);
	/* What is left of the test is the user's; it runs in a process of its own. */
	cr_assert_eq(setgid(65534), 0);
	cr_assert_eq(setuid(65534), 0);
	/* Who changed its user is closed to other processes of it, and we shall want to see how our children end. */
	cr_assert_eq(prctl(PR_SET_DUMPABLE, 1), 0);
	fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		cr_skip_test("devices do not work in /tmp");
	close(fd);
	check_all(g);
}

Test(device, one_that_is_unmounted_by_others_ends_by_itself, .timeout = 60)
{
	struct rig *g;
	const char *why = prepare(&g);

	if (why)
		cr_skip_test("%s", why);
	rig_start(g);
	cr_assert_eq(umount2(g->dir, 0), 0);
	rig_end(g);
}

Test(device, a_stranger_that_was_mounted_in_our_place_is_left_alone, .timeout = 60)
{
	struct rig *g;
	const char *why = prepare(&g);
	siginfo_t info;

	if (why)
		cr_skip_test("%s", why);
	rig_start(g);
	cr_assert_eq(umount2(g->dir, MNT_DETACH), 0);
	cr_assert_eq(mount("tmpfs", g->dir, "tmpfs", 0, NULL), 0);
	cr_assert_eq(waitid(P_PID, (id_t)g->server, &info, WEXITED | WNOWAIT), 0);
	cr_assert_eq(umount2(g->dir, 0), 0);
	rig_end(g);
}

Test(device, a_mount_point_that_is_not_there_is_named)
{
	struct tp_device_options options = {.mountpoint = "/nowhere/at/all"};
	struct tp_err err = {""};
	struct tp_device d;

	cr_assert_eq(tp_device_mount(&options, &err, &d), -ENOENT);
	cr_assert_str_eq(err.text, "mount point '/nowhere/at/all': No such file or directory");
}

Test(device, an_option_that_fuse_does_not_know_is_named)
{
	struct tp_device_options options = {.mountpoint = "/tmp", .fuse_options = "nonsense=1"};
	struct tp_err err = {""};
	struct tp_device d;

	cr_assert_eq(tp_device_mount(&options, &err, &d), -EINVAL);
	cr_assert_not_null(strstr(err.text, "nonsense"), "%s", err.text);
}
