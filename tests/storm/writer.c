/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tp-writer 'COMMAND; COMMAND; ...': one process that does with files what it is told, for tests written in shell.
 *
 *	open PATH FLAGS [SLOT]		FLAGS of r w b (both) c x t a d (O_DIRECT), MODE 0644; slot 0 unless said
 *	tmpfile DIR [SLOT]		O_TMPFILE
 *	linkat PATH [SLOT]		gives it a name
 *	close, fsync, dup TO [SLOT]	of a slot: the last argument, 0 unless said
 *	write COUNT CHAR [SLOT]		at the descriptor's place
 *	pwrite OFF COUNT CHAR [SLOT]
 *	ftruncate LEN [SLOT]
 *	mmap LEN [SLOT], mwrite OFF COUNT CHAR, msync, munmap
 *	holds COUNT CHAR [SLOT]		what is read from offset 0 is just that
 *	links COUNT [SLOT]		st_nlink
 *	unlink PATH, rename A B, link A B, mkdir PATH, rmdir PATH, truncate PATH LEN, chmod PATH OCTAL
 *	exists PATH, absent PATH, listed DIR NAME, unlisted DIR NAME
 *	size PATH LEN, same A B		(A and B have one inode number)
 *	say TEXT			a line on stdout
 *	wait				for a line on stdin
 *	kill SIGNAL, exit STATUS	of itself
 *	child				forks one that does nothing and keeps all descriptors
 *	endchild SIGNAL|exit		ends it, by a signal or by exit(3)
 *	fork C1, C2, ...		a child does these commands and exits 0; waits for it
 *	thread COMMAND			another thread does it
 *	!ERRNO COMMAND			it must fail, and so
 *
 * A command that does not do what it should says so on stderr and ends the process with status 98.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLOTS 8
#define ARGS 6

static int fds[SLOTS] = {-1, -1, -1, -1, -1, -1, -1, -1};
static char *map;
static size_t map_len;
static pid_t child;

struct command {
	const char *name;
	int (*run)(char **arg, int count);
	int args; /* without the slot */
};

static int checked(long r)
{
	return r < 0 ? -errno : 0;
}

static int fd_of(char **arg, int count, int at)
{
	return fds[count > at ? atoi(arg[at]) % SLOTS : 0];
}

static int do_open(char **arg, int count)
{
	int flags = strchr(arg[1], 'b') ? O_RDWR : strchr(arg[1], 'w') ? O_WRONLY : O_RDONLY;

	flags |= strchr(arg[1], 'c') ? O_CREAT : 0;
	flags |= strchr(arg[1], 'x') ? O_EXCL : 0;
	flags |= strchr(arg[1], 't') ? O_TRUNC : 0;
	flags |= strchr(arg[1], 'a') ? O_APPEND : 0;
	flags |= strchr(arg[1], 'd') ? O_DIRECT : 0;
	int fd = open(arg[0], flags, 0644);

	if (fd < 0)
		return -errno;
	fds[count > 2 ? atoi(arg[2]) % SLOTS : 0] = fd;
	return 0;
}

static int do_tmpfile(char **arg, int count)
{
	int fd = open(arg[0], O_TMPFILE | O_RDWR, 0644);

	if (fd < 0)
		return -errno;
	fds[count > 1 ? atoi(arg[1]) % SLOTS : 0] = fd;
	return 0;
}

static int do_linkat(char **arg, int count)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd_of(arg, count, 1));
	return checked(linkat(AT_FDCWD, path, AT_FDCWD, arg[0], AT_SYMLINK_FOLLOW));
}

static int do_close(char **arg, int count)
{
	return checked(close(fd_of(arg, count, 0)));
}

static int do_fsync(char **arg, int count)
{
	return checked(fsync(fd_of(arg, count, 0)));
}

static int do_dup(char **arg, int count)
{
	return checked(fds[atoi(arg[0]) % SLOTS] = dup(fd_of(arg, count, 1)));
}

static int put(int fd, off_t off, long len, char c)
{
	char *buf = malloc((size_t)len + 1);
	long done = 0;

	if (!buf)
		return -ENOMEM;
	memset(buf, c, (size_t)len);
	while (done < len) {
		ssize_t r = off < 0 ? write(fd, buf, (size_t)(len - done))
				    : pwrite(fd, buf, (size_t)(len - done), off + done);

		if (r <= 0) {
			free(buf);
			return r < 0 ? -errno : -EIO;
		}
		done += r;
	}
	free(buf);
	return 0;
}

static int do_write(char **arg, int count)
{
	return put(fd_of(arg, count, 2), -1, atol(arg[0]), arg[1][0]);
}

