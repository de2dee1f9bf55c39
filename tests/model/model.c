/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names, sights and ends: what the model is made of. What an operation may answer and what it does stands in plan.c and commit.c.
 */
#include "model.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

bool tp_name_is_temporary(const char *name)
{
	static const char *const suffixes[] = {".tmp", ".part", ".partial"};
	size_t len = strlen(name);

	if (name[0] == '.' || strstr(name, ".tmp."))
		return true;
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		size_t n = strlen(suffixes[i]);

		if (len >= n && strcmp(name + len - n, suffixes[i]) == 0)
			return true;
	}
	return false;
}

void tp_model_init(struct tp_model *m, enum tp_step step)
{
	*m = (struct tp_model){.step = step};
}

static void entry_fini(struct tp_entry *e)
{
	for (unsigned i = 0; i < e->fog.candidates_count; i++)
		tp_body_free(&e->fog.candidates[i]);
}

static void dir_fini(struct tp_dir *d)
{
	for (unsigned i = 0; i < TP_ENTRIES_MAX; i++)
		entry_fini(&d->entries[i]);
}

void tp_model_fini(struct tp_model *m)
{
	dir_fini(&m->root);
	for (struct tp_dir *d = m->dirs, *next; d; d = next) {
		next = d->next;
		dir_fini(d);
		free(d);
	}
	for (struct tp_file *f = m->files, *next; f; f = next) {
		next = f->next;
		free(f);
	}
	for (struct tp_node *n = m->nodes, *next; n; n = next) {
		next = n->next;
		tp_body_free(&n->body);
		tp_body_free(&n->synced_body);
		tp_body_free(&n->killed_body);
		free(n);
	}
	for (unsigned w = 0; w < TP_WORKERS; w++) {
		for (unsigned i = 0; i < TP_SLOTS; i++) {
			tp_body_free(&m->fds[w][i].old);
			tp_body_free(&m->maps[w][i].old);
		}
	}
}

struct tp_dir *tp_dir_new(struct tp_model *m, struct tp_dir *parent)
{
	struct tp_dir *d = calloc(1, sizeof(*d));

	assert(d);
	d->next = m->dirs;
	m->dirs = d;
	d->parent = parent;
	d->depth = parent->depth + 1;
	return d;
}

struct tp_file *tp_file_new(struct tp_model *m)
{
	struct tp_file *f = calloc(1, sizeof(*f));

	assert(f);
	f->next = m->files;
	m->files = f;
	return f;
}

struct tp_node *tp_node_new(struct tp_model *m, struct tp_file *file, enum tp_node_kind kind)
{
	struct tp_node *n = calloc(1, sizeof(*n));

	assert(n);
	n->next = m->nodes;
	m->nodes = n;
	n->file = file;
	n->kind = kind;
	return n;
}

struct tp_entry *tp_dir_find(struct tp_dir *dir, const char *name)
{
	for (unsigned i = 0; i < TP_ENTRIES_MAX; i++) {
		if (strcmp(dir->entries[i].name, name) == 0)
			return &dir->entries[i];
	}
	return NULL;
}

struct tp_entry *tp_dir_add(struct tp_dir *dir, const char *name)
{
	struct tp_entry *e = tp_dir_find(dir, "");

	assert(e);
	tp_entry_clear(e);
	tp_text_copy(e->name, sizeof(e->name), name);
	return e;
}

void tp_entry_clear(struct tp_entry *e)
{
	entry_fini(e);
	*e = (struct tp_entry){0};
}

/* true when any name is there; ret_fog: when it cannot be said. */
bool tp_dir_shows_any(const struct tp_model *m, unsigned worker, const struct tp_dir *dir, bool *ret_fog)
{
	struct tp_node *node;
	bool any = false;

	*ret_fog = false;
	for (unsigned i = 0; i < TP_ENTRIES_MAX; i++) {
		if (!dir->entries[i].name[0])
			continue;
		enum tp_sight sight = tp_model_see(m, worker, &dir->entries[i], &node);

		if (sight == TP_SEES_FOG)
			*ret_fog = true;
		else if (sight != TP_SEES_NOTHING)
			any = true;
	}
	return any;
}

