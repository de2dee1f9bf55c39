/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an operation does to the model once it was answered.
 */
#include "model.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>

void tp_attrs_new(struct tp_attrs *a, mode_t mode, int64_t now_ns)
{
	*a = (struct tp_attrs){
		.mode = mode,
		.mtime_ns = now_ns,
		.mode_known = true,
		.value_known = true,
		.mtime = TP_TIME_SINCE,
	};
}

/* A change of length is a write; the same length again may or may not be one. What a mapping wrote may be cut off before it was seen. */
static void node_truncate(
	struct tp_model *m, struct tp_node *n, unsigned process, uint32_t len, int64_t now_ns)
{
	bool changes = n->body.len != len;

	for (unsigned w = 0; w < TP_WORKERS && len < n->body.len; w++) {
		for (unsigned i = 0; i < TP_SLOTS; i++) {
			if (m->maps[w][i].node == n)
				m->maps[w][i].map_written = false;
		}
	}
	tp_node_written(n, process, now_ns);
	if (!changes)
		n->attrs.mtime = TP_TIME_UNKNOWN;
	tp_body_truncate(&n->body, len);
}

static struct tp_file *file_at(struct tp_model *m, struct tp_dir *dir, const char *name)
{
	struct tp_entry *e = tp_dir_add(dir, name);

	e->file = tp_file_new(m);
	e->file->names = 1;
	return e->file;
}

static struct tp_node *new_draft(
	struct tp_model *m, const struct tp_op *op, struct tp_file *f, int64_t now_ns)
{
	struct tp_node *n = tp_node_new(m, f, TP_NODE_DRAFT);

	n->owner = m->process[op->worker];
	n->base = f->pub;
	tp_attrs_new(&n->attrs, op->mode, now_ns);
	f->drafts[f->drafts_count++] = n;
	return n;
}

/* A draft of a name that is published, or that others have drafts of. */
static struct tp_node *new_draft_over(
	struct tp_model *m, const struct tp_op *op, struct tp_file *f, int64_t now_ns)
{
	bool others = f->drafts_count > 0;
	struct tp_node *n = new_draft(m, op, f, now_ns);

	if (!f->pub) {
		n->attrs.mode_known = n->attrs.value_known = false;
		return n;
	}
	n->attrs = f->pub->attrs;
	if (others)
		n->attrs.mode_known = n->attrs.value_known = false;
	if (op->flags & O_TRUNC) {
		n->attrs.mtime = f->pub->body.len > 0 ? TP_TIME_SINCE : TP_TIME_UNKNOWN;
		n->attrs.mtime_ns = now_ns;
		return n;
	}
	tp_body_copy(&n->body, &f->pub->body);
	n->clean = true;
	return n;
}

static struct tp_node *open_node(
	struct tp_model *m, const struct tp_op *op, const struct tp_plan *p, int64_t now_ns)
{
	struct tp_node *n = p->node;

	switch (p->action) {
	case TP_DO_OPEN_NODE:
		if (op->flags & O_TRUNC)
			node_truncate(m, n, m->process[op->worker], 0, now_ns);
		return n;
	case TP_DO_OPEN_LIVE:
		n = n->file->pub;
		tp_node_loosen_readers(m, n);
		n->kind = TP_NODE_LIVE;
		if (op->flags & O_TRUNC)
			node_truncate(m, n, m->process[op->worker], 0, now_ns);
		return n;
	case TP_DO_CREATE_LIVE: {
		struct tp_file *f = file_at(m, p->dir, p->name);

		f->pub = tp_node_new(m, f, TP_NODE_LIVE);
		tp_attrs_new(&f->pub->attrs, op->mode, now_ns);
		return f->pub;
	}
	case TP_DO_CREATE_DRAFT:
		return new_draft(m, op, file_at(m, p->dir, p->name), now_ns);
	default:
		return new_draft_over(m, op, p->entry->file, now_ns);
	}
}

