/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an operation may answer, and whether it is to be done at all: where section 3 of the design leaves an effect open and it could not
 * be told from what is seen afterwards, it is not done.
 */
#include "model.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>

static bool expect(struct tp_plan *p, int r)
{
	p->answers[p->answers_count++] = r;
	return true;
}

static bool is_writing(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY;
}

/* Has f names of both sorts? Then which rule holds for its writers is open. */
static bool is_mixed(struct tp_model *m, const struct tp_file *f)
{
	bool temporary = false, plain = false;

	for (struct tp_dir *d = &m->root; d; d = d == &m->root ? m->dirs : d->next) {
		for (unsigned i = 0; i < TP_ENTRIES_MAX; i++) {
			if (d->entries[i].name[0] && d->entries[i].file == f) {
				if (tp_name_is_temporary(d->entries[i].name))
					temporary = true;
				else
					plain = true;
			}
		}
	}
	return m->step != TP_STEP_LIVE && temporary && plain;
}

static bool plan_create(struct tp_model *m, const struct tp_op *op, struct tp_plan *p)
{
	bool live = m->step == TP_STEP_LIVE || tp_name_is_temporary(p->name);

	p->action = live || op->flags & O_APPEND ? TP_DO_CREATE_LIVE : TP_DO_CREATE_DRAFT;
	if (m->step == TP_STEP_RENAME && !live) {
		(void)expect(p, -EPERM);
		return op->flags & O_APPEND ? expect(p, 0) : true;
	}
	return expect(p, 0);
}

/* NAME is there for the worker, as p->node, and is opened for writing. */
static bool plan_open_writing(struct tp_model *m, const struct tp_op *op, struct tp_plan *p)
{
	struct tp_file *f = p->node->file;

	if (is_mixed(m, f))
		return false;
	p->action = TP_DO_OPEN_LIVE;
	if (m->step == TP_STEP_LIVE || tp_name_is_temporary(p->name))
		return f->drafts_count == 0 && expect(p, 0);
	if (op->flags & O_APPEND) {
		if (f->drafts_count > 0 || op->flags & O_TRUNC)
			return false;
		if (m->step == TP_STEP_RENAME)
			(void)expect(p, -EPERM);
		return expect(p, 0);
	}
	if (f->pub && f->pub->kind == TP_NODE_LIVE && f->pub->writers > 0)
		return false;
	if (m->step == TP_STEP_RENAME)
		return expect(p, -EPERM);
	p->action = TP_DO_OPEN_NODE;
	if (p->node->kind == TP_NODE_DRAFT)
		return expect(p, 0);
	if (!(op->flags & O_TRUNC) && f->drafts_count == 1) {
		p->node = f->drafts[0];
		return expect(p, 0);
	}
	if (f->drafts_count > (op->flags & O_TRUNC ? TP_DRAFTS_MAX - 1 : 0))
		return false;
	p->action = TP_DO_DRAFT_OVER;
	return expect(p, 0);
}

/* NAME is not there for the worker, but others may have drafts of it. */
static bool plan_open_absent(struct tp_model *m, const struct tp_op *op, struct tp_plan *p)
{
	struct tp_file *f = p->entry ? p->entry->file : NULL;

	if (!(op->flags & O_CREAT))
		return (!f || !is_writing(op->flags)) && expect(p, -ENOENT);
	if (!f)
		return plan_create(m, op, p);
	if (op->flags & O_EXCL)
		return expect(p, -EEXIST);
	if (op->flags & O_APPEND || !is_writing(op->flags) || f->drafts_count == TP_DRAFTS_MAX)
		return false;
	if (op->flags & O_TRUNC) {
		p->action = TP_DO_DRAFT_OVER;
		return expect(p, 0);
	}
	p->action = TP_DO_OPEN_NODE;
	p->node = f->drafts[0];
	return f->drafts_count == 1 && expect(p, 0);
}

static bool plan_open(struct tp_model *m, const struct tp_op *op, struct tp_plan *p)
{
	bool excl = (op->flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL);

	if (m->fds[op->worker][op->slot].node)
		return false;
	switch (tp_model_see(m, op->worker, p->entry, &p->node)) {
	case TP_SEES_FOG:
		return false;
	case TP_SEES_DIR:
		if (excl)
			return expect(p, -EEXIST);
		return (is_writing(op->flags) || op->flags & O_CREAT) && expect(p, -EISDIR);
	case TP_SEES_NOTHING:
		return plan_open_absent(m, op, p);
	case TP_SEES_NODE:
		break;
	}
	if (excl)
		return expect(p, -EEXIST);
	if (is_writing(op->flags))
		return plan_open_writing(m, op, p);
	p->action = TP_DO_OPEN_NODE;
	return expect(p, 0);
}