/* All that the worker has of n are mappings that it wrote nothing through: it closed n, and that it maps it leaves no trace. */
static bool worker_only_maps(const struct tp_model *m, unsigned worker, const struct tp_node *n)
{
	for (unsigned i = 0; i < TP_SLOTS; i++) {
		if (m->fds[worker][i].node == n ||
			(m->maps[worker][i].node == n && m->maps[worker][i].map_written))
			return false;
	}
	return true;
}

static bool worker_holds(
	const struct tp_model *m, unsigned worker, const struct tp_node *n, bool *ret_writable)
{
	bool holds = false;

	*ret_writable = false;
	for (unsigned i = 0; i < TP_SLOTS; i++) {
		if (m->fds[worker][i].node == n) {
			holds = true;
			*ret_writable |= (m->fds[worker][i].flags & O_ACCMODE) != O_RDONLY;
		}
		if (m->maps[worker][i].node == n) {
			holds = true;
			*ret_writable |= (m->maps[worker][i].flags & O_ACCMODE) != O_RDONLY;
		}
	}
	return holds;
}

enum tp_sight tp_model_see(
	const struct tp_model *m, unsigned worker, const struct tp_entry *entry, struct tp_node **ret)
{
	struct tp_node *own = NULL;
	bool joined = false, writable;

	if (!entry)
		return TP_SEES_NOTHING;
	if (entry->fog.on)
		return TP_SEES_FOG;
	if (entry->dir)
		return TP_SEES_DIR;
	const struct tp_file *f = entry->file;

	for (unsigned i = 0; i < f->drafts_count; i++) {
		struct tp_node *d = f->drafts[i];

		if (d->fate != TP_FATE_PUBLISH)
			return TP_SEES_FOG;
		if (worker < TP_WORKERS && d->owner == m->process[worker])
			own = d;
		else if (worker < TP_WORKERS && worker_holds(m, worker, d, &writable))
			joined = true;
	}
	/* Whether a draft is also seen through the other names of its file, or by those who joined it, is left open. */
	if (joined || (own && f->names > 1))
		return TP_SEES_FOG;
	if (!own && !f->pub)
		return TP_SEES_NOTHING;
	*ret = own ? own : f->pub;
	return TP_SEES_NODE;
}

int tp_model_walk(struct tp_model *m, unsigned worker, const char *path, struct tp_dir **ret_dir,
	struct tp_entry **ret_entry, const char **ret_name)
{
	struct tp_dir *dir = &m->root;
	struct tp_node *node;
	char part[TP_PATH_MAX];

	for (;;) {
		const char *slash = strchr(path, '/');

		if (!slash)
			break;
		(void)snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
		struct tp_entry *e = tp_dir_find(dir, part);

		switch (tp_model_see(m, worker, e, &node)) {
		case TP_SEES_NOTHING:
			return -ENOENT;
		case TP_SEES_FOG:
			return -EAGAIN;
		case TP_SEES_NODE:
			return -ENOTDIR;
		case TP_SEES_DIR:
			dir = e->dir;
		}
		path = slash + 1;
	}
	*ret_dir = dir;
	*ret_entry = tp_dir_find(dir, path);
	*ret_name = path;
	return 0;
}

void tp_model_path(const struct tp_model *m, const struct tp_dir *dir, const struct tp_entry *entry,
	char *buf, size_t len)
{
	char rest[256], head[256];

	tp_text_copy(rest, sizeof(rest), entry->name);
	while (dir != &m->root && dir->parent) {
		for (unsigned i = 0; i < TP_ENTRIES_MAX; i++) {
			if (dir->parent->entries[i].dir == dir && dir->parent->entries[i].name[0]) {
				(void)snprintf(
					head, sizeof(head), "%s/%.200s", dir->parent->entries[i].name, rest);
				tp_text_copy(rest, sizeof(rest), head);
			}
		}
		dir = dir->parent;
	}
	(void)snprintf(buf, len, "%s", rest);
}

static void file_forget_draft(struct tp_file *f, struct tp_node *n)
{
	for (unsigned i = 0; i < f->drafts_count; i++) {
		if (f->drafts[i] == n) {
			f->drafts[i] = f->drafts[--f->drafts_count];
			return;
		}
	}
}

void tp_node_kill_draft(struct tp_node *n, bool displaced, bool surely)
{
	n->dead = true;
	n->displaced = displaced;
	n->displaced_surely = surely;
	file_forget_draft(n->file, n);
}

