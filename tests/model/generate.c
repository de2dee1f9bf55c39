/* SPDX-License-Identifier: Apache-2.0 */
#include "run.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>

static const char *const file_names[] = {"a", "b", "c", "a", "b", ".t", "u.tmp", "v.part", "x.tmp.1"};
static const char *const dir_names[] = {"D", "E", "D", "E", ".G.tmp", "a", "c"};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct weight {
	enum tp_op_kind kind;
	unsigned weight;
};

static const struct weight weights_fd[] = {
	{TP_OP_CLOSE, 22},
	{TP_OP_DUP, 3},
	{TP_OP_READ, 10},
	{TP_OP_WRITE, 32},
	{TP_OP_FTRUNCATE, 6},
	{TP_OP_FSYNC, 6},
	{TP_OP_FCHMOD, 2},
	{TP_OP_FUTIMENS, 3},
	{TP_OP_FSETXATTR, 2},
	{TP_OP_FSTAT, 6},
	{TP_OP_MMAP, 8},
};
static const struct weight weights_map[] = {
	{TP_OP_MWRITE, 45},
	{TP_OP_MREAD, 20},
	{TP_OP_MSYNC, 5},
	{TP_OP_MUNMAP, 30},
};
static const struct weight weights_path[] = {
	{TP_OP_OPEN, 48},
	{TP_OP_STAT, 4},
	{TP_OP_LIST, 3},
	{TP_OP_SLURP, 4},
	{TP_OP_TRUNCATE, 4},
	{TP_OP_CHMOD, 2},
	{TP_OP_UTIMENS, 3},
	{TP_OP_SETXATTR, 3},
	{TP_OP_GETXATTR, 2},
	{TP_OP_UNLINK, 7},
	{TP_OP_MKDIR, 6},
	{TP_OP_RMDIR, 3},
	{TP_OP_RENAME, 16},
	{TP_OP_LINK, 5},
	{TP_OP_KILL, 3},
	{TP_OP_EXIT, 2},
};

static enum tp_op_kind choose(struct tp_rng *rng, const struct weight *w, size_t count)
{
	uint32_t sum = 0, at;

	for (size_t i = 0; i < count; i++)
		sum += w[i].weight;
	at = tp_rng_below(rng, sum);
	for (size_t i = 0; i + 1 < count; i++) {
		if (at < w[i].weight)
			return w[i].kind;
		at -= w[i].weight;
	}
	return w[count - 1].kind;
}

static void choose_path(const struct tp_model *m, struct tp_rng *rng, bool dir_name, char *buf, size_t len)
{
	const struct tp_dir *dir = &m->root;
	char path[TP_PATH_MAX] = "", next[TP_PATH_MAX];

	while (tp_rng_below(rng, 100) < 38) {
		const struct tp_entry *e = &dir->entries[tp_rng_below(rng, TP_ENTRIES_MAX)];

		for (unsigned i = 0; i < TP_ENTRIES_MAX && !(e->name[0] && e->dir); i++)
			e = &dir->entries[i];
		if (!e->name[0] || !e->dir)
			break;
		(void)snprintf(next, sizeof(next), "%.36s%s/", path, e->name);
		tp_text_copy(path, sizeof(path), next);
		dir = e->dir;
	}
	const char *name = dir_name ? dir_names[tp_rng_below(rng, COUNT(dir_names))]
				    : file_names[tp_rng_below(rng, COUNT(file_names))];

	if (tp_rng_below(rng, 100) < 45) {
		const struct tp_entry *e = &dir->entries[tp_rng_below(rng, TP_ENTRIES_MAX)];

		if (e->name[0])
			name = e->name;
	}
	(void)snprintf(buf, len, "%.40s%s", path, name);
}

static int choose_flags(struct tp_rng *rng)
{
	static const int common[] = {
		O_WRONLY | O_CREAT | O_TRUNC,
		O_WRONLY | O_CREAT | O_TRUNC,
		O_RDWR | O_CREAT | O_TRUNC,
		O_RDONLY,
		O_RDONLY,
		O_RDWR,
		O_WRONLY,
		O_RDWR | O_CREAT,
		O_WRONLY | O_CREAT,
		O_WRONLY | O_CREAT | O_EXCL,
		O_RDWR | O_CREAT | O_EXCL,
		O_WRONLY | O_CREAT | O_APPEND,
		O_WRONLY | O_APPEND,
		O_WRONLY | O_TRUNC,
		O_RDWR | O_APPEND | O_CREAT,
	};

	return common[tp_rng_below(rng, COUNT(common))];
}

static uint32_t choose_len(struct tp_rng *rng)
{
	switch (tp_rng_below(rng, 8)) {
	case 0:
		return tp_rng_below(rng, 3);
	case 1:
		return 4096;
	case 2:
		return 4096 * (1 + tp_rng_below(rng, 4));
	case 3:
		return tp_rng_below(rng, 40000);
	default:
		return tp_rng_below(rng, 6000);
	}
}

static uint32_t choose_off(struct tp_rng *rng, const struct tp_node *n)
{
	switch (tp_rng_below(rng, 6)) {
	case 0:
		return n->body.len;
	case 1:
		return tp_rng_below(rng, 30000);
	case 2:
		return n->body.len / 2;
	default:
		return tp_rng_below(rng, 2) ? 0 : tp_rng_below(rng, 9000);
	}
}

