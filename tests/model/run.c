/* SPDX-License-Identifier: Apache-2.0 */
#include "run.h"

#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "runs.h"

static const char *const step_names[] = {"live", "close", "success", "rename"};

static struct tp_run *watched; /* for the alarm's handler alone */

int tp_step_of(const char *name)
{
	for (int i = 0; i < 4; i++) {
		if (strcmp(name, step_names[i]) == 0)
			return i;
	}
	return -1;
}

const char *tp_step_name(enum tp_step step)
{
	return step_names[step];
}

static void print_tail(const struct tp_run *run, int fd)
{
	unsigned from = run->lines_count > run->lines_max ? run->lines_count - run->lines_max : 0;

	for (unsigned i = from; i < run->lines_count; i++) {
		const char *line = run->lines[i % run->lines_max];

		if (write(fd, "  ", 2) < 0 || write(fd, line, strlen(line)) < 0 || write(fd, "\n", 1) < 0)
			return;
	}
}

static void on_alarm(int sig)
{
	static const char text[] = "tp-model: an operation did not come back; the last line is the one that "
				   "hangs or the one before it\n";

	if (watched && write(2, text, sizeof(text) - 1) > 0)
		print_tail(watched, 2);
	(void)sig;
	_exit(1);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	(void)remove(path);
	return 0;
}

static int observe(const char *path, struct tp_body *ret, void *user)
{
	struct tp_run *run = user;
	struct tp_op op = {.kind = TP_OP_SLURP};

	tp_text_copy(op.a, sizeof(op.a), path);
	tp_do_path(&op, run->seen);
	if (run->seen->r < 0)
		return run->seen->r;
	struct tp_body found = {.bytes = run->seen->data, .len = run->seen->data_len};

	tp_body_copy(ret, &found);
	return 0;
}

static int make_dir(struct tp_run *run, const char *base, enum tp_step step)
{
	static unsigned runs;

	(void)snprintf(run->dir, sizeof(run->dir), "%s/model-%d-%u", base, (int)getpid(), runs++);
	if (mkdir(run->dir, 0755) != 0 || chdir(run->dir) != 0)
		return -errno;
	if (setxattr(run->dir, "user.tidepool.commit", step_names[step], strlen(step_names[step]), 0) != 0 &&
		step != TP_STEP_LIVE)
		return -errno;
	return 0;
}

