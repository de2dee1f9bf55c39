/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does what is seen fit the model?
 */
#include "run.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#define CLOCK_SLACK_NS 100000000ll /* the kernel's coarse clock, and a daemon's */

static __attribute__((format(printf, 3, 4))) bool wrong(
	struct tp_run *run, const struct tp_op *op, const char *format, ...)
{
	char text[600], line[TP_LINE_MAX];
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (op->worker == TP_WORKERS)
		(void)snprintf(line, sizeof(line), "the driver looks at %s", op->a);
	else
		(void)tp_op_text(op, line, sizeof(line));
	if (!run->wrong[0])
		(void)snprintf(run->wrong, sizeof(run->wrong), "%s: %s", line, text);
	return false;
}

bool tp_check_answer(
	struct tp_run *run, const struct tp_op *op, const struct tp_plan *plan, const struct tp_result *got)
{
	char text[200] = "";
	size_t used = 0;

	if (got->r == -EPIPE)
		return wrong(run, op, "the worker died of it");
	if (plan->any)
		return true;
	for (unsigned i = 0; i < plan->answers_count; i++) {
		if (plan->answers[i] == got->r || (plan->answers[i] == 0 && got->r >= 0))
			return true;
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", i ? " or " : "",
			plan->answers[i] ? strerrorname_np(-plan->answers[i]) : "success");
	}
	return wrong(run, op, "gave %s %s, expected %s", got->r < 0 ? strerrorname_np(-got->r) : "success",
		got->what, text);
}

static bool same(const struct tp_result *got, const struct tp_body *body, uint32_t off, uint32_t len)
{
	uint32_t there = off >= body->len ? 0 : body->len - off;
	uint32_t want = len < there ? len : there;

	return got->data_len == want && (want == 0 || memcmp(got->data, body->bytes + off, want) == 0);
}

/* What came from off on, where len was asked for. */
static bool check_data(struct tp_run *run, const struct tp_op *op, const struct tp_node *n,
	const struct tp_open *o, const struct tp_result *got, uint32_t off, uint32_t len)
{
	uint32_t there = off >= n->body.len ? 0 : n->body.len - off;
	uint32_t want = len < there ? len : there;

	if (n->unknown || same(got, &n->body, off, len) || (o && o->loose && same(got, &o->old, off, len)))
		return true;
	for (uint32_t i = 0; i < want && i < got->data_len; i++) {
		if (got->data[i] != n->body.bytes[off + i])
			return wrong(run, op, "%u bytes, expected %u; at %u there is %02x, expected %02x",
				got->data_len, want, off + i, got->data[i], n->body.bytes[off + i]);
	}
	return wrong(run, op, "%u bytes, expected %u; equal as far as they go", got->data_len, want);
}

static bool check_ino(struct tp_run *run, const struct tp_op *op, struct tp_file *f, ino_t ino)
{
	if (f->ino == ino)
		return true;
	if (f->ino != 0)
		return wrong(run, op, "st_ino is %lu and was %lu", (unsigned long)ino, (unsigned long)f->ino);
	for (const struct tp_file *other = run->model.files; other; other = other->next) {
		if (other != f && other->ino == ino && other->names > 0 && !other->names_unknown &&
			tp_file_is_quiet(other))
			return wrong(run, op, "st_ino %lu is another file's", (unsigned long)ino);
	}
	f->ino = ino;
	return true;
}

static bool check_times(
	struct tp_run *run, const struct tp_op *op, const struct tp_node *n, const struct stat *st)
{
	int64_t mtime_ns = st->st_mtim.tv_sec * 1000000000ll + st->st_mtim.tv_nsec;
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	int64_t now_ns = now.tv_sec * 1000000000ll + now.tv_nsec;

	if (n->attrs.mtime == TP_TIME_EXACT && mtime_ns != n->attrs.mtime_ns)
		return wrong(run, op, "mtime is %lld, it was set to %lld", (long long)mtime_ns,
			(long long)n->attrs.mtime_ns);
	if (n->attrs.mtime == TP_TIME_SINCE &&
		(mtime_ns < n->attrs.mtime_ns - CLOCK_SLACK_NS || mtime_ns > now_ns + CLOCK_SLACK_NS))
		return wrong(run, op, "mtime is %lld, the last write was at %lld, now is %lld",
			(long long)mtime_ns, (long long)n->attrs.mtime_ns, (long long)now_ns);
	return true;
}

