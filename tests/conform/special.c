/* SPDX-License-Identifier: Apache-2.0 */
/* Fifos, sockets and device nodes in use; programs that are run. */
#include "files.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>

/* ---- fifos ---- */

TP_CASE(fifo, carries_bytes_between_processes, TP_ANYBODY)
{
	struct tp_side side;
	char b[8];
	int fd;

	OK(mkfifo(N("p"), 0644));
	if (tp_side_start(&side, TP_SAME)) {
		fd = (int)OK(open(N("p"), O_WRONLY));
		EQ(write(fd, "hello", 5), 5);
		OK(close(fd));
		tp_side_end(&side);
	}
	fd = (int)OK(open(N("p"), O_RDONLY));
	EQ(read(fd, b, 5), 5);
	CHECK(memcmp(b, "hello", 5) == 0);
	EQ(read(fd, b, 5), 0);
	tp_side_end(&side);
	EQ(tp_stat(N("p")).st_size, 0);
}

TP_CASE(fifo, writer_without_a_reader_is_enxio, TP_ANYBODY)
{
	int r;

	OK(mkfifo(N("p"), 0644));
	FAILS(open(N("p"), O_WRONLY | O_NONBLOCK), ENXIO);
	r = (int)OK(open(N("p"), O_RDONLY | O_NONBLOCK));
	OK(open(N("p"), O_WRONLY | O_NONBLOCK));
	OK(close(r));
}

TP_CASE(fifo, cannot_be_sought_or_cut, TP_ANYBODY)
{
	int fd;

	OK(mkfifo(N("p"), 0644));
	fd = (int)OK(open(N("p"), O_RDWR | O_NONBLOCK));
	FAILS(lseek(fd, 0, SEEK_SET), ESPIPE);
	FAILS(pread(fd, &fd, 1, 0), ESPIPE);
	FAILS(ftruncate(fd, 0), EINVAL);
	FAILS(fsync(fd), EINVAL);
}

TP_CASE(fifo, unlinked_and_renamed_while_open, TP_ANYBODY)
{
	char b[3];
	int fd;

	OK(mkfifo(N("p"), 0644));
	fd = (int)OK(open(N("p"), O_RDWR | O_NONBLOCK));
	OK(rename(N("p"), N("q")));
	EQ(write(fd, "abc", 3), 3);
	EQ(read((int)OK(open(N("q"), O_RDONLY | O_NONBLOCK)), b, 3), 3);
	OK(unlink(N("q")));
	EQ(write(fd, "abc", 3), 3);
	EQ(read(fd, b, 3), 3);
}

TP_CASE(fifo, permissions_count, TP_ROOT)
{
	OK(mkfifo(N("p"), 0600));
	AS (&tp_bob)
		FAILS(open(N("p"), O_RDONLY | O_NONBLOCK), EACCES);
	OK(chmod(N("p"), 0604));
	AS (&tp_bob) {
		OK(open(N("p"), O_RDONLY | O_NONBLOCK));
		FAILS(open(N("p"), O_RDWR | O_NONBLOCK), EACCES);
	}
}

/* ---- sockets ---- */

static struct sockaddr_un address(const char *name)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	snprintf(a.sun_path, sizeof a.sun_path, "%s", name);
	return a;
}

static int listening(const char *name)
{
	struct sockaddr_un a = address(name);
	int fd = (int)OK(socket(AF_UNIX, SOCK_STREAM, 0));

	OK(bind(fd, (struct sockaddr *)&a, sizeof a));
	OK(listen(fd, 5));
	return fd;
}

static int try_connect(const char *name)
{
	struct sockaddr_un a = address(name);
	int fd = (int)OK(socket(AF_UNIX, SOCK_STREAM, 0));

	return connect(fd, (struct sockaddr *)&a, sizeof a);
}

TP_CASE(socket, is_bound_and_found, TP_ANYBODY)
{
	struct sockaddr_un a = address(N("s"));
	int fd, peer, mine;
	char b[3];

	fd = listening(N("s"));
	CHECK(S_ISSOCK(tp_stat(N("s")).st_mode));
	mine = (int)OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(connect(mine, (struct sockaddr *)&a, sizeof a));
	peer = (int)OK(accept(fd, NULL, NULL));
	EQ(write(mine, "abc", 3), 3);
	EQ(read(peer, b, 3), 3);
}