/* stat, list, slurp and what sets attributes by path. */
static bool plan_look(struct tp_model *m, const struct tp_op *op, struct tp_plan *p)
{
	enum tp_sight sight = tp_model_see(m, op->worker, p->entry, &p->node);

	if (sight == TP_SEES_FOG)
		return false;
	if (sight == TP_SEES_NOTHING)
		return expect(p, -ENOENT);
	if (sight == TP_SEES_DIR)
		return (op->kind == TP_OP_STAT || op->kind == TP_OP_LIST) && expect(p, 0);
	if (op->kind == TP_OP_LIST)
		return expect(p, -ENOTDIR);
	if (op->kind == TP_OP_GETXATTR && p->node->attrs.value_known && p->node->attrs.value == 0)
		return expect(p, -ENODATA);
	if (op->kind == TP_OP_GETXATTR && !p->node->attrs.value_known) {
		p->any = true;
		return true;
	}
	return expect(p, 0);
}

static bool plan_truncate(struct tp_model *m, const struct tp_op *op, struct tp_plan *p)
{
	switch (tp_model_see(m, op->worker, p->entry, &p->node)) {
	case TP_SEES_FOG:
		return false;
	case TP_SEES_NOTHING:
		return expect(p, -ENOENT);
	case TP_SEES_DIR:
		return expect(p, -EISDIR);
	case TP_SEES_NODE:
		break;
	}
	if (is_mixed(m, p->node->file))
		return false;
	if (m->step == TP_STEP_LIVE || tp_name_is_temporary(p->name))
		return expect(p, 0);
	/* A log that is being written: in place, or a new generation? */
	if (p->node->kind == TP_NODE_LIVE && p->node->writers > 0)
		return false;
	if (m->step == TP_STEP_RENAME && !tp_name_is_temporary(p->name))
		return expect(p, -EPERM);
	return expect(p, 0);
}

static bool plan_unlink(struct tp_model *m, const struct tp_op *op, struct tp_plan *p)
{
	switch (tp_model_see(m, op->worker, p->entry, &p->node)) {
	case TP_SEES_FOG:
		return false;
	case TP_SEES_NOTHING:
		return expect(p, -ENOENT);
	case TP_SEES_DIR:
		return expect(p, -EISDIR);
	case TP_SEES_NODE:
		break;
	}
	struct tp_file *f = p->node->file;

	if (f->drafts_count > 0 && f->names > 1)
		return false;
	/* Its own draft, and others have theirs: whether these appear is open, and so is what shows until then. */
	if (p->node->kind == TP_NODE_DRAFT && f->drafts_count > 1)
		return false;
	return expect(p, 0);
}

static bool plan_mkdir(struct tp_model *m, const struct tp_op *op, struct tp_plan *p)
{
	enum tp_sight sight = tp_model_see(m, op->worker, p->entry, &p->node);

	if (sight == TP_SEES_FOG || (p->dir->depth >= 3))
		return false;
	return expect(p, sight == TP_SEES_NOTHING ? 0 : -EEXIST);
}

static bool dir_has_own_draft(const struct tp_model *m, unsigned worker, const struct tp_dir *dir)
{
	struct tp_node *node;

	for (unsigned i = 0; i < TP_ENTRIES_MAX; i++) {
		if (dir->entries[i].name[0] &&
			tp_model_see(m, worker, &dir->entries[i], &node) == TP_SEES_NODE &&
			node->kind == TP_NODE_DRAFT && !node->file->pub)
			return true;
	}
	return false;
}

static bool dir_has_drafts(const struct tp_dir *dir)
{
	for (unsigned i = 0; i < TP_ENTRIES_MAX; i++) {
		const struct tp_entry *e = &dir->entries[i];

		if (e->name[0] && e->file && (e->file->drafts_count > 0 || e->fog.on))
			return true;
	}
	return false;
}

