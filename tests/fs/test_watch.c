/* SPDX-License-Identifier: Apache-2.0 */
/* The watcher comes and goes with its daemon, and crashes end as they would without a handler. That connections end is t_killed's business. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../store/scratch.h"
#include "fs/watch.h"

static char *guarded; /* a page that must not be touched */

static void read_line(const char *path, char *text, size_t len)
{
	FILE *f = fopen(path, "re");

	cr_assert(f, "%s: %s", path, strerror(errno));
	cr_assert(fgets(text, (int)len, f));
	text[strcspn(text, "\n")] = 0;
	(void)fclose(f);
}

Test(watch, has_its_own_name_and_leaves_nothing)
{
	struct tp_watch w;
	char path[64], text[256];
	pid_t pid;

	cr_assert_eq(tp_watch_begin(&w, "/tmp"), 0);
	pid = w.watcher;
	(void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	read_line(path, text, sizeof(text));
	cr_assert_str_eq(text, "tidepool-watch");
	(void)snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	read_line(path, text, sizeof(text));
	cr_assert_eq(strncmp(text, "tidepool-watch", strlen("tidepool-watch")), 0, "%s", text);
	(void)tp_watch_arm(&w);
	tp_watch_end(&w);
	cr_assert_eq(waitpid(-1, NULL, 0), -1);
	cr_assert_eq(errno, ECHILD);
	cr_assert_eq(kill(pid, 0), -1);
	tp_watch_end(&w);
}

Test(watch, stopped_or_killed_watcher_keeps_nobody_waiting)
{
	struct tp_watch w;

	cr_assert_eq(tp_watch_begin(&w, "/tmp"), 0);
	(void)kill(w.watcher, SIGSTOP);
	tp_watch_end(&w);
	cr_assert_eq(tp_watch_begin(&w, "/tmp"), 0);
	(void)kill(w.watcher, SIGKILL);
	cr_assert_eq(waitid(P_PID, (id_t)w.watcher, NULL, WEXITED | WNOWAIT), 0);
	(void)tp_watch_arm(&w);
	tp_watch_end(&w);
	cr_assert_eq(waitpid(-1, NULL, 0), -1);
}

Test(watch, ends_with_a_daemon_that_is_killed)
{
	int ends[2];
	pid_t daemon, watcher;

	cr_assert_eq(pipe(ends), 0);
	daemon = fork();
	if (daemon == 0) {
		struct tp_watch w;

		if (tp_watch_begin(&w, "/tmp") == 0 && write(ends[1], &w.watcher, sizeof(w.watcher)) > 0)
			(void)pause();
		_exit(1);
	}
	cr_assert_eq(read(ends[0], &watcher, sizeof(watcher)), sizeof(watcher));
	(void)kill(daemon, SIGKILL);
	(void)waitpid(daemon, NULL, 0);
	for (unsigned ms = 0; kill(watcher, 0) == 0 && ms < 20000; ms++) {
		char path[64], text[256];
		FILE *f;

		/* Where nobody reaps orphans it stays as a zombie. */
		(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)watcher);
		f = fopen(path, "re");
		if (!f)
			return;
		text[fread(text, 1, sizeof(text) - 1, f)] = 0;
		(void)fclose(f);
		if (strstr(text, ") Z "))
			return;
		(void)usleep(1000);
	}
	cr_assert_eq(kill(watcher, 0), -1, "the watcher is still there");
}

/* As an ordinary user, who may have no process more. Returns 0, or the number of what was wrong. */
static int begin_at_limit(void)
{
	struct rlimit none = {0, 0};
	struct tp_watch w;

	if (getuid() == 0 && setuid(65534) < 0)
		return 1;
	if (setrlimit(RLIMIT_NPROC, &none) < 0)
		return 2;
	if (tp_watch_begin(&w, "/tmp") != -EAGAIN || w.watcher != 0)
		return 3;
	if (tp_watch_arm(&w) >= 0)
		return 4;
	tp_watch_end(&w);
	return 0;
}

Test(watch, process_limit_is_no_reason_to_fail)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(begin_at_limit());
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0, "status %x", (unsigned)status);
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	_exit(sig == SIGSEGV && info->si_code == SEGV_ACCERR && info->si_addr == guarded + 100 ? 7 : 8);
}

/* In a process of its own: arms, says an event in STATE unless that is NULL, and faults, or aborts. Returns how it ended. */
static int crash(void (*handler)(int, siginfo_t *, void *), bool fault, const char *state)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct sigaction act = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
		struct rlimit none = {0, 0};
		struct tp_watch w;

		if (!handler)
			act = (struct sigaction){.sa_handler = SIG_DFL};
		(void)setrlimit(RLIMIT_CORE, &none);
		(void)sigaction(SIGSEGV, &act, NULL);
		(void)signal(SIGABRT, SIG_DFL);
		if (tp_watch_begin(&w, "/tmp") < 0)
			_exit(1);
		if (state) {
			struct tp_events *e;
			struct tp_err err;

			if (tp_events_open(state, tp_clock_system(), 4096, &err, &e) < 0)
				_exit(3);
			w.events = e;
			tp_events_say(e, "last", "words");
		}
		(void)tp_watch_arm(&w);
		if (fault)
			*(volatile char *)(guarded + 100) = 1;
		else
			abort();
		_exit(2);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return status;
}

static void guard(void)
{
	guarded = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(guarded, MAP_FAILED);
}

Test(watch, crash_ends_by_its_signal, .init = guard)
{
	int status = crash(NULL, true, NULL);

	cr_assert(WIFSIGNALED(status), "status %x", (unsigned)status);
	cr_assert_eq(WTERMSIG(status), SIGSEGV);
	status = crash(NULL, false, NULL);
	cr_assert(WIFSIGNALED(status), "status %x", (unsigned)status);
	cr_assert_eq(WTERMSIG(status), SIGABRT);
}

Test(watch, older_handler_sees_the_fault_as_it_was, .init = guard)
{
	int status = crash(on_fault, true, NULL);

	cr_assert(WIFEXITED(status), "status %x", (unsigned)status);
	cr_assert_eq(WEXITSTATUS(status), 7);
}

Test(watch, crash_writes_what_was_said_last)
{
	SCRATCH(dir);
	size_t len;
	char *text;
	int status = crash(NULL, false, dir.path);

	cr_assert(WIFSIGNALED(status), "status %x", (unsigned)status);
	text = scratch_read(scratch_path(&dir, "events"), &len);
	cr_assert(strstr(text, " last words\n"), "%s", text);
	free(text);
}