static bool check_stat(struct tp_run *run, const struct tp_op *op, struct tp_node *n, const struct tp_open *o,
	const struct stat *st)
{
	struct tp_file *f = n->file;
	bool current = n == f->pub || n->kind == TP_NODE_DRAFT;

	if (!S_ISREG(st->st_mode))
		return wrong(run, op, "is no regular file (mode %o)", st->st_mode);
	if (!n->unknown && st->st_size != n->body.len && !(o && o->loose && st->st_size == o->old.len))
		return wrong(run, op, "st_size is %lld, expected %u", (long long)st->st_size, n->body.len);
	if (!n->displaced && !check_ino(run, op, f, st->st_ino))
		return false;
	if (!current || n->displaced || n->unknown || (o && o->loose))
		return true;
	if (!f->names_unknown && st->st_nlink != f->names)
		return wrong(run, op, "st_nlink is %lu, expected %u", (unsigned long)st->st_nlink, f->names);
	if (n->attrs.mode_known && (st->st_mode & 07777) != n->attrs.mode)
		return wrong(
			run, op, "mode is %o, expected %o", st->st_mode & 07777, (unsigned)n->attrs.mode);
	return check_times(run, op, n, st);
}

static bool check_list(
	struct tp_run *run, const struct tp_op *op, const struct tp_dir *dir, const struct tp_result *got)
{
	struct tp_node *node;

	for (unsigned i = 0; i < TP_ENTRIES_MAX; i++) {
		const struct tp_entry *e = &dir->entries[i];

		if (!e->name[0])
			continue;
		enum tp_sight sight = tp_model_see(&run->model, op->worker, e, &node);
		unsigned times = 0, type = DT_UNKNOWN;

		for (unsigned k = 0; k < got->listed; k++) {
			if (strcmp(got->list[k].name, e->name) == 0) {
				times++;
				type = got->list[k].type;
			}
		}
		if (times > 1 || (sight == TP_SEES_NOTHING && times > 0))
			return wrong(run, op, "'%s' is listed %u times", e->name, times);
		if (times == 0 && sight != TP_SEES_NOTHING && sight != TP_SEES_FOG)
			return wrong(run, op, "'%s' is not listed", e->name);
		if (times == 1 && sight != TP_SEES_FOG && type != DT_UNKNOWN &&
			type != (sight == TP_SEES_DIR ? DT_DIR : DT_REG))
			return wrong(run, op, "'%s' is listed as of type %u", e->name, type);
	}
	for (unsigned k = 0; k < got->listed; k++) {
		bool known = false;

		for (unsigned i = 0; i < TP_ENTRIES_MAX; i++)
			known |= strcmp(got->list[k].name, dir->entries[i].name) == 0;
		if (!known)
			return wrong(run, op, "'%s' is listed", got->list[k].name);
	}
	return true;
}

static bool check_value(
	struct tp_run *run, const struct tp_op *op, const struct tp_node *n, const struct tp_result *got)
{
	char want[16];

	if (!n->attrs.value_known || n->unknown)
		return true;
	int len = snprintf(want, sizeof(want), "%u", n->attrs.value);

	if (got->data_len == (uint32_t)len && memcmp(got->data, want, got->data_len) == 0)
		return true;
	return wrong(run, op, "the attribute is '%.*s', expected '%s'", (int)got->data_len,
		(const char *)got->data, want);
}

bool tp_check_given(
	struct tp_run *run, const struct tp_op *op, const struct tp_plan *plan, const struct tp_result *got)
{
	struct tp_open *o =
		op->worker < TP_WORKERS && op->slot < TP_SLOTS ? &run->model.fds[op->worker][op->slot] : NULL;

	if (got->r < 0)
		return true;
	switch (op->kind) {
	case TP_OP_READ:
		return check_data(run, op, o->node, o, got, op->off, op->len);
	case TP_OP_MREAD:
		return check_data(
			run, op, plan->node, &run->model.maps[op->worker][op->slot], got, op->off, op->len);
	case TP_OP_WRITE:
		return (uint32_t)got->r == op->len || wrong(run, op, "wrote %d", got->r);
	case TP_OP_OPEN:
	case TP_OP_FSTAT:
		return check_stat(run, op, o->node, o, &got->st);
	case TP_OP_STAT:
		if (plan->node)
			return check_stat(run, op, plan->node, NULL, &got->st);
		return S_ISDIR(got->st.st_mode) || wrong(run, op, "is no directory");
	case TP_OP_SLURP:
		return check_stat(run, op, plan->node, NULL, &got->st) &&
		       check_data(run, op, plan->node, NULL, got, 0, TP_BODY_BYTES_MAX);
	case TP_OP_LIST:
		return check_list(run, op, plan->entry->dir, got);
	case TP_OP_GETXATTR:
		return check_value(run, op, plan->node, got);
	default:
		return true;
	}
}