static bool plan_rmdir(struct tp_model *m, const struct tp_op *op, struct tp_plan *p)
{
	bool fog;

	switch (tp_model_see(m, op->worker, p->entry, &p->node)) {
	case TP_SEES_FOG:
		return false;
	case TP_SEES_NOTHING:
		return expect(p, -ENOENT);
	case TP_SEES_NODE:
		return expect(p, -ENOTDIR);
	case TP_SEES_DIR:
		break;
	}
	/* The driver has no drafts: what it sees is there for all. */
	if (tp_dir_shows_any(m, TP_WORKERS, p->entry->dir, &fog))
		return expect(p, -ENOTEMPTY);
	if (fog)
		return false;
	if (dir_has_own_draft(m, op->worker, p->entry->dir))
		(void)expect(p, -ENOTEMPTY);
	return expect(p, 0);
}

static bool is_below(const struct tp_dir *dir, const struct tp_dir *top)
{
	for (; dir; dir = dir->parent) {
		if (dir == top)
			return true;
	}
	return false;
}

static unsigned dir_height(const struct tp_dir *dir)
{
	unsigned height = 0;

	for (unsigned i = 0; i < TP_ENTRIES_MAX; i++) {
		if (dir->entries[i].name[0] && dir->entries[i].dir) {
			unsigned h = 1 + dir_height(dir->entries[i].dir);

			height = h > height ? h : height;
		}
	}
	return height;
}

/* What is in the place of the target goes away: is it clear what that means? */
static bool target_is_clear(
	struct tp_model *m, const struct tp_plan *p, enum tp_sight sight_b, const struct tp_node *b)
{
	(void)m;
	if (!p->entry_b)
		return true;
	if (sight_b == TP_SEES_DIR)
		return true;
	return p->entry_b->file->names <= 1 || p->entry_b->file->drafts_count == 0;
}

/* A file is moved to a name that a file may have. */
static bool plan_rename_file(
	struct tp_model *m, struct tp_plan *p, enum tp_sight sight_b, const struct tp_node *b)
{
	struct tp_file *f = p->node->file;
	bool target_free = !p->entry_b, to_temporary = tp_name_is_temporary(p->name_b);

	if (m->step == TP_STEP_LIVE)
		return expect(p, 0);
	if (!target_is_clear(m, p, sight_b, b))
		return false;
	if (tp_file_is_quiet(f))
		return expect(p, 0);
	if (f->names > 1)
		return false;
	if (f->drafts_count == 0) {
		/* A live one that is written: among temporary names, or a log. */
		return expect(p, 0);
	}
	/* A draft goes with its name. */
	if (to_temporary || (!target_free && (f->drafts_count > 1 || f->pub)))
		return false;
	if (!target_free && p->entry_b->file->drafts_count > 0)
		return false;
	return expect(p, 0);
}

static bool plan_exchange(struct tp_model *m, struct tp_plan *p, enum tp_sight sight_a, enum tp_sight sight_b,
	const struct tp_node *b)
{
	if (sight_b == TP_SEES_NOTHING)
		return !p->entry_b && expect(p, -ENOENT);
	if ((sight_a == TP_SEES_DIR && is_below(p->dir_b, p->entry->dir)) ||
		(sight_b == TP_SEES_DIR && is_below(p->dir, p->entry_b->dir)))
		return expect(p, -EINVAL);
	if (p->entry == p->entry_b)
		return expect(p, 0);
	if ((sight_a == TP_SEES_DIR && p->dir_b->depth + dir_height(p->entry->dir) >= 3) ||
		(sight_b == TP_SEES_DIR && p->dir->depth + dir_height(p->entry_b->dir) >= 3))
		return false;
	if (m->step != TP_STEP_LIVE && ((sight_a == TP_SEES_NODE && !tp_file_is_quiet(p->node->file)) ||
					       (sight_b == TP_SEES_NODE && !tp_file_is_quiet(b->file))))
		return false;
	return expect(p, 0);
}

static bool plan_rename_dir(
	struct tp_model *m, const struct tp_op *op, struct tp_plan *p, enum tp_sight sight_b)
{
	bool fog;

	if (p->dir_b->depth + 1 + dir_height(p->entry->dir) > 3)
		return false;
	if (sight_b == TP_SEES_NOTHING)
		return expect(p, 0);
	if (sight_b == TP_SEES_NODE)
		return expect(p, -ENOTDIR);
	if (tp_dir_shows_any(m, TP_WORKERS, p->entry_b->dir, &fog))
		return expect(p, -ENOTEMPTY);
	return !fog && !dir_has_drafts(p->entry_b->dir) && expect(p, 0);
}