void tp_file_kill_drafts(struct tp_file *f, bool displaced, bool surely)
{
	while (f->drafts_count > 0)
		tp_node_kill_draft(f->drafts[0], displaced, surely);
}

bool tp_file_is_quiet(const struct tp_file *f)
{
	return f->drafts_count == 0 && f->pub && f->pub->writers == 0;
}

static void open_loosen(struct tp_open *o, const struct tp_node *n)
{
	if (o->node != n || o->loose || (o->flags & O_ACCMODE) != O_RDONLY)
		return;
	o->loose = true;
	tp_body_copy(&o->old, &n->body);
}

void tp_node_loosen_readers(struct tp_model *m, struct tp_node *n)
{
	if (m->step == TP_STEP_LIVE || n->writers > 0)
		return;
	for (unsigned w = 0; w < TP_WORKERS; w++) {
		for (unsigned i = 0; i < TP_SLOTS; i++) {
			open_loosen(&m->fds[w][i], n);
			open_loosen(&m->maps[w][i], n);
		}
	}
}

void tp_node_written(struct tp_node *n, unsigned process, int64_t now_ns)
{
	n->clean = false;
	tp_processes_add(&n->wrote, process);
	n->attrs.mtime = TP_TIME_SINCE;
	n->attrs.mtime_ns = now_ns;
}

static void fog_candidate(struct tp_fog *fog, const struct tp_body *body)
{
	if (fog->candidates_count < TP_CANDIDATES_MAX)
		tp_body_copy(&fog->candidates[fog->candidates_count++], body);
}

/*
 * What e shows is open until node (or NULL), or else the drafts of e's file, are closed; surely: node is there then. old is what was published
 * there before.
 */
void tp_entry_fog(struct tp_entry *e, struct tp_node *node, const struct tp_node *old, bool surely)
{
	struct tp_fog *fog = &e->fog;

	fog->on = true;
	fog->absent_ok = true;
	fog->must = surely ? node : NULL;
	if (node)
		fog->wait[fog->wait_count++] = node;
	for (unsigned i = 0; i < e->file->drafts_count && fog->wait_count < TP_CANDIDATES_MAX; i++) {
		if (e->file->drafts[i] != node)
			fog->wait[fog->wait_count++] = e->file->drafts[i];
	}
	if (old)
		fog_candidate(fog, &old->body);
}

bool tp_node_is_mapped(const struct tp_model *m, const struct tp_node *n)
{
	for (unsigned w = 0; w < TP_WORKERS; w++) {
		for (unsigned i = 0; i < TP_SLOTS; i++) {
			if (m->maps[w][i].node == n && m->maps[w][i].map_writable)
				return true;
		}
	}
	return false;
}

static bool fog_allows(const struct tp_fog *fog, int r, const struct tp_body *found)
{
	if (fog->must && fog->must->fate == TP_FATE_PUBLISH && !fog->must->unknown)
		return r == 0 && tp_body_equal(found, &fog->must->body);
	if (r == -ENOENT)
		return fog->absent_ok;
	for (unsigned i = 0; i < fog->wait_count; i++) {
		const struct tp_node *n = fog->wait[i];

		if (n->unknown || tp_body_equal(found, &n->body) || tp_body_equal(found, &n->synced_body) ||
			tp_body_equal(found, &n->killed_body))
			return true;
	}
	for (unsigned i = 0; i < fog->candidates_count; i++) {
		if (tp_body_equal(found, &fog->candidates[i]))
			return true;
	}
	return false;
}

static void describe(
	struct tp_model *m, const char *path, int r, const struct tp_body *found, const char *why)
{
	if (m->wrong[0])
		return;
	if (r < 0)
		(void)snprintf(m->wrong, sizeof(m->wrong), "%s: is absent (%d): %s", path, r, why);
	else
		(void)snprintf(m->wrong, sizeof(m->wrong), "%s: has %u bytes: %s", path, found->len, why);
}