TP_CASE(socket, name_in_use_is_eaddrinuse, TP_ANYBODY)
{
	struct sockaddr_un a = address(N("s"));
	int fd = (int)OK(socket(AF_UNIX, SOCK_STREAM, 0));

	tp_touch(N("s"));
	FAILS(bind(fd, (struct sockaddr *)&a, sizeof a), EADDRINUSE);
}

TP_CASE(socket, without_a_listener_is_econnrefused, TP_ANYBODY)
{
	tp_make(TP_SOCKET, N("s"));
	FAILS(try_connect(N("s")), ECONNREFUSED);
	FAILS(try_connect(N("t")), ENOENT);
	OK(unlink(N("s")));
	FAILS(try_connect(N("s")), ENOENT);
	tp_touch(N("f"));
	FAILS(try_connect(N("f")), ECONNREFUSED);
}

TP_CASE(socket, is_found_after_rename_and_by_a_link, TP_ANYBODY)
{
	int fd = listening(N("s"));

	OK(rename(N("s"), N("t")));
	OK(try_connect(N("t")));
	OK(link(N("t"), N("u")));
	OK(try_connect(N("u")));
	FAILS(try_connect(N("s")), ENOENT);
	OK(close(fd));
	FAILS(try_connect(N("t")), ECONNREFUSED);
}

TP_CASE(socket, needs_write_permission, TP_ROOT)
{
	int fd = listening(N("s"));

	OK(chmod(N("s"), 0755));
	AS (&tp_bob)
		FAILS(try_connect(N("s")), EACCES);
	OK(chmod(N("s"), 0757));
	AS (&tp_bob)
		OK(try_connect(N("s")));
	OK(close(fd));
}

/* ---- devices ---- */

TP_CASE(device, null_works, TP_ROOT)
{
	char b;
	int fd;

	OK(mknod(N("null"), S_IFCHR | 0666, makedev(1, 3)));
	fd = open(N("null"), O_RDWR);
	if (fd < 0 && (errno == EACCES || errno == EPERM))
		tp_case_skip("mounted with nodev");
	OK(fd);
	EQ(write(fd, "abc", 3), 3);
	EQ(read(fd, &b, 1), 0);
	EQ(tp_stat(N("null")).st_size, 0);
}

TP_CASE(device, zero_works_after_rename_and_link, TP_ROOT)
{
	char b = 'x';
	int fd;

	OK(mknod(N("zero"), S_IFCHR | 0666, makedev(1, 5)));
	OK(link(N("zero"), N("z")));
	OK(rename(N("zero"), N("y")));
	fd = open(N("y"), O_RDWR);
	if (fd < 0 && (errno == EACCES || errno == EPERM))
		tp_case_skip("mounted with nodev");
	EQ(read((int)OK(fd), &b, 1), 1);
	EQ(b, 0);
	EQ(tp_stat(N("z")).st_rdev, makedev(1, 5));
}

TP_CASE(device, unknown_number_is_enxio, TP_ROOT)
{
	OK(mknod(N("c"), S_IFCHR | 0666, makedev(4000, 77)));
	if (open(N("c"), O_RDONLY) < 0 && (errno == EACCES || errno == EPERM))
		tp_case_skip("mounted with nodev");
	FAILS(open(N("c"), O_RDONLY), ENXIO);
}

/* ---- programs ---- */

static const char self[] = "/proc/self/exe";

static void put_program(const char *source, const char *path)
{
	static char buf[1 << 16];
	int from = (int)OK(open(source, O_RDONLY)), to;
	ssize_t n;

	to = (int)OK(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755));
	while ((n = (ssize_t)OK(read(from, buf, sizeof buf))) > 0)
		EQ(write(to, buf, (size_t)n), n);
	OK(close(to));
	OK(close(from));
}

/* Runs path with --help; its exit status, or -1 with errno. */
static int run_program(const char *path)
{
	int status, pipes[2], err = 0;
	pid_t pid;

	OK(pipe2(pipes, O_CLOEXEC));
	pid = (pid_t)OK(fork());
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, 1);
		execl(path, "program", "--help", (char *)NULL);
		err = errno;
		if (write(pipes[1], &err, sizeof err) < 0)
			_exit(126);
		_exit(127);
	}
	OK(close(pipes[1]));
	if (read(pipes[0], &err, sizeof err) < 0)
		err = errno;
	OK(close(pipes[0]));
	OK(waitpid(pid, &status, 0));
	errno = err;
	return err ? -1 : WEXITSTATUS(status);
}

