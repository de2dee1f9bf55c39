/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tp-conform: does a directory behave as POSIX and Linux say a directory does?
 *
 * Every case runs in an own process, in a fresh directory below DIR that is removed afterwards; a removal that fails
 * fails the case. Nothing here knows what file system is tested. Where one differs on purpose, a table says so
 * (--expect): the cases in it must fail, all others must pass.
 */
#include "case.h"

#include <assert.h>
#include <dirent.h>
#include <fnmatch.h>
#include <getopt.h>
#include <grp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

enum { CASE_SECONDS_MAX = 60, SLOW_MS = 50 };

struct run {
	const char *dir;    /* where the user said */
	const char *filter; /* glob over names of cases; NULL: all */
	const char *expect; /* file with the table of differences; NULL: none */
	const char *step;   /* which rows of it count; NULL: all */
	uid_t uid;	    /* as whom to run */
	bool list, verbose;
	char base[4096];  /* the directory of this run, below dir */
	struct row *rows; /* the table */
	unsigned passed, failed, skipped, differed;
};

/* One line of the table: a case that is to fail, with what. */
struct row {
	char name[128];
	char steps[128]; /* separated by commas */
	char error[32];	 /* name of the errno, or "-" when the failing check is about a value */
	struct row *next;
};

static const char usage_text[] =
	"usage: tp-conform [OPTION]... DIR\n"
	"Run the conformance cases in DIR, each in a fresh directory.\n"
	"  --list           print the names of the cases\n"
	"  --as-user UID    become UID (and group UID) first; for root\n"
	"  --filter GLOB    only the cases whose name matches, like 'rename/*'\n"
	"  --expect FILE    a table of cases that are to fail: NAME STEPS ERRNO REASON\n"
	"  --step STEP      which of the table's steps this run is about\n"
	"  --temporary      put a dot before every name\n"
	"  --verbose        a line for every case\n"
	"Exit: 0 all as expected, 1 not, 2 it could not be run.\n";

static void die(const char *what, const char *name)
{
	fprintf(stderr, "tp-conform: %s '%s': %s\n", what, name, strerror(errno));
	exit(2);
}

static bool has_word(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = list; *p; p += strcspn(p, ",") + (p[strcspn(p, ",")] == ','))
		if (strcspn(p, ",") == n && memcmp(p, word, n) == 0)
			return true;
	return false;
}

static struct tp_case *find_case(const char *name)
{
	for (struct tp_case *c = tp_case_first(); c; c = c->next)
		if (strcmp(c->name, name) == 0)
			return c;
	return NULL;
}

/* A row that names no case would never be missed, so it is refused. */
static void read_rows(struct run *run)
{
	FILE *f = fopen(run->expect, "re");
	char line[1024];

	if (!f)
		die("cannot read", run->expect);
	while (fgets(line, sizeof line, f)) {
		struct row *row;

		if (line[strspn(line, " \t\n")] == '\0' || line[0] == '#')
			continue;
		row = calloc(1, sizeof *row);
		assert(row);
		if (sscanf(line, "%127s %127s %31s", row->name, row->steps, row->error) != 3) {
			fprintf(stderr, "tp-conform: '%s' has a line that is not NAME STEPS ERRNO REASON: %s",
				run->expect, line);
			exit(2);
		}
		if (!find_case(row->name)) {
			fprintf(stderr, "tp-conform: '%s' names '%s', which is no case\n", run->expect,
				row->name);
			exit(2);
		}
		row->next = run->rows;
		run->rows = row;
	}
	fclose(f);
}

static void free_rows(struct run *run)
{
	while (run->rows) {
		struct row *next = run->rows->next;

		free(run->rows);
		run->rows = next;
	}
}

static const struct row *find_row(const struct run *run, const char *name)
{
	for (const struct row *row = run->rows; row; row = row->next)
		if (strcmp(row->name, name) == 0 && (!run->step || has_word(row->steps, run->step)))
			return row;
	return NULL;
}