static void commit_open(struct tp_model *m, const struct tp_op *op, const struct tp_plan *p, int64_t now_ns)
{
	struct tp_node *n = open_node(m, op, p, now_ns);

	m->fds[op->worker][op->slot] =
		(struct tp_open){.node = n, .flags = op->flags & (O_ACCMODE | O_APPEND)};
	n->opens++;
	if ((op->flags & O_ACCMODE) != O_RDONLY) {
		n->writers++;
		tp_processes_add(&n->opened, m->process[op->worker]);
	}
}

static void open_again(const struct tp_open *from, struct tp_open *to)
{
	*to = *from;
	to->old = (struct tp_body){0};
	tp_body_copy(&to->old, &from->old);
	to->node->opens++;
	if ((from->flags & O_ACCMODE) != O_RDONLY)
		to->node->writers++;
}

/* Other nodes of the same file: whether they have it too is open. */
static void attribute_changed(struct tp_node *n, enum tp_op_kind kind)
{
	struct tp_file *f = n->file;
	struct tp_node *all[TP_DRAFTS_MAX + 1];
	unsigned count = f->drafts_count;

	memcpy(all, f->drafts, sizeof(f->drafts));
	if (f->pub)
		all[count++] = f->pub;
	for (unsigned i = 0; i < count && !n->dead; i++) {
		if (all[i] == n)
			continue;
		if (kind == TP_OP_CHMOD)
			all[i]->attrs.mode_known = false;
		else if (kind == TP_OP_UTIMENS)
			all[i]->attrs.mtime = TP_TIME_UNKNOWN;
		else
			all[i]->attrs.value_known = false;
	}
}

static void commit_attribute(const struct tp_model *m, struct tp_node *n, const struct tp_op *op)
{
	switch (op->kind) {
	case TP_OP_CHMOD:
	case TP_OP_FCHMOD:
		n->attrs.mode = op->mode;
		n->attrs.mode_known = true;
		attribute_changed(n, TP_OP_CHMOD);
		break;
	case TP_OP_UTIMENS:
	case TP_OP_FUTIMENS:
		/* What was written through a mapping may reach the file later and count then. */
		n->attrs.mtime = tp_node_is_mapped(m, n) ? TP_TIME_UNKNOWN : TP_TIME_EXACT;
		n->attrs.mtime_ns = (1000000000ll + op->value) * 1000000000ll + op->value % 1000000000;
		attribute_changed(n, TP_OP_UTIMENS);
		break;
	default:
		n->attrs.value = op->value;
		n->attrs.value_known = true;
		attribute_changed(n, TP_OP_SETXATTR);
	}
}

/* What fsync answered is kept, also when a writer was killed before it: then the text says both. */
static void node_synced(struct tp_model *m, struct tp_node *n, unsigned process)
{
	if (n->kind != TP_NODE_DRAFT)
		return;
	if (m->step == TP_STEP_CLOSE && n->fate == TP_FATE_NEVER)
		n->fate = TP_FATE_MAYBE;
	tp_processes_add(&n->synced, process);
	tp_body_copy(&n->synced_body, &n->body);
}

static void commit_fd(struct tp_model *m, const struct tp_op *op, int r, int64_t now_ns)
{
	struct tp_open *o = &m->fds[op->worker][op->slot];
	struct tp_node *n = o->node;
	unsigned process = m->process[op->worker];

	if (r < 0 && op->kind != TP_OP_CLOSE) {
		n->unknown = true;
		return;
	}
	switch (op->kind) {
	case TP_OP_CLOSE:
		n->told |= r == -EEXIST;
		tp_node_drop_open(m, o);
		break;
	case TP_OP_DUP:
		open_again(o, &m->fds[op->worker][op->slot2]);
		break;
	case TP_OP_WRITE:
		if (op->len > 0)
			tp_node_written(n, process, now_ns);
		tp_body_write(
			&n->body, o->flags & O_APPEND ? n->body.len : op->off, op->value, op->off, op->len);
		break;
	case TP_OP_FTRUNCATE:
		node_truncate(m, n, process, op->len, now_ns);
		break;
	case TP_OP_FSYNC:
		node_synced(m, n, process);
		break;
	case TP_OP_FCHMOD:
	case TP_OP_FUTIMENS:
	case TP_OP_FSETXATTR:
		commit_attribute(m, n, op);
		break;
	case TP_OP_MMAP:
		open_again(o, &m->maps[op->worker][op->slot2]);
		m->maps[op->worker][op->slot2].len = op->len;
		m->maps[op->worker][op->slot2].map_writable = op->flags != 0;
		break;
	default:
		break;
	}
}