static void entry_settle(struct tp_model *m, struct tp_dir *dir, struct tp_entry *e)
{
	struct tp_body found = {0};
	char path[256];

	for (unsigned i = 0; i < e->fog.wait_count; i++) {
		if (e->fog.wait[i]->opens > 0)
			return;
	}
	tp_model_path(m, dir, e, path, sizeof(path));
	int r = m->observe(path, &found, m->user);

	if (!fog_allows(&e->fog, r, &found))
		describe(m, path, r, &found, "none of what it may be after the last close");
	e->file->names_unknown = true;
	if (r < 0) {
		tp_entry_clear(e);
	} else {
		struct tp_file *f = tp_file_new(m);

		f->names = 1;
		f->pub = tp_node_new(m, f, TP_NODE_GENERATION);
		tp_body_copy(&f->pub->body, &found);
		entry_fini(e);
		e->fog = (struct tp_fog){0};
		e->file = f;
	}
	tp_body_free(&found);
}

static void dir_settle(struct tp_model *m, struct tp_dir *dir)
{
	for (unsigned i = 0; i < TP_ENTRIES_MAX; i++) {
		if (dir->entries[i].name[0] && dir->entries[i].fog.on)
			entry_settle(m, dir, &dir->entries[i]);
	}
}

void tp_model_settle(struct tp_model *m)
{
	dir_settle(m, &m->root);
	for (struct tp_dir *d = m->dirs; d; d = d->next)
		dir_settle(m, d);
}

/* Calls each for all names of f; returns the last of them. */
static struct tp_entry *entries_of(
	struct tp_model *m, const struct tp_file *f, struct tp_dir **ret_dir, bool clear)
{
	struct tp_entry *found = NULL;

	for (struct tp_dir *d = &m->root; d; d = d == &m->root ? m->dirs : d->next) {
		for (unsigned i = 0; i < TP_ENTRIES_MAX; i++) {
			struct tp_entry *e = &d->entries[i];

			if (!e->name[0] || e->file != f)
				continue;
			found = e;
			*ret_dir = d;
			if (clear)
				tp_entry_clear(e);
		}
	}
	return found;
}

static void publish(struct tp_node *n)
{
	struct tp_file *f = n->file;

	/* The same bytes again are held once, with the times of either; who has the first open may see what is appended later. */
	if (f->pub && tp_body_equal(&f->pub->body, &n->body)) {
		f->pub->attrs = n->attrs;
		if (!n->clean)
			f->pub->attrs.mtime = TP_TIME_UNKNOWN;
		return;
	}
	n->kind = TP_NODE_GENERATION;
	f->pub = n;
}

/* The draft n is closed, and the text leaves more than one outcome. */
static void publish_what_is_found(struct tp_model *m, struct tp_node *n)
{
	struct tp_file *f = n->file;
	struct tp_dir *dir = NULL;
	struct tp_entry *e = entries_of(m, f, &dir, false);
	struct tp_body found = {0};
	char path[256];

	if (!e || e->fog.on)
		return;
	tp_model_path(m, dir, e, path, sizeof(path));
	int r = m->observe(path, &found, m->user);
	bool is_new = r == 0 && (tp_body_equal(&found, &n->body) || tp_body_equal(&found, &n->synced_body) ||
					tp_body_equal(&found, &n->killed_body));
	bool is_old = f->pub ? r == 0 && tp_body_equal(&found, &f->pub->body) : r == -ENOENT;
	bool kept = n->fate == TP_FATE_KEPT;

	if (!(is_new || (is_old && !kept) || (n->unknown && r == 0)))
		describe(m, path, r, &found,
			kept ? "its writer had called fsync before it was killed"
			     : "neither the old nor the new bytes");
	if (r == 0 && !is_old) {
		n->kind = TP_NODE_GENERATION;
		tp_body_copy(&n->body, &found);
		n->unknown = false;
		n->attrs = (struct tp_attrs){0};
		f->pub = n;
	} else if (f->pub) {
		f->pub->attrs = (struct tp_attrs){0};
	}
	tp_body_free(&found);
}

static void draft_finish(struct tp_model *m, struct tp_node *n)
{
	struct tp_file *f = n->file;
	struct tp_dir *dir = NULL;

	file_forget_draft(f, n);
	if (n->fate == TP_FATE_PUBLISH && n->shaky && n->map_written)
		n->fate = TP_FATE_MAYBE;
	if (n->fate == TP_FATE_PUBLISH && !(n->clean && f->pub != n->base))
		publish(n);
	else if (n->fate != TP_FATE_NEVER)
		publish_what_is_found(m, n);
	struct tp_entry *e = entries_of(m, f, &dir, false);

	if (e && !e->fog.on && !f->pub && f->drafts_count == 0)
		(void)entries_of(m, f, &dir, true);
}