static int run_start(struct tp_run *run, const struct tp_runs *runs)
{
	int r;

	*run = (struct tp_run){.lines_max = runs->tail};
	run->lines = calloc(run->lines_max, sizeof(*run->lines));
	run->seen =
		mmap(NULL, sizeof(*run->seen), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert(run->lines && run->seen != MAP_FAILED);
	tp_model_init(&run->model, runs->step);
	run->model.observe = observe;
	run->model.user = run;
	r = make_dir(run, runs->base, runs->step);
	if (r < 0)
		return r;
	run->model.no_values = setxattr(".", "user.model", "1", 1, 0) != 0 && errno == EOPNOTSUPP;
	watched = run;
	(void)signal(SIGALRM, on_alarm);
	for (unsigned i = 0; i < TP_WORKERS; i++) {
		tp_worker_init(&run->workers[i]);
		tp_worker_start(&run->workers[i], ++run->model.processes, run->dir);
		run->model.process[i] = run->workers[i].number;
	}
	return 0;
}

static void run_end(struct tp_run *run)
{
	watched = NULL;
	for (unsigned i = 0; i < TP_WORKERS; i++) {
		tp_worker_kill(&run->workers[i]);
		if (run->workers[i].op)
			(void)munmap(run->workers[i].op, sizeof(*run->workers[i].op));
		if (run->workers[i].result)
			(void)munmap(run->workers[i].result, sizeof(*run->workers[i].result));
	}
	(void)chdir("/");
	if (run->dir[0])
		(void)nftw(run->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	(void)munmap(run->seen, sizeof(*run->seen));
	free(run->lines);
	tp_model_fini(&run->model);
}

static const char *answer_text(int r, char *buf, size_t len)
{
	(void)snprintf(buf, len, r < 0 ? "%s" : "%.0s%d", r < 0 ? strerrorname_np(-r) : "", r);
	return buf;
}

/* Does it and returns what came of it; a process that ends is followed by a new one. */
static struct tp_result *do_op(struct tp_run *run, const struct tp_op *op)
{
	struct tp_worker *w = &run->workers[op->worker];

	if (op->kind == TP_OP_KILL)
		tp_worker_kill(w);
	else if (op->kind == TP_OP_EXIT)
		tp_worker_exit(w, op->flags);
	else
		(void)tp_worker_do(w, op);
	if (op->kind == TP_OP_KILL || op->kind == TP_OP_EXIT)
		w->result->r = 0;
	return w->result;
}

static bool step(struct tp_run *run, const struct tp_op *op, unsigned number)
{
	char *line = run->lines[run->lines_count++ % run->lines_max];
	struct tp_plan plan;
	struct timespec now;
	char answer[32];

	if (!tp_model_plan(&run->model, op, &plan)) {
		run->lines_count--;
		return true;
	}
	int len = snprintf(line, TP_LINE_MAX, "%u: ", number);

	(void)tp_op_text(op, line + len, TP_LINE_MAX - (size_t)len - 40);
	(void)alarm(180);
	(void)clock_gettime(CLOCK_REALTIME, &now);
	struct tp_result *got = do_op(run, op);

	len = (int)strlen(line);
	(void)snprintf(
		line + len, TP_LINE_MAX - (size_t)len, " = %s", answer_text(got->r, answer, sizeof(answer)));
	if (!tp_check_answer(run, op, &plan, got))
		return false;
	tp_model_commit(&run->model, op, &plan, got->r, now.tv_sec * 1000000000ll + now.tv_nsec);
	if (op->kind == TP_OP_KILL || op->kind == TP_OP_EXIT) {
		tp_worker_start(&run->workers[op->worker], ++run->model.processes, run->dir);
		run->model.process[op->worker] = run->model.processes;
	}
	if (run->model.wrong[0])
		tp_text_copy(run->wrong, sizeof(run->wrong), run->model.wrong);
	return !run->wrong[0] && tp_check_given(run, op, &plan, got) && tp_check_look(run, op);
}

int tp_runs_generate(struct tp_runs *runs, uint64_t seed, bool verbose)
{
	struct tp_rng rng = {.state = seed * 1000003 + runs->step};
	struct tp_run run;
	int r = run_start(&run, runs);

	runs->ops_count = 0;
	runs->wrong[0] = 0;
	for (unsigned i = 0; r == 0 && i < runs->steps && run.model.processes + 2 < TP_PROCESSES_MAX; i++) {
		struct tp_op *op = &runs->ops[runs->ops_count++];

		tp_generate(&run.model, &rng, op);
		if (i + 1 == runs->steps)
			op->look |= TP_LOOK_ALL;
		unsigned lines = run.lines_count;

		r = step(&run, op, i) ? 0 : -EILSEQ;
		if (verbose && run.lines_count > lines)
			(void)printf("%s\n", run.lines[lines % run.lines_max]);
	}
	(void)alarm(0);
	if (r == -EILSEQ && !verbose) {
		tp_text_copy(runs->wrong, sizeof(runs->wrong), run.wrong);
		(void)fprintf(stderr, "the last operations:\n");
		print_tail(&run, 2);
	} else if (r == -EILSEQ) {
		tp_text_copy(runs->wrong, sizeof(runs->wrong), run.wrong);
	}
	run_end(&run);
	return r;
}

/* The operations that keep[] marks, again. Prints them when told to. */
static int replay(struct tp_runs *runs, const bool *keep, bool print)
{
	struct tp_run run;
	int r = run_start(&run, runs);

	for (unsigned i = 0; r == 0 && i < runs->ops_count; i++) {
		if (keep[i])
			r = step(&run, &runs->ops[i], i) ? 0 : -EILSEQ;
	}
	(void)alarm(0);
	if (print) {
		print_tail(&run, 2);
		(void)fprintf(stderr, "  -> %s\n", run.wrong);
	}
	run_end(&run);
	return r;
}

void tp_runs_shrink(struct tp_runs *runs, unsigned seconds)
{
	bool *keep = malloc(runs->ops_count), *less = malloc(runs->ops_count);
	time_t until = time(NULL) + seconds;

	assert(keep && less);
	memset(keep, true, runs->ops_count);
	if (replay(runs, keep, false) == 0) {
		(void)fprintf(stderr, "the same operations pass when they are done again\n");
		goto done;
	}
	for (unsigned chunk = runs->ops_count / 2; chunk > 0; chunk = chunk > 1 ? chunk / 2 : 0) {
		for (unsigned at = 0; at < runs->ops_count && time(NULL) < until; at += chunk) {
			bool any = false;

			memcpy(less, keep, runs->ops_count);
			for (unsigned i = at; i < at + chunk && i < runs->ops_count; i++) {
				any |= less[i];
				less[i] = false;
			}
			if (any && replay(runs, less, false) != 0)
				memcpy(keep, less, runs->ops_count);
		}
	}
	(void)fprintf(stderr, "fewest operations found that fail:\n");
	(void)replay(runs, keep, true);
done:
	free(keep);
	free(less);
}