static bool plan_rename(struct tp_model *m, const struct tp_op *op, struct tp_plan *p)
{
	struct tp_node *b = NULL;
	enum tp_sight sight_a = tp_model_see(m, op->worker, p->entry, &p->node);
	enum tp_sight sight_b = tp_model_see(m, op->worker, p->entry_b, &b);

	if (sight_a == TP_SEES_FOG || sight_b == TP_SEES_FOG)
		return false;
	if (sight_a == TP_SEES_NOTHING)
		return expect(p, -ENOENT);
	if (op->flags == RENAME_NOREPLACE) {
		if (sight_b != TP_SEES_NOTHING)
			return expect(p, -EEXIST);
		if (p->entry_b)
			return false;
	}
	if (op->flags == RENAME_EXCHANGE)
		return plan_exchange(m, p, sight_a, sight_b, b);
	if (sight_a == TP_SEES_DIR && is_below(p->dir_b, p->entry->dir))
		return expect(p, -EINVAL);
	if (sight_b == TP_SEES_DIR && is_below(p->dir, p->entry_b->dir))
		return expect(p, -ENOTEMPTY);
	if (p->entry == p->entry_b ||
		(sight_a == TP_SEES_NODE && sight_b == TP_SEES_NODE && p->node->file == b->file))
		return expect(p, 0);
	if (sight_a == TP_SEES_DIR)
		return plan_rename_dir(m, op, p, sight_b);
	if (sight_b == TP_SEES_DIR)
		return expect(p, -EISDIR);
	return plan_rename_file(m, p, sight_b, b);
}

static bool plan_link(struct tp_model *m, const struct tp_op *op, struct tp_plan *p)
{
	struct tp_node *b = NULL;
	enum tp_sight sight_a = tp_model_see(m, op->worker, p->entry, &p->node);
	enum tp_sight sight_b = tp_model_see(m, op->worker, p->entry_b, &b);

	if (sight_a == TP_SEES_FOG || sight_b == TP_SEES_FOG)
		return false;
	if (sight_a == TP_SEES_NOTHING)
		return expect(p, -ENOENT);
	if (sight_b != TP_SEES_NOTHING)
		return expect(p, -EEXIST);
	if (sight_a == TP_SEES_DIR)
		return expect(p, -EPERM);
	if (p->entry_b)
		(void)expect(p, -EEXIST);
	if (m->step != TP_STEP_LIVE && !tp_file_is_quiet(p->node->file))
		return false;
	if (m->step == TP_STEP_RENAME && !tp_name_is_temporary(p->name_b) && !tp_name_is_temporary(p->name))
		(void)expect(p, -EPERM);
	return expect(p, 0);
}

static bool plan_path(struct tp_model *m, const struct tp_op *op, struct tp_plan *p)
{
	const char *name;
	int r = tp_model_walk(m, op->worker, op->a, &p->dir, &p->entry, &name);

	if (r == -EAGAIN || (op->kind == TP_OP_OPEN && m->fds[op->worker][op->slot].node))
		return false;
	if (r < 0)
		return expect(p, r);
	tp_text_copy(p->name, sizeof(p->name), name);
	if (op->kind == TP_OP_RENAME || op->kind == TP_OP_LINK) {
		/* link() looks for its source first, rename() for both parents. */
		if (op->kind == TP_OP_LINK) {
			enum tp_sight sight = tp_model_see(m, op->worker, p->entry, &p->node);

			if (sight == TP_SEES_NOTHING)
				return expect(p, -ENOENT);
		}
		r = tp_model_walk(m, op->worker, op->b, &p->dir_b, &p->entry_b, &name);
		if (r == -EAGAIN)
			return false;
		if (r < 0)
			return expect(p, r);
		tp_text_copy(p->name_b, sizeof(p->name_b), name);
	}
	switch (op->kind) {
	case TP_OP_OPEN:
		return plan_open(m, op, p);
	case TP_OP_TRUNCATE:
		return plan_truncate(m, op, p);
	case TP_OP_UNLINK:
		return plan_unlink(m, op, p);
	case TP_OP_MKDIR:
		return plan_mkdir(m, op, p);
	case TP_OP_RMDIR:
		return plan_rmdir(m, op, p);
	case TP_OP_RENAME:
		return plan_rename(m, op, p);
	case TP_OP_LINK:
		return plan_link(m, op, p);
	default:
		return plan_look(m, op, p);
	}
}