void tp_node_drop_open(struct tp_model *m, struct tp_open *o)
{
	struct tp_node *n = o->node;

	assert(n && n->opens > 0);
	n->opens--;
	if ((o->flags & O_ACCMODE) != O_RDONLY && --n->writers == 0)
		n->bad_end = false;
	tp_body_free(&o->old);
	*o = (struct tp_open){0};
	if (n->opens == 0 && n->kind == TP_NODE_DRAFT && !n->dead)
		draft_finish(m, n);
}

/* One draft, when a process ended badly. */
static void draft_loses_process(struct tp_model *m, struct tp_node *n, unsigned worker, bool killed)
{
	unsigned p = m->process[worker];
	bool writable, any_synced = false;
	bool holds = worker_holds(m, worker, n, &writable);
	bool wrote = tp_processes_has(&n->wrote, p);
	enum tp_fate fate = n->fate;

	for (unsigned i = 0; i < TP_PROCESSES_MAX / 64; i++)
		any_synced |= n->synced.bits[i] != 0;
	if (holds && (wrote || n->owner == p) && worker_only_maps(m, worker, n)) {
		fate = fate == TP_FATE_NEVER ? TP_FATE_NEVER : TP_FATE_MAYBE;
	} else if (holds && (wrote || n->owner == p)) {
		if (m->step == TP_STEP_CLOSE && killed && tp_processes_has(&n->synced, p))
			fate = fate == TP_FATE_PUBLISH ? TP_FATE_KEPT : TP_FATE_MAYBE;
		else if (m->step == TP_STEP_CLOSE && any_synced)
			fate = TP_FATE_MAYBE;
		else
			fate = fate == TP_FATE_KEPT ? TP_FATE_MAYBE : TP_FATE_NEVER;
	} else if (wrote || writable) {
		fate = fate == TP_FATE_NEVER ? TP_FATE_NEVER : TP_FATE_MAYBE;
	}
	n->shaky |= tp_processes_has(&n->opened, p) && !holds;
	if (fate != n->fate) {
		n->fate = fate;
		tp_body_copy(&n->killed_body, &n->body);
	}
}

static void fog_loses_process(struct tp_model *m, struct tp_dir *dir, unsigned worker)
{
	bool writable;

	for (unsigned i = 0; i < TP_ENTRIES_MAX; i++) {
		struct tp_fog *fog = &dir->entries[i].fog;

		if (!fog->on || !fog->must)
			continue;
		if (worker_holds(m, worker, fog->must, &writable) ||
			tp_processes_has(&fog->must->wrote, m->process[worker]))
			fog->must = NULL;
	}
}

void tp_model_process_ends(struct tp_model *m, unsigned worker, bool killed, int status)
{
	if (killed || (m->step != TP_STEP_CLOSE && status != 0)) {
		for (struct tp_node *n = m->nodes; n; n = n->next) {
			if (n->kind == TP_NODE_DRAFT && !n->dead && n->opens > 0)
				draft_loses_process(m, n, worker, killed);
		}
		for (struct tp_node *n = m->nodes; n; n = n->next) {
			bool writable = false;

			if (n->kind == TP_NODE_LIVE && n->opens > 0 && worker_holds(m, worker, n, &writable))
				n->bad_end |= writable;
		}
		fog_loses_process(m, &m->root, worker);
		for (struct tp_dir *d = m->dirs; d; d = d->next)
			fog_loses_process(m, d, worker);
	}
	for (unsigned i = 0; i < TP_SLOTS; i++) {
		if (m->maps[worker][i].node)
			tp_node_drop_open(m, &m->maps[worker][i]);
	}
	for (unsigned i = 0; i < TP_SLOTS; i++) {
		if (m->fds[worker][i].node)
			tp_node_drop_open(m, &m->fds[worker][i]);
	}
	for (struct tp_node *n = m->nodes; n; n = n->next) {
		if (n->kind == TP_NODE_DRAFT && n->opens > 0 && n->fate != TP_FATE_PUBLISH)
			n->unknown = true;
	}
	m->process[worker] = 0;
}
