/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/frame.h"

#include <errno.h>
#include <string.h>

#include "fs/session.h"

enum text {
	TEXT_NONE,
	TEXT_NAME, /* one component of a path */
	TEXT_ANY   /* a link's text, the name of an attribute, what stands in for a name */
};

struct frame {
	uint8_t fixed;	 /* bytes of the struct in front */
	uint8_t text[2]; /* enum text: what follows it */
};

static const struct frame frames[] = {
	[FUSE_LOOKUP] = {0, {TEXT_NAME}},
	[FUSE_FORGET] = {sizeof(struct fuse_forget_in)},
	[FUSE_GETATTR] = {sizeof(struct fuse_getattr_in)},
	[FUSE_SETATTR] = {sizeof(struct fuse_setattr_in)},
	[FUSE_SYMLINK] = {0, {TEXT_NAME, TEXT_ANY}},
	[FUSE_MKNOD] = {sizeof(struct fuse_mknod_in), {TEXT_NAME}},
	[FUSE_MKDIR] = {sizeof(struct fuse_mkdir_in), {TEXT_NAME}},
	[FUSE_UNLINK] = {0, {TEXT_NAME}},
	[FUSE_RMDIR] = {0, {TEXT_NAME}},
	[FUSE_RENAME] = {sizeof(struct fuse_rename_in), {TEXT_NAME, TEXT_NAME}},
	[FUSE_LINK] = {sizeof(struct fuse_link_in), {TEXT_NAME}},
	[FUSE_OPEN] = {sizeof(struct fuse_open_in)},
	[FUSE_READ] = {sizeof(struct fuse_read_in)},
	[FUSE_WRITE] = {sizeof(struct fuse_write_in)},
	[FUSE_RELEASE] = {sizeof(struct fuse_release_in)},
	[FUSE_FSYNC] = {sizeof(struct fuse_fsync_in)},
	[FUSE_GETXATTR] = {sizeof(struct fuse_getxattr_in), {TEXT_ANY}},
	[FUSE_LISTXATTR] = {sizeof(struct fuse_getxattr_in)},
	[FUSE_REMOVEXATTR] = {0, {TEXT_ANY}},
	[FUSE_FLUSH] = {sizeof(struct fuse_flush_in)},
	[FUSE_OPENDIR] = {sizeof(struct fuse_open_in)},
	[FUSE_READDIR] = {sizeof(struct fuse_read_in)},
	[FUSE_RELEASEDIR] = {sizeof(struct fuse_release_in)},
	[FUSE_FSYNCDIR] = {sizeof(struct fuse_fsync_in)},
	[FUSE_GETLK] = {sizeof(struct fuse_lk_in)},
	[FUSE_SETLK] = {sizeof(struct fuse_lk_in)},
	[FUSE_SETLKW] = {sizeof(struct fuse_lk_in)},
	[FUSE_ACCESS] = {sizeof(struct fuse_access_in)},
	[FUSE_CREATE] = {sizeof(struct fuse_create_in), {TEXT_NAME}},
	[FUSE_INTERRUPT] = {sizeof(struct fuse_interrupt_in)},
	[FUSE_BMAP] = {sizeof(struct fuse_bmap_in)},
	[FUSE_IOCTL] = {sizeof(struct fuse_ioctl_in)},
	[FUSE_POLL] = {sizeof(struct fuse_poll_in)},
	[FUSE_BATCH_FORGET] = {sizeof(struct fuse_batch_forget_in)},
	[FUSE_FALLOCATE] = {sizeof(struct fuse_fallocate_in)},
	[FUSE_READDIRPLUS] = {sizeof(struct fuse_read_in)},
	[FUSE_RENAME2] = {sizeof(struct fuse_rename2_in), {TEXT_NAME, TEXT_NAME}},
	[FUSE_LSEEK] = {sizeof(struct fuse_lseek_in)},
	[FUSE_COPY_FILE_RANGE] = {sizeof(struct fuse_copy_file_range_in)},
	[FUSE_SYNCFS] = {sizeof(struct fuse_syncfs_in)},
	/* The kernel names a file that has no name "/". */
	[FUSE_TMPFILE] = {sizeof(struct fuse_create_in), {TEXT_ANY}},
	[TP_FUSE_STATX] = {24},
	[TP_FUSE_COPY_FILE_RANGE_64] = {sizeof(struct fuse_copy_file_range_in)},
};

/* Steps over one text at *pos, which lies within len. */
static int check_text(enum text kind, const char *arg, size_t len, size_t *pos)
{
	const char *text = arg + *pos;
	size_t text_len;

	if (*pos >= len)
		return -EINVAL;
	text_len = strnlen(text, len - *pos);
	if (text_len == 0 || text_len == len - *pos)
		return -EINVAL;
	if (kind == TEXT_NAME &&
		(memchr(text, '/', text_len) || strcmp(text, ".") == 0 || strcmp(text, "..") == 0))
		return -EINVAL;
	*pos += text_len + 1;
	return 0;
}

/* The sizes that a request states itself; rest bytes follow its struct and texts. */
static int check_sizes(uint32_t opcode, const void *arg, size_t rest, size_t payload_len)
{
	switch (opcode) {
	case FUSE_WRITE: {
		const struct fuse_write_in *in = arg;

		if (in->size > TP_WRITE_BYTES_MAX)
			return -E2BIG;
		return in->size == payload_len ? 0 : -EINVAL;
	}
	case FUSE_SETXATTR:
		return ((const struct fuse_setxattr_in *)arg)->size <= rest ? 0 : -EINVAL;
	case FUSE_IOCTL:
		return ((const struct fuse_ioctl_in *)arg)->in_size <= rest ? 0 : -EINVAL;
	case FUSE_BATCH_FORGET: {
		const struct fuse_batch_forget_in *in = arg;

		return in->count <= rest / sizeof(struct fuse_forget_one) ? 0 : -EINVAL;
	}
	default:
		return 0;
	}
}

int tp_frame_check(uint32_t opcode, const void *arg, size_t len, size_t payload_len, bool setxattr_ext)
{
	struct frame frame = {0};
	size_t pos;
	int r;

	if (opcode == FUSE_SETXATTR) {
		frame.fixed = setxattr_ext ? sizeof(struct fuse_setxattr_in) : FUSE_COMPAT_SETXATTR_IN_SIZE;
		frame.text[0] = TEXT_ANY;
	} else if (opcode < sizeof(frames) / sizeof(frames[0])) {
		frame = frames[opcode];
	}
	if (len < frame.fixed)
		return -EINVAL;
	pos = frame.fixed;
	for (unsigned i = 0; i < 2 && frame.text[i] != TEXT_NONE; i++) {
		r = check_text(frame.text[i], arg, len, &pos);
		if (r < 0)
			return r;
	}
	return check_sizes(opcode, arg, len - pos, payload_len);
}
