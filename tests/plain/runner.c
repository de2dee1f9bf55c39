/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define STATUS_SKIPPED 77

static struct plain_test *tests; /* the last one first */
static int expectations_failed;	 /* in this test, which went on */

void plain_add(struct plain_test *t)
{
	t->next = tests;
	tests = t;
}

void plain_failed(bool go_on, const char *file, int line, const char *what, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s:%d: does not hold: %s", file, line, what);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	if (!go_on)
		_exit(1);
	__atomic_fetch_add(&expectations_failed, 1, __ATOMIC_RELAXED);
}

void plain_skip(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(NULL);
	_exit(STATUS_SKIPPED);
}

void plain_log(const char *fmt, ...)
{
	va_list ap;

	printf("[----] ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
}

static void run(const struct plain_test *t)
{
	const struct plain_test *suite = tests;

	while (suite && (suite->run || strcmp(suite->suite, t->suite) != 0))
		suite = suite->next;
	if (suite && suite->options.init)
		suite->options.init();
	if (t->options.init)
		t->options.init();
	t->run();
	if (t->options.fini)
		t->options.fini();
	if (suite && suite->options.fini)
		suite->options.fini();
	/* Not _exit(): the sanitizer says at the end whether it saw anything. */
	exit(expectations_failed ? 1 : 0);
}

int main(int argc, char **argv)
{
	unsigned passed = 0, failed = 0, skipped = 0;

	(void)argc;
	(void)argv;
	for (struct plain_test *t = tests; t; t = t->next) {
		const char *word = "PASS";
		int status = 0;
		pid_t pid;

		if (!t->run || t->options.disabled)
			continue;
		fflush(NULL);
		pid = fork();
		if (pid < 0)
			abort();
		if (pid == 0)
			run(t);
		while (waitpid(pid, &status, 0) < 0)
			;
		if (!status) {
			passed++;
		} else if (WIFEXITED(status) && WEXITSTATUS(status) == STATUS_SKIPPED) {
			word = "SKIP";
			skipped++;
		} else {
			word = "FAIL";
			failed++;
		}
		printf("[%s] %s::%s\n", word, t->suite, t->name);
	}
	printf("%u passed, %u failed, %u skipped\n", passed, failed, skipped);
	return failed ? 1 : 0;
}