static int do_pwrite(char **arg, int count)
{
	return put(fd_of(arg, count, 3), atol(arg[0]), atol(arg[1]), arg[2][0]);
}

static int do_ftruncate(char **arg, int count)
{
	return checked(ftruncate(fd_of(arg, count, 1), atol(arg[0])));
}

static int do_mmap(char **arg, int count)
{
	map_len = (size_t)atol(arg[0]);
	map = mmap(NULL, map_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd_of(arg, count, 1), 0);
	return map == MAP_FAILED ? -errno : 0;
}

static int do_mwrite(char **arg, int count)
{
	memset(map + atol(arg[0]), arg[2][0], (size_t)atol(arg[1]));
	return 0;
}

static int do_msync(char **arg, int count)
{
	return checked(msync(map, map_len, MS_SYNC));
}

static int do_munmap(char **arg, int count)
{
	return checked(munmap(map, map_len));
}

static int do_holds(char **arg, int count)
{
	long want = atol(arg[0]), len = 0;
	int fd = fd_of(arg, count, 2);
	char buf[65536];

	for (;;) {
		ssize_t r = pread(fd, buf, sizeof(buf), len);

		if (r < 0)
			return -errno;
		if (r == 0)
			break;
		for (ssize_t i = 0; i < r; i++) {
			if (buf[i] != arg[1][0])
				return -EILSEQ;
		}
		len += r;
	}
	return len == want ? 0 : -EMSGSIZE;
}

static int do_links(char **arg, int count)
{
	struct stat st;
	int r = checked(fstat(fd_of(arg, count, 1), &st));

	return r ? r : st.st_nlink == (nlink_t)atol(arg[0]) ? 0 : -EMLINK;
}

static int do_unlink(char **arg, int count)
{
	return checked(unlink(arg[0]));
}

static int do_rename(char **arg, int count)
{
	return checked(rename(arg[0], arg[1]));
}

static int do_link(char **arg, int count)
{
	return checked(link(arg[0], arg[1]));
}

static int do_mkdir(char **arg, int count)
{
	return checked(mkdir(arg[0], 0755));
}

static int do_rmdir(char **arg, int count)
{
	return checked(rmdir(arg[0]));
}

static int do_truncate(char **arg, int count)
{
	return checked(truncate(arg[0], atol(arg[1])));
}

static int do_chmod(char **arg, int count)
{
	return checked(chmod(arg[0], (mode_t)strtol(arg[1], NULL, 8)));
}

static int do_exists(char **arg, int count)
{
	struct stat st;

	return checked(lstat(arg[0], &st));
}

static int do_absent(char **arg, int count)
{
	struct stat st;

	if (lstat(arg[0], &st) == 0)
		return -EEXIST;
	return errno == ENOENT ? 0 : -errno;
}

static int is_listed(const char *dir, const char *name)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int r = 0;

	if (!d)
		return -errno;
	while ((e = readdir(d)))
		r |= strcmp(e->d_name, name) == 0;
	(void)closedir(d);
	return r;
}

static int do_listed(char **arg, int count)
{
	int r = is_listed(arg[0], arg[1]);

	return r == 0 ? -ENOENT : r < 0 ? r : 0;
}

static int do_unlisted(char **arg, int count)
{
	int r = is_listed(arg[0], arg[1]);

	return r > 0 ? -EEXIST : r;
}

static int do_size(char **arg, int count)
{
	struct stat st;
	int r = checked(lstat(arg[0], &st));

	return r ? r : st.st_size == atol(arg[1]) ? 0 : -EMSGSIZE;
}

static int do_same(char **arg, int count)
{
	struct stat a, b;

	if (lstat(arg[0], &a) != 0 || lstat(arg[1], &b) != 0)
		return -errno;
	return a.st_ino == b.st_ino ? 0 : -EXDEV;
}

static int do_say(char **arg, int count)
{
	(void)printf("%s\n", arg[0]);
	return fflush(stdout) == 0 ? 0 : -EPIPE;
}

static int do_wait(char **arg, int count)
{
	char c;
	ssize_t r;

	do {
		r = read(0, &c, 1);
	} while (r == 1 && c != '\n');
	return r == 1 ? 0 : -EPIPE;
}

static int do_kill(char **arg, int count)
{
	/* Whoever started the tests may have had it ignored. */
	if (atoi(arg[0]) != SIGKILL)
		(void)signal(atoi(arg[0]), SIG_DFL);
	(void)kill(getpid(), atoi(arg[0]));
	(void)pause();
	return -ESRCH;
}

static int do_exit(char **arg, int count)
{
	exit(atoi(arg[0]));
}