static bool choose_open(const struct tp_open *opens, struct tp_rng *rng, unsigned *ret)
{
	unsigned from = tp_rng_below(rng, TP_SLOTS);

	for (unsigned i = 0; i < TP_SLOTS; i++) {
		*ret = (from + i) % TP_SLOTS;
		if (opens[*ret].node)
			return true;
	}
	return false;
}

static bool choose_free(const struct tp_open *opens, unsigned *ret)
{
	for (*ret = 0; *ret < TP_SLOTS; (*ret)++) {
		if (!opens[*ret].node)
			return true;
	}
	*ret = 0;
	return false;
}

static void generate_fd(const struct tp_model *m, struct tp_rng *rng, struct tp_op *op)
{
	const struct tp_open *o = &m->fds[op->worker][op->slot];

	op->kind = choose(rng, weights_fd, COUNT(weights_fd));
	op->off = choose_off(rng, o->node);
	op->len = choose_len(rng);
	if (op->kind == TP_OP_DUP)
		(void)choose_free(m->fds[op->worker], &op->slot2);
	if (op->kind == TP_OP_MMAP) {
		(void)choose_free(m->maps[op->worker], &op->slot2);
		op->len = (o->node->body.len + 4095) / 4096 * 4096;
		op->flags = (o->flags & O_ACCMODE) == O_RDWR && tp_rng_below(rng, 4) > 0;
	}
}

static void generate_map(const struct tp_model *m, struct tp_rng *rng, struct tp_op *op)
{
	const struct tp_open *o = &m->maps[op->worker][op->slot];
	uint32_t len = o->node->body.len < o->len ? o->node->body.len : o->len;

	op->kind = choose(rng, weights_map, COUNT(weights_map));
	op->off = len ? tp_rng_below(rng, len) : 0;
	op->len = len ? 1 + tp_rng_below(rng, len - op->off) : 0;
}

static void generate_path(const struct tp_model *m, struct tp_rng *rng, struct tp_op *op)
{
	op->kind = choose(rng, weights_path, COUNT(weights_path));
	if (op->kind == TP_OP_KILL)
		return;
	if (op->kind == TP_OP_EXIT) {
		op->flags = tp_rng_below(rng, 2) ? 3 : 0;
		return;
	}
	bool dir_name = op->kind == TP_OP_MKDIR || op->kind == TP_OP_RMDIR ||
			(op->kind == TP_OP_RENAME && tp_rng_below(rng, 4) == 0);

	choose_path(m, rng, dir_name, op->a, sizeof(op->a));
	if (op->kind == TP_OP_RENAME || op->kind == TP_OP_LINK) {
		choose_path(m, rng, dir_name && tp_rng_below(rng, 5) > 0, op->b, sizeof(op->b));
		if (op->kind == TP_OP_RENAME && tp_rng_below(rng, 6) == 0)
			op->flags = tp_rng_below(rng, 2) ? RENAME_NOREPLACE : RENAME_EXCHANGE;
	}
	if (op->kind == TP_OP_OPEN) {
		op->flags = choose_flags(rng);
		(void)choose_free(m->fds[op->worker], &op->slot);
	}
	op->len = choose_len(rng);
}

static unsigned choose_look(struct tp_rng *rng)
{
	unsigned look = 0;

	if (tp_rng_below(rng, 100) < 25)
		look |= TP_LOOK_SELF;
	if (tp_rng_below(rng, 100) < 35)
		look |= TP_LOOK_OTHER;
	if (tp_rng_below(rng, 100) < 35)
		look |= TP_LOOK_DRIVER;
	if (tp_rng_below(rng, 100) < 35)
		look |= TP_LOOK_OPEN;
	if (tp_rng_below(rng, 200) < 3)
		look |= TP_LOOK_ALL;
	return look;
}

void tp_generate(const struct tp_model *m, struct tp_rng *rng, struct tp_op *ret)
{
	static const mode_t modes[] = {0644, 0600, 0664, 0755};
	uint32_t dice = tp_rng_below(rng, 100);

	*ret = (struct tp_op){
		.worker = tp_rng_below(rng, TP_WORKERS), .mode = modes[tp_rng_below(rng, COUNT(modes))]};
	/* Few values for small writes, so that the same bytes are published twice now and then. */
	ret->value = tp_rng_below(rng, 4) ? 1 + tp_rng_below(rng, 1000000) : 1 + tp_rng_below(rng, 2);
	if (dice < 50 && choose_open(m->fds[ret->worker], rng, &ret->slot))
		generate_fd(m, rng, ret);
	else if (dice < 58 && choose_open(m->maps[ret->worker], rng, &ret->slot))
		generate_map(m, rng, ret);
	else
		generate_path(m, rng, ret);
	if ((ret->kind == TP_OP_SETXATTR || ret->kind == TP_OP_FSETXATTR) && tp_rng_below(rng, 4) == 0)
		ret->value = 0;
	if (ret->value <= 2 && ret->kind == TP_OP_WRITE) {
		ret->off = 0;
		ret->len = 5000;
	}
	ret->look = choose_look(rng);
	ret->dice = tp_rng_next(rng);
}
