/* SPDX-License-Identifier: Apache-2.0 */
#include "op.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

uint32_t tp_rng_next(struct tp_rng *rng)
{
	uint64_t z = (rng->state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return (uint32_t)((z ^ (z >> 31)) >> 16);
}

uint32_t tp_rng_below(struct tp_rng *rng, uint32_t n)
{
	return tp_rng_next(rng) % n;
}

static const char *const names[TP_OP_KINDS] = {
	[TP_OP_CLOSE] = "close",
	[TP_OP_DUP] = "dup",
	[TP_OP_READ] = "read",
	[TP_OP_WRITE] = "write",
	[TP_OP_FTRUNCATE] = "ftruncate",
	[TP_OP_FSYNC] = "fsync",
	[TP_OP_FCHMOD] = "fchmod",
	[TP_OP_FUTIMENS] = "futimens",
	[TP_OP_FSETXATTR] = "fsetxattr",
	[TP_OP_FSTAT] = "fstat",
	[TP_OP_MMAP] = "mmap",
	[TP_OP_MWRITE] = "mwrite",
	[TP_OP_MREAD] = "mread",
	[TP_OP_MSYNC] = "msync",
	[TP_OP_MUNMAP] = "munmap",
	[TP_OP_OPEN] = "open",
	[TP_OP_STAT] = "stat",
	[TP_OP_LIST] = "list",
	[TP_OP_SLURP] = "slurp",
	[TP_OP_TRUNCATE] = "truncate",
	[TP_OP_CHMOD] = "chmod",
	[TP_OP_UTIMENS] = "utimens",
	[TP_OP_SETXATTR] = "setxattr",
	[TP_OP_GETXATTR] = "getxattr",
	[TP_OP_UNLINK] = "unlink",
	[TP_OP_MKDIR] = "mkdir",
	[TP_OP_RMDIR] = "rmdir",
	[TP_OP_RENAME] = "rename",
	[TP_OP_LINK] = "link",
	[TP_OP_KILL] = "kill",
	[TP_OP_EXIT] = "exit",
};

static const char *flags_text(int flags, char *buf, size_t len)
{
	const char *access = (flags & O_ACCMODE) == O_RDONLY   ? "r"
			     : (flags & O_ACCMODE) == O_WRONLY ? "w"
							       : "rw";

	(void)snprintf(buf, len, "%s%s%s%s%s", access, flags & O_CREAT ? "|creat" : "",
		flags & O_EXCL ? "|excl" : "", flags & O_TRUNC ? "|trunc" : "",
		flags & O_APPEND ? "|append" : "");
	return buf;
}

static int arguments(const struct tp_op *op, char *buf, size_t len)
{
	char flags[48];

	switch (op->kind) {
	case TP_OP_CLOSE:
	case TP_OP_FSYNC:
	case TP_OP_FSTAT:
		return snprintf(buf, len, "fd%u", op->slot);
	case TP_OP_DUP:
		return snprintf(buf, len, "fd%u -> fd%u", op->slot, op->slot2);
	case TP_OP_MMAP:
		return snprintf(buf, len, "fd%u -> map%u", op->slot, op->slot2);
	case TP_OP_MSYNC:
	case TP_OP_MUNMAP:
		return snprintf(buf, len, "map%u", op->slot);
	case TP_OP_READ:
		return snprintf(buf, len, "fd%u %u+%u", op->slot, op->off, op->len);
	case TP_OP_WRITE:
		return snprintf(buf, len, "fd%u %u+%u value %u", op->slot, op->off, op->len, op->value);
	case TP_OP_MREAD:
		return snprintf(buf, len, "map%u %u+%u", op->slot, op->off, op->len);
	case TP_OP_MWRITE:
		return snprintf(buf, len, "map%u %u+%u value %u", op->slot, op->off, op->len, op->value);
	case TP_OP_FTRUNCATE:
		return snprintf(buf, len, "fd%u to %u", op->slot, op->len);
	case TP_OP_FCHMOD:
		return snprintf(buf, len, "fd%u %o", op->slot, (unsigned)op->mode);
	case TP_OP_FUTIMENS:
	case TP_OP_FSETXATTR:
		return snprintf(buf, len, "fd%u value %u", op->slot, op->value);
	case TP_OP_OPEN:
		return snprintf(buf, len, "%s %s -> fd%u", op->a, flags_text(op->flags, flags, sizeof(flags)),
			op->slot);
	case TP_OP_TRUNCATE:
		return snprintf(buf, len, "%s to %u", op->a, op->len);
	case TP_OP_CHMOD:
		return snprintf(buf, len, "%s %o", op->a, (unsigned)op->mode);
	case TP_OP_UTIMENS:
	case TP_OP_SETXATTR:
		return snprintf(buf, len, "%s value %u", op->a, op->value);
	case TP_OP_RENAME:
		return snprintf(buf, len, "%s %s%s", op->a, op->b,
			op->flags == 1	 ? " noreplace"
			: op->flags == 2 ? " exchange"
					 : "");
	case TP_OP_LINK:
		return snprintf(buf, len, "%s %s", op->a, op->b);
	case TP_OP_EXIT:
		return snprintf(buf, len, "%d", op->flags);
	default:
		return snprintf(buf, len, "%s", op->a);
	}
}

const char *tp_op_text(const struct tp_op *op, char *buf, size_t len)
{
	char rest[256];

	(void)arguments(op, rest, sizeof(rest));
	(void)snprintf(buf, len, "w%u %s %s", op->worker, names[op->kind], rest);
	return buf;
}