static void need_exec(void)
{
	tp_put(N("sh"), "#!/bin/sh\nexit 0\n", 17);
	OK(chmod(N("sh"), 0755));
	if (run_program(N("./sh")) < 0 && errno == EACCES)
		tp_case_skip("mounted with noexec");
}

TP_CASE(exec, program_and_script_run, TP_ANYBODY)
{
	need_exec();
	put_program(self, N("prog"));
	EQ(OK(run_program(N("./prog"))), 0);
	tp_put(N("three"), "#!/bin/sh\nexit 3\n", 17);
	OK(chmod(N("three"), 0700));
	EQ(OK(run_program(N("./three"))), 3);
}

TP_CASE(exec, without_the_bit_is_eacces, TP_ANYBODY)
{
	need_exec();
	put_program(self, N("prog"));
	OK(chmod(N("prog"), 0644));
	FAILS(run_program(N("./prog")), EACCES);
	FAILS(run_program("."), EACCES);
	FAILS(run_program(N("./missing")), ENOENT);
	tp_put(N("junk"), "junk", 4);
	OK(chmod(N("junk"), 0755));
	FAILS(run_program(N("./junk")), ENOEXEC);
}

TP_CASE(exec, replaced_program_is_the_new_one, TP_ANYBODY)
{
	char text[32];

	need_exec();
	for (int i = 0; i < 3; i++) {
		snprintf(text, sizeof text, "#!/bin/sh\nexit %d\n", i);
		tp_put(N("new"), text, strlen(text));
		OK(chmod(N("new"), 0755));
		OK(rename(N("new"), N("script")));
		EQ(OK(run_program(N("./script"))), i);
	}
}

TP_CASE(exec, opening_a_running_program_for_writing_is_etxtbsy, TP_ANYBODY)
{
	int status, pipes[2];
	char b;
	pid_t pid;

	need_exec();
	put_program(self, N("prog"));
	/* It runs until somebody reads: its list of cases is longer than the pipe. */
	OK(pipe(pipes));
	OK(fcntl(pipes[0], F_SETPIPE_SZ, 4096));
	pid = (pid_t)OK(fork());
	if (pid == 0) {
		OK(dup2(pipes[1], 1));
		OK(close(pipes[0]));
		execl(N("./prog"), "prog", "--list", (char *)NULL);
		_exit(127);
	}
	EQ(read(pipes[0], &b, 1), 1);
	FAILS(open(N("prog"), O_WRONLY), ETXTBSY);
	FAILS(truncate(N("prog"), 0), ETXTBSY);
	OK(unlink(N("prog")));
	OK(close(pipes[0]));
	OK(close(pipes[1]));
	OK(waitpid(pid, &status, 0));
	CHECK(!tp_exists(N("prog")));
}

TP_CASE(exec, running_what_is_open_for_writing_is_etxtbsy, TP_ANYBODY)
{
	int fd;

	need_exec();
	put_program(self, N("prog"));
	fd = (int)OK(open(N("prog"), O_RDWR | O_CLOEXEC));
	FAILS(run_program(N("./prog")), ETXTBSY);
	OK(close(fd));
	EQ(OK(run_program(N("./prog"))), 0);
}

TP_CASE(exec, setuid_program_changes_the_user, TP_ROOT)
{
	char text[32] = "";
	int status, pipes[2];
	pid_t pid;

	need_exec();
	if (access("/usr/bin/id", R_OK) < 0)
		tp_case_skip("no /usr/bin/id here");
	put_program("/usr/bin/id", N("prog"));
	OK(chown(N("prog"), tp_alice.uid, tp_alice.gid));
	OK(chmod(N("prog"), 04755));
	OK(pipe(pipes));
	pid = (pid_t)OK(fork());
	if (pid == 0) {
		OK(dup2(pipes[1], 1));
		OK(setgid(tp_bob.gid));
		OK(setuid(tp_bob.uid));
		execl(N("./prog"), "id", "-u", (char *)NULL);
		_exit(127);
	}
	OK(close(pipes[1]));
	CHECK(OK(read(pipes[0], text, sizeof text - 1)) > 0);
	OK(waitpid(pid, &status, 0));
	EQ(status, 0);
	if (strtoul(text, NULL, 10) == tp_bob.uid)
		tp_case_skip("mounted with nosuid");
	EQ(strtoul(text, NULL, 10), tp_alice.uid);
}