static int do_child(char **arg, int count)
{
	child = fork();
	if (child < 0)
		return -errno;
	while (child == 0) {
		/* By SIGUSR1 it is told to end by itself. */
		int sig;
		sigset_t set;

		(void)sigemptyset(&set);
		(void)sigaddset(&set, SIGUSR1);
		if (sigwait(&set, &sig) == 0)
			_exit(3);
	}
	return 0;
}

static int do_endchild(char **arg, int count)
{
	(void)kill(child, strcmp(arg[0], "exit") == 0 ? SIGUSR1 : atoi(arg[0]));
	return waitpid(child, NULL, 0) == child ? 0 : -ECHILD;
}

static const struct command commands[] = {
	{"open", do_open, 2},
	{"tmpfile", do_tmpfile, 1},
	{"linkat", do_linkat, 1},
	{"close", do_close, 0},
	{"fsync", do_fsync, 0},
	{"dup", do_dup, 1},
	{"write", do_write, 2},
	{"pwrite", do_pwrite, 3},
	{"ftruncate", do_ftruncate, 1},
	{"mmap", do_mmap, 1},
	{"mwrite", do_mwrite, 3},
	{"msync", do_msync, 0},
	{"munmap", do_munmap, 0},
	{"holds", do_holds, 2},
	{"links", do_links, 1},
	{"unlink", do_unlink, 1},
	{"rename", do_rename, 2},
	{"link", do_link, 2},
	{"mkdir", do_mkdir, 1},
	{"rmdir", do_rmdir, 1},
	{"truncate", do_truncate, 2},
	{"chmod", do_chmod, 2},
	{"exists", do_exists, 1},
	{"absent", do_absent, 1},
	{"listed", do_listed, 2},
	{"unlisted", do_unlisted, 2},
	{"size", do_size, 2},
	{"same", do_same, 2},
	{"say", do_say, 1},
	{"wait", do_wait, 0},
	{"kill", do_kill, 1},
	{"exit", do_exit, 1},
	{"child", do_child, 0},
	{"endchild", do_endchild, 1},
};

static void run_list(char *list, char separator);

static void *run_in_thread(void *text)
{
	run_list(text, '\0');
	return NULL;
}

static void run_apart(const char *how, char *rest)
{
	pthread_t thread;

	if (strcmp(how, "thread") == 0) {
		if (pthread_create(&thread, NULL, run_in_thread, rest) != 0 ||
			pthread_join(thread, NULL) != 0)
			_exit(98);
		return;
	}
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		run_list(rest, ',');
		_exit(0);
	}
	/* How it ended is the test's own doing, unless a command failed. */
	if (waitpid(pid, &status, 0) != pid || (WIFEXITED(status) && WEXITSTATUS(status) == 98))
		_exit(98);
}

static void fail(const char *text, int r, const char *want)
{
	(void)fprintf(stderr, "tp-writer: %s: %s%s%s\n", text, r ? strerrorname_np(-r) : "success",
		want ? ", expected " : "", want ? want : "");
	_exit(98);
}

static void run_one(char *text)
{
	char copy[512], *save, *arg[ARGS + 2], *want = NULL;
	int count = 0;

	while (*text == ' ')
		text++;
	if (*text == 0)
		return;
	if (strncmp(text, "fork ", 5) == 0 || strncmp(text, "thread ", 7) == 0) {
		char *rest = strchr(text, ' ');

		*rest = 0;
		run_apart(text, rest + 1);
		return;
	}
	(void)snprintf(copy, sizeof(copy), "%s", text);
	for (char *word = strtok_r(copy, " ", &save); word && count <= ARGS;
		word = strtok_r(NULL, " ", &save)) {
		if (!want && count == 0 && word[0] == '!')
			want = word + 1;
		else
			arg[count++] = word;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].name, arg[0]) != 0 || count - 1 < commands[i].args)
			continue;
		int r = commands[i].run(arg + 1, count - 1);

		if (want ? r == 0 || strcmp(strerrorname_np(-r), want) != 0 : r != 0)
			fail(text, r, want);
		return;
	}
	fail(text, -ENOSYS, NULL);
}

static void run_list(char *list, char separator)
{
	while (list) {
		char *end = separator ? strchr(list, separator) : NULL;

		if (end)
			*end = 0;
		run_one(list);
		list = end ? end + 1 : NULL;
	}
}

int main(int argc, char **argv)
{
	sigset_t set;

	if (argc != 2) {
		(void)fprintf(stderr, "usage: tp-writer 'COMMAND; COMMAND; ...'\n");
		return 2;
	}
	/* For the child of `child`, which waits for it. */
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGUSR1);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	run_list(argv[1], ';');
	return 0;
}