static bool plan_close(const struct tp_open *o, struct tp_plan *p)
{
	const struct tp_node *n = o->node;
	bool writable = is_writing(o->flags);

	p->any = n->fate != TP_FATE_PUBLISH;
	if (!n->displaced || !n->displaced_surely || n->told || n->opens > 1 || !writable)
		(void)expect(p, 0);
	return n->displaced ? expect(p, -EEXIST) : true;
}

/* Attributes set through a descriptor: of the current node, or of a draft. */
static bool plan_attribute(const struct tp_open *o, struct tp_plan *p)
{
	const struct tp_node *n = o->node;

	if (o->loose || n->displaced || n->unknown || (n->file->pub != n && n->kind != TP_NODE_DRAFT))
		return false;
	return expect(p, 0);
}

static bool plan_fd(struct tp_model *m, const struct tp_op *op, struct tp_plan *p)
{
	struct tp_open *o = &m->fds[op->worker][op->slot];
	struct tp_node *n = o->node;

	if (!n)
		return false;
	p->node = n;
	p->any = n->fate != TP_FATE_PUBLISH || n->displaced;
	switch (op->kind) {
	case TP_OP_CLOSE:
		return plan_close(o, p);
	case TP_OP_DUP:
		return !m->fds[op->worker][op->slot2].node && expect(p, 0);
	case TP_OP_READ:
		return (o->flags & O_ACCMODE) != O_WRONLY && expect(p, 0);
	case TP_OP_WRITE:
		if ((o->flags & O_APPEND ? n->body.len : op->off) + op->len > TP_BODY_BYTES_MAX)
			return false;
		return is_writing(o->flags) && expect(p, 0);
	case TP_OP_FTRUNCATE:
		return is_writing(o->flags) && op->len <= TP_BODY_BYTES_MAX && expect(p, 0);
	case TP_OP_FSYNC:
	case TP_OP_FSTAT:
		return expect(p, 0);
	case TP_OP_MMAP:
		if (op->flags && (o->flags & O_ACCMODE) != O_RDWR)
			return false;
		if ((o->flags & O_ACCMODE) == O_WRONLY || n->body.len == 0 || n->unknown || o->loose ||
			p->any)
			return false;
		return op->len > 0 && op->len <= (n->body.len + 4095) / 4096 * 4096 &&
		       !m->maps[op->worker][op->slot2].node && expect(p, 0);
	default:
		return plan_attribute(o, p);
	}
}

static bool plan_map(struct tp_model *m, const struct tp_op *op, struct tp_plan *p)
{
	struct tp_open *o = &m->maps[op->worker][op->slot];
	struct tp_node *n = o->node;

	if (!n)
		return false;
	p->node = n;
	if (op->kind == TP_OP_MUNMAP)
		return expect(p, 0);
	if (op->kind == TP_OP_MSYNC) {
		p->any = n->fate != TP_FATE_PUBLISH || n->displaced;
		return expect(p, 0);
	}
	if (n->unknown || n->displaced || o->loose || op->len == 0)
		return false;
	if (op->off + op->len > o->len || op->off + op->len > n->body.len)
		return false;
	if (op->kind == TP_OP_MWRITE && !o->map_writable)
		return false;
	return expect(p, 0);
}

bool tp_model_plan(struct tp_model *m, const struct tp_op *op, struct tp_plan *ret)
{
	*ret = (struct tp_plan){.action = TP_DO_OPERATION};
	if (m->no_values &&
		(op->kind == TP_OP_SETXATTR || op->kind == TP_OP_GETXATTR || op->kind == TP_OP_FSETXATTR))
		return false;
	if (op->kind == TP_OP_KILL || op->kind == TP_OP_EXIT)
		return m->process[op->worker] != 0 && expect(ret, 0);
	if (op->kind >= TP_OP_MWRITE && op->kind <= TP_OP_MUNMAP)
		return plan_map(m, op, ret);
	if (op->kind < TP_OP_OPEN)
		return plan_fd(m, op, ret);
	return plan_path(m, op, ret);
}
