/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of FUSE from any bytes.
 *
 * Byte 0 of an input: bit 0 says that SETXATTR comes with the long struct, bit 1 that the session is to be driven too. Then frames: two bytes of length, little endian,
 * one of opcode, and that many bytes of arguments. What must hold: a frame that passes tp_frame_check() can be walked as handlers do without a
 * read outside it; and a session answers or drops whatever comes, hands only such frames to its handler, and ends.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fs/frame.h"
#include "fs/session.h"

#define MUST(what)                                                                                           \
	do {                                                                                                 \
		if (!(what)) {                                                                               \
			(void)fprintf(stderr, "not so: %s\n", #what);                                        \
			abort();                                                                             \
		}                                                                                            \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned long sink; /* so that reads are not optimised away */

static void touch(const void *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sink += ((const uint8_t *)bytes)[i];
}

/* Reads all that the arguments promise. */
static void walk(uint32_t opcode, const char *arg, bool setxattr_ext)
{
	const char *name = arg;

	switch (opcode) {
	case FUSE_LOOKUP:
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_REMOVEXATTR:
		break;
	case FUSE_SYMLINK:
		name += strlen(name) + 1;
		break;
	case FUSE_MKNOD:
		name += sizeof(struct fuse_mknod_in);
		break;
	case FUSE_MKDIR:
		name += sizeof(struct fuse_mkdir_in);
		break;
	case FUSE_LINK:
		name += sizeof(struct fuse_link_in);
		break;
	case FUSE_CREATE:
	case FUSE_TMPFILE:
		name += sizeof(struct fuse_create_in);
		break;
	case FUSE_RENAME:
		name += sizeof(struct fuse_rename_in);
		name += strlen(name) + 1;
		break;
	case FUSE_RENAME2:
		name += sizeof(struct fuse_rename2_in);
		name += strlen(name) + 1;
		break;
	case FUSE_GETXATTR:
		name += sizeof(struct fuse_getxattr_in);
		break;
	case FUSE_SETXATTR:
		name += setxattr_ext ? sizeof(struct fuse_setxattr_in) : FUSE_COMPAT_SETXATTR_IN_SIZE;
		touch(name + strlen(name) + 1, ((const struct fuse_setxattr_in *)arg)->size);
		break;
	case FUSE_BATCH_FORGET:
		touch(arg, sizeof(struct fuse_batch_forget_in) +
				   ((const struct fuse_batch_forget_in *)arg)->count *
					   sizeof(struct fuse_forget_one));
		return;
	case FUSE_IOCTL:
		touch(arg, sizeof(struct fuse_ioctl_in) + ((const struct fuse_ioctl_in *)arg)->in_size);
		return;
	case FUSE_SETATTR:
		touch(arg, sizeof(struct fuse_setattr_in));
		return;
	case FUSE_READ:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
		touch(arg, sizeof(struct fuse_read_in));
		return;
	case FUSE_SETLK:
	case FUSE_SETLKW:
	case FUSE_GETLK:
		touch(arg, sizeof(struct fuse_lk_in));
		return;
	default:
		return;
	}
	MUST(name[0]);
	touch(name, strlen(name) + 1);
}

/* In a buffer of exactly its size, so that the sanitizer sees the first byte too many. */
static void check_frame(uint32_t opcode, const uint8_t *arg, size_t len, bool setxattr_ext)
{
	size_t payload_len = 0;
	char *copy = malloc(len + 1);

	MUST(copy);
	memcpy(copy, arg, len);
	copy[len] = 0;
	if (opcode == FUSE_WRITE && len > sizeof(struct fuse_write_in))
		payload_len = len - sizeof(struct fuse_write_in);
	if (tp_frame_check(opcode, copy, len - payload_len, payload_len, setxattr_ext) == 0)
		walk(opcode, copy, setxattr_ext);
	free(copy);
}

static void handle(struct tp_request *r, void *user)
{
	size_t all = 0;

	MUST(tp_frame_check(r->caller.opcode, r->arg, r->arg_len, r->payload_len, true) == 0);
	walk(r->caller.opcode, r->arg, true);
	for (unsigned i = 0; i < r->payload_count; i++) {
		touch(r->payload[i].iov_base, r->payload[i].iov_len);
		all += r->payload[i].iov_len;
	}
	MUST(all == r->payload_len);
	if (r->caller.opcode != FUSE_FORGET && r->caller.opcode != FUSE_BATCH_FORGET)
		tp_reply_error(r->session, &r->caller, ENOSYS);
}

static void *serve(void *session)
{
	MUST(tp_session_serve(session) == 0);
	return NULL;
}

static void send_frame(int fd, uint32_t opcode, const void *arg, size_t len)
{
	static uint64_t unique;
	struct fuse_in_header h = {
		.len = (uint32_t)(sizeof(h) + len), .opcode = opcode, .unique = ++unique, .pid = opcode};
	struct iovec iov[2] = {{&h, sizeof(h)}, {(void *)arg, len}};

	MUST(writev(fd, iov, 2) == (ssize_t)(sizeof(h) + len));
}

/* Calls each for all frames. */
static void each_frame(const uint8_t *data, size_t size,
	void (*each)(uint32_t opcode, const uint8_t *arg, size_t len, int user), int user)
{
	while (size >= 3) {
		size_t len = data[0] | (size_t)data[1] << 8;

		if (len > size - 3)
			len = size - 3;
		each(data[2], data + 3, len, user);
		data += 3 + len;
		size -= 3 + len;
	}
}

static void each_check(uint32_t opcode, const uint8_t *arg, size_t len, int setxattr_ext)
{
	check_frame(opcode, arg, len, setxattr_ext);
}

static void each_send(uint32_t opcode, const uint8_t *arg, size_t len, int fd)
{
	send_frame(fd, opcode, arg, len);
}

static void drive(const uint8_t *data, size_t size)
{
	static const struct tp_session_ops ops = {.handle = handle};
	static struct tp_stats stats;
	struct tp_session_options options = {.threads_max = 2, .stats = &stats, .ops = &ops};
	struct fuse_init_in init = {.major = 7, .minor = 38, .flags = ~0u, .flags2 = ~0u};
	struct tp_session *s;
	pthread_t thread;
	int ends[2];

	/* Nobody reads what it says. */
	(void)signal(SIGPIPE, SIG_IGN);
	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0);
	MUST(shutdown(ends[0], SHUT_RD) == 0);
	MUST(tp_session_new_fd(&options, ends[1], &s) == 0);
	MUST(pthread_create(&thread, NULL, serve, s) == 0);
	send_frame(ends[0], FUSE_INIT, &init, sizeof(init));
	each_frame(data, size, each_send, ends[0]);
	(void)close(ends[0]);
	MUST(pthread_join(thread, NULL) == 0);
	tp_session_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	each_frame(data + 1, size - 1, each_check, data[0] & 1);
	if (data[0] & 2)
		drive(data + 1, size - 1);
	return 0;
}