/* Removes name and what is below it; the permissions of directories are opened on the way. Returns 0 or -errno. */
static int remove_tree(int parent, const char *name)
{
	struct dirent *e;
	DIR *dir;
	int fd, r = 0;

	if (unlinkat(parent, name, 0) == 0)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == EACCES && fchmodat(parent, name, 0700, 0) == 0)
		fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	(void)fchmod(fd, 0700);
	dir = fdopendir(fd);
	assert(dir);
	while (r == 0 && (e = readdir(dir)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = remove_tree(fd, e->d_name);
	closedir(dir);
	if (r == 0 && unlinkat(parent, name, AT_REMOVEDIR) < 0)
		r = -errno;
	return r;
}

static void child(const struct run *run, const struct tp_case *c, const char *where)
{
	struct rlimit no_core = {0, 0};

	(void)setpgid(0, 0);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)setrlimit(RLIMIT_CORE, &no_core);
	umask(022);
	alarm(CASE_SECONDS_MAX);
	if (chdir(where) < 0)
		tp_case_fail(__FILE__, __LINE__, errno, "chdir to the case's directory");
	c->run(c);
	_exit(0);
}

static void judge_end(int status)
{
	if (tp_verdict->state != TP_PASSED || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
		return;
	tp_verdict->state = TP_FAILED;
	tp_verdict->file = "?";
	snprintf(tp_verdict->text, sizeof tp_verdict->text,
		WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? "did not end (status 0x%x)"
								   : "ended with status 0x%x",
		status);
}

static const char *error_name(int err)
{
	const char *name = err ? strerrorname_np(err) : "-";

	return name ? name : "?";
}

static void report(struct run *run, const struct tp_case *c, long ms)
{
	const struct row *row = find_row(run, c->name);
	const struct tp_verdict *v = tp_verdict;
	const char *word = "ok", *file = v->file ? v->file : "?";

	if (v->state == TP_SKIPPED) {
		run->skipped++;
		if (run->verbose)
			printf("skip    %s: %s\n", c->name, v->text);
		return;
	}
	if (v->state == TP_PASSED && !row) {
		run->passed++;
		if (run->verbose)
			printf("%-7s %s (%ld ms)\n", ms > SLOW_MS ? "slow" : "ok", c->name, ms);
		return;
	}
	if (v->state == TP_PASSED) {
		run->failed++;
		printf("FAIL    %s: passes, though the table says that it differs\n", c->name);
		return;
	}
	if (row && strcmp(row->error, error_name(v->err)) == 0) {
		run->differed++;
		word = "differs";
		if (!run->verbose)
			return;
	} else {
		run->failed++;
		word = "FAIL";
	}
	/* The compiler's path begins wherever it was called. */
	if (strstr(file, "tests/conform/"))
		file = strstr(file, "tests/conform/");
	printf("%-7s %s: %s:%d: %s [%s]\n", word, c->name, file, v->line, v->text, error_name(v->err));
}

static void run_case(struct run *run, const struct tp_case *c, unsigned number)
{
	struct timespec from, to;
	char where[4200];
	int status = 0, r;
	pid_t pid;

	memset(tp_verdict, 0, sizeof *tp_verdict);
	snprintf(where, sizeof where, "%s/%u", run->base, number);
	if (mkdir(where, 0755) < 0 || chmod(where, 0755) < 0)
		die("cannot make the directory", where);
	fflush(stdout);
	clock_gettime(CLOCK_MONOTONIC, &from);
	pid = fork();
	if (pid < 0)
		die("cannot start", c->name);
	if (pid == 0)
		child(run, c, where);
	while (waitpid(pid, &status, 0) < 0)
		assert(errno == EINTR);
	clock_gettime(CLOCK_MONOTONIC, &to);
	/* What the case left running would keep files open that the next line removes. */
	if (kill(-pid, SIGKILL) == 0)
		while (waitpid(-pid, NULL, 0) > 0)
			continue;
	judge_end(status);
	r = remove_tree(AT_FDCWD, where);
	if (r < 0 && tp_verdict->state != TP_FAILED) {
		tp_verdict->state = TP_FAILED;
		tp_verdict->file = "the end";
		tp_verdict->err = -r;
		snprintf(tp_verdict->text, sizeof tp_verdict->text, "removing the case's directory failed");
	}
	report(run, c, (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000);
}

static void skip_case(struct run *run, const struct tp_case *c)
{
	tp_verdict->state = TP_SKIPPED;
	snprintf(tp_verdict->text, sizeof tp_verdict->text,
		c->who == TP_ROOT ? "only root can run it" : "is about an ordinary user");
	report(run, c, 0);
}

/* Makes the directory of this run, owned by the user that runs the cases. */
static void make_base(struct run *run)
{
	snprintf(run->base, sizeof run->base, "%s/conform-XXXXXX", run->dir);
	if (!mkdtemp(run->base))
		die("cannot make a directory in", run->dir);
	if (chmod(run->base, 0755) < 0)
		die("cannot change", run->base);
	if (run->uid != geteuid() && chown(run->base, run->uid, run->uid) < 0)
		die("cannot give away", run->base);
}

static void become(const struct run *run)
{
	if (run->uid == geteuid())
		return;
	if (setgroups(0, NULL) < 0 || setresgid(run->uid, run->uid, run->uid) < 0 ||
		setresuid(run->uid, run->uid, run->uid) < 0)
		die("cannot become another user for", run->dir);
	/* Or /proc would hide from a case where its second process waits. */
	(void)prctl(PR_SET_DUMPABLE, 1);
}

/* Runs what the filter lets through; returns main's exit status. */
static int run_cases(struct run *run)
{
	unsigned number = 0;
	bool root = geteuid() == 0;

	for (const struct tp_case *c = tp_case_first(); c; c = c->next) {
		if (run->filter && fnmatch(run->filter, c->name, 0) != 0)
			continue;
		number++;
		if ((c->who == TP_ROOT && !root) || (c->who == TP_USER && root))
			skip_case(run, c);
		else
			run_case(run, c, number);
	}
	if (number == 0) {
		fprintf(stderr, "tp-conform: no case matches '%s'\n", run->filter);
		return 2;
	}
	printf("%u cases: %u passed, %u failed, %u differ as listed, %u skipped\n", number, run->passed,
		run->failed, run->differed, run->skipped);
	return run->failed > 0;
}

static void list_cases(const struct run *run)
{
	for (const struct tp_case *c = tp_case_first(); c; c = c->next)
		if (!run->filter || fnmatch(run->filter, c->name, 0) == 0)
			printf("%s\n", c->name);
}

static void parse(struct run *run, int argc, char **argv)
{
	static const struct option options[] = {{"list", no_argument, NULL, 'l'},
		{"as-user", required_argument, NULL, 'u'}, {"filter", required_argument, NULL, 'f'},
		{"expect", required_argument, NULL, 'e'}, {"step", required_argument, NULL, 's'},
		{"temporary", no_argument, NULL, 't'}, {"verbose", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'}, {0}};
	char *end;
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case 'l':
			run->list = true;
			break;
		case 'u':
			run->uid = (uid_t)strtoul(optarg, &end, 10);
			if (*end || end == optarg) {
				fprintf(stderr, "tp-conform: '%s' is no user id\n", optarg);
				exit(2);
			}
			break;
		case 'f':
			run->filter = optarg;
			break;
		case 'e':
			run->expect = optarg;
			break;
		case 's':
			run->step = optarg;
			break;
		case 't':
			tp_case_temporary = true;
			break;
		case 'v':
			run->verbose = true;
			break;
		case 'h':
			fputs(usage_text, stdout);
			exit(0);
		default:
			fputs(usage_text, stderr);
			exit(2);
		}
	}
	if (optind + !run->list != argc) {
		fputs(usage_text, stderr);
		exit(2);
	}
	run->dir = argv[optind];
}

int main(int argc, char **argv)
{
	struct run run = {.uid = geteuid()};
	int status = 0, r;
	pid_t pid;

	parse(&run, argc, argv);
	if (run.expect)
		read_rows(&run);
	if (run.list) {
		list_cases(&run);
		free_rows(&run);
		return 0;
	}
	tp_verdict =
		mmap(NULL, sizeof *tp_verdict, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert(tp_verdict != MAP_FAILED);
	make_base(&run);
	/* The user that runs the cases may be unable to remove the base, so its maker stays who it is. */
	pid = fork();
	if (pid < 0)
		die("cannot start in", run.base);
	if (pid == 0) {
		become(&run);
		r = run_cases(&run);
		fflush(stdout);
		_exit(r);
	}
	while (waitpid(pid, &status, 0) < 0)
		assert(errno == EINTR);
	free_rows(&run);
	if (rmdir(run.base) < 0)
		die("cannot remove", run.base);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}