static void commit_map(struct tp_model *m, const struct tp_op *op, int r)
{
	struct tp_open *o = &m->maps[op->worker][op->slot];
	struct tp_node *n = o->node;

	if (op->kind == TP_OP_MUNMAP) {
		tp_node_drop_open(m, o);
	} else if (op->kind == TP_OP_MSYNC && r == 0) {
		node_synced(m, n, m->process[op->worker]);
	} else if (op->kind == TP_OP_MWRITE) {
		tp_node_written(n, m->process[op->worker], 0);
		n->map_written = o->map_written = true;
		n->attrs.mtime = TP_TIME_UNKNOWN;
		tp_body_write(&n->body, op->off, op->value, op->off, op->len);
	}
}

static void commit_truncate(
	struct tp_model *m, const struct tp_op *op, const struct tp_plan *p, int64_t now_ns)
{
	struct tp_node *n = p->node;
	struct tp_file *f = n->file;

	if (n->kind != TP_NODE_DRAFT && (m->step == TP_STEP_LIVE || tp_name_is_temporary(p->name))) {
		tp_node_loosen_readers(m, n);
		n->kind = TP_NODE_LIVE;
	} else if (n->kind != TP_NODE_DRAFT) {
		struct tp_node *old = n;

		n = tp_node_new(m, f, TP_NODE_GENERATION);
		tp_body_copy(&n->body, &old->body);
		n->attrs = old->attrs;
		f->pub = n;
	}
	node_truncate(m, n, m->process[op->worker], op->len, now_ns);
}

static void commit_unlink(const struct tp_plan *p)
{
	struct tp_file *f = p->node->file;

	if (p->node->kind != TP_NODE_DRAFT && f->drafts_count > 0) {
		/* The drafts of others: do they make the name again? */
		tp_entry_fog(p->entry, NULL, NULL, false);
		f->pub = NULL;
		f->names_unknown = true;
		return;
	}
	/* What was published before, and is still open, has lost its name as well; the kernel may know its old count. */
	f->names_unknown |= p->node->kind == TP_NODE_DRAFT && f->pub;
	tp_file_kill_drafts(f, false, false);
	f->names--;
	tp_entry_clear(p->entry);
}

static void commit_mkdir(struct tp_model *m, const struct tp_plan *p)
{
	if (p->entry) {
		tp_file_kill_drafts(p->entry->file, true, true);
		p->entry->file->names_unknown = true;
		tp_entry_clear(p->entry);
	}
	struct tp_entry *e = tp_dir_add(p->dir, p->name);

	e->dir = tp_dir_new(m, p->dir);
}

static void commit_rmdir(const struct tp_plan *p)
{
	struct tp_dir *dir = p->entry->dir;

	for (unsigned i = 0; i < TP_ENTRIES_MAX; i++) {
		if (!dir->entries[i].name[0])
			continue;
		tp_file_kill_drafts(dir->entries[i].file, true, false);
		dir->entries[i].file->names_unknown = true;
		tp_entry_clear(&dir->entries[i]);
	}
	dir->parent = NULL;
	tp_entry_clear(p->entry);
}

static void dir_move(struct tp_dir *dir, struct tp_dir *parent)
{
	dir->parent = parent;
	dir->depth = parent->depth + 1;
	for (unsigned i = 0; i < TP_ENTRIES_MAX; i++) {
		if (dir->entries[i].name[0] && dir->entries[i].dir)
			dir_move(dir->entries[i].dir, dir);
	}
}

static void commit_exchange(const struct tp_plan *p)
{
	struct tp_dir *dir = p->entry->dir;
	struct tp_file *file = p->entry->file;

	p->entry->dir = p->entry_b->dir;
	p->entry->file = p->entry_b->file;
	p->entry_b->dir = dir;
	p->entry_b->file = file;
	if (p->entry->dir)
		dir_move(p->entry->dir, p->dir);
	if (p->entry_b->dir)
		dir_move(p->entry_b->dir, p->dir_b);
}