/* Plans, does and checks something that changes nothing. */
static bool look(struct tp_run *run, const struct tp_op *op)
{
	struct tp_plan plan;
	struct tp_result *got = run->seen;

	if (!tp_model_plan(&run->model, op, &plan))
		return true;
	if (op->worker == TP_WORKERS) {
		tp_do_path(op, got);
	} else {
		(void)tp_worker_do(&run->workers[op->worker], op);
		got = run->workers[op->worker].result;
	}
	return tp_check_answer(run, op, &plan, got) && tp_check_given(run, op, &plan, got);
}

static bool look_path(struct tp_run *run, unsigned worker, const char *path)
{
	static const enum tp_op_kind kinds[] = {TP_OP_STAT, TP_OP_SLURP, TP_OP_GETXATTR};
	struct tp_op op = {.worker = worker};

	tp_text_copy(op.a, sizeof(op.a), path);
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		op.kind = kinds[i];
		if (!look(run, &op))
			return false;
	}
	return true;
}

static bool look_open(struct tp_run *run, unsigned worker, unsigned slot)
{
	struct tp_op op = {.worker = worker, .slot = slot, .kind = TP_OP_FSTAT, .len = TP_BODY_BYTES_MAX};
	const struct tp_open *map = &run->model.maps[worker][slot];

	if (run->model.fds[worker][slot].node) {
		if (!look(run, &op))
			return false;
		op.kind = TP_OP_READ;
		if (!look(run, &op))
			return false;
	}
	if (map->node) {
		op.kind = TP_OP_MREAD;
		op.len = map->len < map->node->body.len ? map->len : map->node->body.len;
		return look(run, &op);
	}
	return true;
}

/* The root has no name of its own: "." stands in no entry. */
static bool look_list(struct tp_run *run, unsigned worker, const struct tp_dir *dir, const char *path)
{
	struct tp_op op = {.worker = worker, .kind = TP_OP_LIST};
	struct tp_result *got = run->seen;

	tp_text_copy(op.a, sizeof(op.a), path[0] ? path : ".");
	if (worker == TP_WORKERS) {
		tp_do_path(&op, got);
	} else {
		(void)tp_worker_do(&run->workers[worker], &op);
		got = run->workers[worker].result;
	}
	if (got->r < 0)
		return wrong(run, &op, "gave %s", strerrorname_np(-got->r));
	return check_list(run, &op, dir, got);
}

static bool look_dir(struct tp_run *run, unsigned worker, const struct tp_dir *dir, const char *path)
{
	char name[256];

	if (!look_list(run, worker, dir, path))
		return false;
	for (unsigned i = 0; i < TP_ENTRIES_MAX; i++) {
		const struct tp_entry *e = &dir->entries[i];

		if (!e->name[0])
			continue;
		(void)snprintf(name, sizeof(name), "%.200s%s%s", path, path[0] ? "/" : "", e->name);
		if (!(e->dir ? look_dir(run, worker, e->dir, name) : look_path(run, worker, name)))
			return false;
	}
	return true;
}

static bool look_all(struct tp_run *run)
{
	for (unsigned w = 0; w <= TP_WORKERS; w++) {
		if (!look_dir(run, w, &run->model.root, ""))
			return false;
		for (unsigned i = 0; w < TP_WORKERS && i < TP_SLOTS; i++) {
			if (!look_open(run, w, i))
				return false;
		}
	}
	return true;
}

static bool look_observer(struct tp_run *run, unsigned worker, const struct tp_op *op)
{
	if (op->a[0] && !look_path(run, worker, op->a))
		return false;
	return !op->b[0] || look_path(run, worker, op->b);
}

bool tp_check_look(struct tp_run *run, const struct tp_op *op)
{
	if (op->look & TP_LOOK_SELF && !look_observer(run, op->worker, op))
		return false;
	if (op->look & TP_LOOK_OTHER && !look_observer(run, (op->worker + 1 + op->dice % 2) % TP_WORKERS, op))
		return false;
	if (op->look & TP_LOOK_DRIVER && !look_observer(run, TP_WORKERS, op))
		return false;
	if (op->look & TP_LOOK_OPEN && !look_open(run, op->dice / 8 % TP_WORKERS, op->dice / 64 % TP_SLOTS))
		return false;
	return !(op->look & TP_LOOK_ALL) || look_all(run);
}