/* What had the target's name has it no more. Returns what was published there. */
static struct tp_node *displace(struct tp_model *m, const struct tp_op *op, const struct tp_plan *p)
{
	struct tp_file *f = p->entry_b->file;
	struct tp_node *old = NULL;

	if (f) {
		bool own = false;

		for (unsigned i = 0; i < f->drafts_count; i++)
			own |= f->drafts[i]->owner == m->process[op->worker];
		old = f->pub;
		tp_file_kill_drafts(f, true, !f->pub && !own);
		f->names--;
	} else {
		p->entry_b->dir->parent = NULL;
	}
	tp_entry_clear(p->entry_b);
	return old;
}

static void commit_rename(struct tp_model *m, const struct tp_op *op, const struct tp_plan *p)
{
	struct tp_node *old = NULL;
	bool replaces = p->entry_b != NULL;

	if (p->entry == p->entry_b)
		return;
	if (op->flags == RENAME_EXCHANGE) {
		commit_exchange(p);
		return;
	}
	if (replaces && p->entry->file && p->entry_b->file == p->entry->file)
		return;
	if (replaces)
		old = displace(m, op, p);
	struct tp_file *f = p->entry->file;
	struct tp_dir *dir = p->entry->dir;

	tp_entry_clear(p->entry);
	struct tp_entry *e = tp_dir_add(p->dir_b, p->name_b);

	e->file = f;
	e->dir = dir;
	if (dir) {
		dir_move(dir, p->dir_b);
		return;
	}
	if (m->step == TP_STEP_LIVE || tp_file_is_quiet(f))
		return;
	/* Still being written. Until the last close the old one, nothing or what is written may show; then only this. */
	if (f->drafts_count == 0 && tp_name_is_temporary(p->name) && !tp_name_is_temporary(p->name_b))
		tp_entry_fog(e, f->pub, old, !f->pub->bad_end);
	else if (f->drafts_count > 0 && replaces)
		tp_entry_fog(e, f->drafts[0], old, true);
}

static void commit_link(const struct tp_plan *p)
{
	if (p->entry_b) {
		tp_file_kill_drafts(p->entry_b->file, true, false);
		p->entry_b->file->names_unknown = true;
		tp_entry_clear(p->entry_b);
	}
	struct tp_entry *e = tp_dir_add(p->dir_b, p->name_b);

	e->file = p->node->file;
	e->file->names++;
}

static void commit_path(struct tp_model *m, const struct tp_op *op, const struct tp_plan *p, int64_t now_ns)
{
	switch (op->kind) {
	case TP_OP_OPEN:
		commit_open(m, op, p, now_ns);
		break;
	case TP_OP_TRUNCATE:
		commit_truncate(m, op, p, now_ns);
		break;
	case TP_OP_CHMOD:
	case TP_OP_UTIMENS:
	case TP_OP_SETXATTR:
		commit_attribute(m, p->node, op);
		break;
	case TP_OP_UNLINK:
		commit_unlink(p);
		break;
	case TP_OP_MKDIR:
		commit_mkdir(m, p);
		break;
	case TP_OP_RMDIR:
		commit_rmdir(p);
		break;
	case TP_OP_RENAME:
		commit_rename(m, op, p);
		break;
	case TP_OP_LINK:
		commit_link(p);
		break;
	default:
		break;
	}
}

void tp_model_commit(
	struct tp_model *m, const struct tp_op *op, const struct tp_plan *plan, int r, int64_t started_ns)
{
	if (op->kind == TP_OP_KILL || op->kind == TP_OP_EXIT)
		tp_model_process_ends(m, op->worker, op->kind == TP_OP_KILL, op->flags);
	else if (op->kind >= TP_OP_MWRITE && op->kind <= TP_OP_MUNMAP)
		commit_map(m, op, r);
	else if (op->kind < TP_OP_OPEN)
		commit_fd(m, op, r, started_ns);
	else if (r >= 0)
		commit_path(m, op, plan, started_ns);
	tp_model_settle(m);
}
